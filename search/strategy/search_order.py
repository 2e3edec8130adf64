"""The order of the search's trials."""

from __future__ import annotations

from collections.abc import Callable

from search.log.events import Ask
from search.log.journal import Journal
from search.space.space import Space
from search.strategy.budget import may_start
from search.strategy.sampler import Suggester


class SearchPlan:
    """The order of the search trials: the arm that has spent less comes next.

    The arms advance side by side, so that at any moment, also when the search is cut short, both
    have had about the same budget.
    """

    def __init__(
        self, space: Space, journal: Journal, is_time_up: Callable[[], bool] = lambda: False
    ) -> None:
        self.space, self.journal, self.is_time_up = space, journal, is_time_up
        self.suggesters = {arm: Suggester(space, arm, journal) for arm in space.arms}

    def __call__(self) -> Ask | None:
        """The next trial, or None when both arms have spent their budget."""
        open_arms = self.open_arms()
        if not open_arms:
            return None
        # Trials that have not reported yet have spent nothing; so ties go to the arm with fewer.
        arm = min(open_arms, key=lambda a: (self.journal.epochs_spent(a), len(self.journal.of(a))))
        number = len(self.journal.of(arm))
        point = self.space.point(arm, number)
        params, seed = point or (self.suggesters[arm].suggest(number), None)
        if seed is None:
            seed = self.space.trial_seed(arm, "search", number)
        known = [t.ask.number for t in self.journal.of(arm) if t.ask.params == params]
        first = known[0] if known else None
        return Ask(arm=arm, phase="search", number=number, params=params, seed=seed, of=first)

    def is_over(self) -> bool:
        """Whether nothing is left to start or to finish."""
        return not self.open_arms() and not self.journal.unfinished("search")

    def open_arms(self) -> list[str]:
        """The arms that may start another trial."""
        if self.is_time_up() or self.journal.is_searched:
            return []
        return [arm for arm in self.space.arms if may_start(self.space, self.journal, arm)]
