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

from search.log.events import End, Phase
from search.log.journal import Journal, Trial
from search.space.loading import parse_space
from search.space.space import Space
from search.strategy.references import one_view, published
from supcon.config import Config
from supcon.parsing import UserError


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
    picks = pick_rows(space, journal, arm)
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


def pick_rows(space: Space, journal: Journal, arm: str) -> list[Row]:
    """The candidates' rows; a single candidate needs none."""
    candidates = journal.top(arm, space.confirm.top)
    seeds = space.confirm.pick_seeds
    rows = [Row(arm, "pick", c.ask.params, seeds, c.ask.number) for c in candidates]
    return rows if len(rows) > 1 else []


def best_config(journal: Journal, arm: str) -> Config:
    """The config of an arm's winner (while that is open: of its best search trial), with the seed
    that it had in the search.

    Raises:
        UserError: the study has no such arm, or no trial of it was trained to the end.
    """
    space = parse_space(journal.space, str(journal.path))
    if arm not in space.arms:
        raise UserError(f"--arm {arm}: the study has {', '.join(space.arms)}")
    best = leader(space, journal, arm)
    if best is None:
        raise UserError(
            f"{journal.path}: no trial of {arm} was trained to the end; resume the study"
        )
    return space.trial_config(arm, best.ask.params, best.ask.seed)
