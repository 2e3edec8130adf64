"""The order of the search's trials."""

from __future__ import annotations

from collections.abc import Callable

from search.log.events import Ask, Move
from search.log.study import Study
from search.strategy.promotion import next_promoted
from search.strategy.sampler import Suggester
from search.strategy.stage import open_arms


class SearchOrder:
    """What the search trains next: a trial of the arm that has spent least.

    The arms advance side by side, so that at any moment, also when the search is cut short, all
    have had about the same budget.
    """

    def __init__(
        self,
        study: Study,
        is_time_up: Callable[[], bool] = lambda: False,
        suggester: Callable[[Study, str], Suggester] = Suggester,
    ) -> None:
        self.study, self.is_time_up = study, is_time_up
        self.suggesters = {arm: suggester(study, arm) for arm in study.arms}

    def __call__(self) -> Move | None:
        """The next trial or the paused one that goes on; None when all arms have spent their
        budget.
        """
        log = self.study.log
        arms = [] if self.is_time_up() else open_arms(self.study)
        if not arms:
            return None
        # Trials that have not reported yet have spent nothing; so ties go to the arm with fewer.
        arm = min(arms, key=lambda arm: (log.totals(arm).epochs, len(log.of(arm))))
        return next_promoted(self.study, arm) or self.new(arm)

    def new(self, arm: str) -> Ask:
        """The arm's next new trial."""
        log, space = self.study.log, self.study.space
        number = len(log.of(arm))
        point = space.point(arm, number)
        params, seed = point or (self.suggesters[arm].suggest(number), None)
        if seed is None:
            seed = space.trial_seed(arm, "search", number)
        known = [t.ask.number for t in log.of(arm) if t.ask.params == params]
        first = known[0] if known else None
        return Ask(arm=arm, phase="search", number=number, params=params, seed=seed, of=first)
