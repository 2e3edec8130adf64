"""What is trained after the search, on fresh seeds, and which configuration wins an arm.

The best scores of a search are the luckiest of many. So the best few configurations of an arm are
trained again, on seeds that no search trial had, and the best mean picks the winner; then the
winner is trained on further seeds that did not pick it, and only these speak for it. References,
the published settings of each loss and cross entropy of one view, are trained on as many.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from search.events import Ask, End
from search.fairness import budget_problem
from search.journal import Journal, Trial
from search.published import one_view, published
from search.space import FINAL, Phase, Space

AFTER_SEARCH: tuple[Phase, ...] = ("pick", *FINAL)


@dataclass(frozen=True)
class Row:
    """A configuration that is trained on several fresh seeds."""

    arm: str
    phase: Phase
    params: dict[str, Any]
    seeds: int
    """How many it is to have."""
    of: int | None = None
    """The number of the search trial that it stems from."""

    def runs(self, journal: Journal) -> list[Trial]:
        """Its runs so far; those that failed before a restart give way to other seeds.

        What they failed of may have been put right, like a full disk; one that diverged or did not
        fit into memory would do so again. Once the test images were opened for the row, or for the
        winner that it picked, none is tried again: who has seen a test score is not blind to it.
        """
        own = [run for run in journal.of(self.arm, self.phase) if run.ask.of == self.of]
        failed = [run.end for run in own if run.end and _failed_before(run.end, journal.resumed)]
        left = [run for run in own if run.end not in failed]
        is_settled = any(end.time < time for end in failed for time in self._opened(journal))
        return own if is_settled and len(left) < self.seeds else left

    def _opened(self, journal: Journal) -> list[float]:
        """When the test images were opened for what hangs on this row."""
        row = self.arm, "confirm" if self.phase == "pick" else self.phase
        opened = [o.time for o in journal.openings if (o.arm, o.phase) == row]
        # Older logs have the scores alone.
        return opened + [t.tested.time for t in journal.of(*row) if t.tested]

    def completed(self, journal: Journal) -> list[Trial]:
        """Its runs that were trained to the end."""
        return [run for run in self.runs(journal) if run.outcome == "completed"]

    def is_over(self, journal: Journal) -> bool:
        """Whether all of its runs have ended, one way or another."""
        runs = self.runs(journal)
        return len(runs) >= self.seeds and all(run.end is not None for run in runs)

    def label(self, space: Space) -> str:
        """For people."""
        match self.phase:
            case "one_view":
                views = space.config.augment.views
                return f"{self.arm} winner, 1 view, {views} times the epochs"
            case "published":
                return f"{self.arm}, published settings"
        return f"{self.arm} winner"


def _failed_before(end: End, time: float) -> bool:
    return end.outcome == "failed" and end.time < time


def winner(space: Space, journal: Journal, arm: str) -> Trial | None:
    """The arm's winner, a search trial; None while that is open, as it is during the search.

    The best mean score over the fresh seeds of those candidates whose runs were all trained to the
    end; if there is none such, the best of the search. Ties go to the better one of the search.
    """
    candidates = journal.top(arm, space.confirm.top)
    picks = _picks(space, journal, arm)
    if not journal.is_searched or not all(row.is_over(journal) for row in picks):
        return None
    whole = [
        (candidate, runs)
        for candidate, row in zip(candidates, picks, strict=False)  # a single one has no row
        if len(runs := row.completed(journal)) == row.seeds
    ]
    if whole:
        return max(whole, key=lambda pick: statistics.mean(run.score for run in pick[1]))[0]
    return candidates[0] if candidates else None


def budget_problems(space: Space, journal: Journal) -> tuple[str | None, str | None]:
    """What unequal searches forbid, and what to keep in mind, as `fairness.budget_problem`."""
    trials = [t for arm in space.arms for t in journal.of(arm) if t.reports]
    views = dict.fromkeys(space.arms, 0)
    for trial in trials:
        views[trial.ask.arm] += trial.reports[-1].views
    full = [trial.reports[-1].views for trial in trials if trial.outcome == "completed"]
    return budget_problem(views, max(full, default=0))


def leader(space: Space, journal: Journal, arm: str) -> Trial | None:
    """The winner or, while that is open, the best of the search."""
    return winner(space, journal, arm) or journal.best(arm)


def final_rows(space: Space, journal: Journal) -> list[Row]:
    """Rows of the report that are known by now: winners, then references."""
    return [*_winner_rows(space, journal), *_reference_rows(space, journal)]


def published_rows(space: Space) -> list[Row]:
    """The published settings of each loss."""
    rows, losses = [], set()
    for arm in space.arms:
        loss = space.arm_config(arm).loss.name
        if loss not in losses:  # the same configuration in two arms needs one reference
            rows.append(Row(arm, "published", published(space, arm), space.confirm.seeds))
        losses.add(loss)
    return rows


def _winner_rows(space: Space, journal: Journal) -> Iterator[Row]:
    for arm in space.arms:
        if (won := winner(space, journal, arm)) is not None:
            yield Row(arm, "confirm", won.ask.params, space.confirm.seeds, won.ask.number)


def _reference_rows(space: Space, journal: Journal) -> Iterator[Row]:
    if not space.confirm.references:
        return
    yield from published_rows(space)
    for row in _winner_rows(space, journal):
        config = space.arm_config(row.arm)
        if not config.loss.is_contrastive and config.augment.views > 1:
            params = one_view(space, row.arm, row.params)
            yield Row(row.arm, "one_view", params, row.seeds, row.of)
            return  # of one arm: others that train cross entropy need no second one


def _picks(space: Space, journal: Journal, arm: str) -> list[Row]:
    """The candidates' rows; a single candidate needs none."""
    candidates = journal.top(arm, space.confirm.top)
    seeds = space.confirm.pick_seeds
    rows = [Row(arm, "pick", c.ask.params, seeds, c.ask.number) for c in candidates]
    return rows if len(rows) > 1 else []


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
        picks = [row for arm in self.space.arms for row in _picks(self.space, self.journal, arm)]
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
