"""What is trained after the search, in which order, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass

from search.log.events import AFTER_SEARCH, Ask
from search.log.journal import Journal
from search.space.space import Space
from search.strategy.winners import Row, final_rows, pick_rows, published_rows


@dataclass(frozen=True)
class Planned:
    """Runs after the search, of all arms together; each as long as a trial, or as many views."""

    pick: int
    confirm: int
    reference: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.pick + self.confirm + self.reference


def planned_runs(space: Space, candidates: int) -> Planned:
    """What the space asks for, if so many configurations of each arm train to the end."""
    confirm, arms = space.confirm, len(space.arms)
    top = min(confirm.top, candidates)
    references = 0
    if confirm.references:
        ce = [arm for arm in space.arms if not space.arm_config(arm).loss.is_contrastive]
        has_one_view = bool(ce) and space.config.augment.views > 1
        references = confirm.seeds * (len(published_rows(space)) + has_one_view)
    picks = arms * top * confirm.pick_seeds if top > 1 else 0
    return Planned(picks, arms * confirm.seeds, references)


class ConfirmPlan:
    """The order of the runs after the search: picking, then the winners, then the references."""

    def __init__(self, space: Space, journal: Journal) -> None:
        self.space, self.journal = space, journal

    def __call__(self) -> Ask | None:
        """The next run, or None if there is none by now."""
        return next_run(self.space, self.journal, self.rows())

    def rows(self) -> list[Row]:
        """All rows that are known by now."""
        if not any(self.journal.best(arm) for arm in self.space.arms):
            return []
        picks = [row for arm in self.space.arms for row in pick_rows(self.space, self.journal, arm)]
        return [*picks, *final_rows(self.space, self.journal)]

    def is_over(self) -> bool:
        """Whether nothing is left to start or to finish."""
        return self() is None and not self.journal.unfinished(*AFTER_SEARCH)

    def runs_left(self) -> tuple[int, int]:
        """Runs still to be trained: those that pick, and those that follow."""
        found = [self.journal.top(arm, self.space.confirm.top) for arm in self.space.arms]
        planned = planned_runs(self.space, max(map(len, found)))
        done = [(row.phase, len(row.runs(self.journal))) for row in self.rows()]
        picked = sum(n for phase, n in done if phase == "pick")
        later = sum(n for phase, n in done if phase != "pick")
        return planned.pick - picked, planned.total - planned.pick - later


def next_run(space: Space, journal: Journal, rows: list[Row]) -> Ask | None:
    """The next run of the rows: those of a phase in turn, so that all have about as many."""
    order = {phase: i for i, phase in enumerate(AFTER_SEARCH)}
    waiting = [(order[row.phase], len(row.runs(journal)), i) for i, row in enumerate(rows)]
    waiting = [(phase, n, i) for phase, n, i in waiting if n < rows[i].seeds]
    if not waiting:
        return None
    row = rows[min(waiting)[2]]
    number = len(journal.of(row.arm, row.phase))  # other rows, and runs that failed, had some too
    return Ask(
        arm=row.arm,
        phase=row.phase,
        number=number,
        params=row.params,
        seed=space.trial_seed(row.arm, row.phase, number),
        of=row.of,
    )
