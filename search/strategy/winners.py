"""What is trained after the search, on fresh seeds, and which configuration wins an arm.

The best scores of a search are the luckiest of many. So the best few configurations of an arm are
trained again, on seeds that no search trial had, and the best mean picks the winner; then the
winner is trained on further seeds that did not pick it, and only these speak for it. References,
the published settings of each loss and cross entropy of one view, are trained on as many;
pretrained backbones are also scored as they are, once.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from search.log.events import End, Phase
from search.log.remembered import remembered
from search.log.study import Study
from search.log.trial import Trial
from search.space.space import Space
from search.strategy.giving_up import hopeful_arms, is_hopeless
from search.strategy.references import frozen, one_view, published, without_additions
from supcon.config import Config
from supcon.parsing import UserError


@dataclass(frozen=True)
class SeedRuns:
    """The runs of a configuration on several fresh seeds."""

    arm: str
    phase: Phase
    params: dict[str, Any]
    seeds: int
    """How many it is to have."""
    of: int | None = None
    """The number of the search trial that it stems from."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What sets them off from search trials, beside `params`."""

    def runs(self, study: Study) -> list[Trial]:
        """Those that there are so far; those that failed before a restart give way to other seeds.

        What they failed of may have been put right, like a full disk; one that diverged or did not
        fit into memory would do so again. Once the test images were opened for them, or for the
        winner that they picked, none is tried again: who has seen a test score is not blind to it.
        """
        own = [run for run in study.log.of(self.arm, self.phase) if run.ask.of == self.of]
        failed = [run.end for run in own if run.end and _failed_before(run.end, study.log.resumed)]
        left = [run for run in own if run.end not in failed]
        is_settled = any(end.time < time for end in failed for time in self._opened(study))
        return own if is_settled and len(left) < self.seeds else left

    def _opened(self, study: Study) -> list[float]:
        """When the test images were opened for what hangs on these runs."""
        phase: Phase = "confirm" if self.phase == "pick" else self.phase
        opened = [o.time for o in study.log.openings if (o.arm, o.phase) == (self.arm, phase)]
        # Older logs have the scores alone.
        return opened + [t.tested.time for t in study.log.of(self.arm, phase) if t.tested]

    def completed(self, study: Study) -> list[Trial]:
        """Those that were trained to the end."""
        return [run for run in self.runs(study) if run.is_completed]

    def is_over(self, study: Study) -> bool:
        """Whether all have ended, one way or another."""
        runs = self.runs(study)
        return len(runs) >= self.seeds and all(run.end is not None for run in runs)

    def label(self, space: Space) -> str:
        """For people."""
        match self.phase:
            case "one_view":
                views = space.config.augment.views
                return f"{self.arm} winner, 1 view, {views} times the epochs"
            case "published":
                return f"{self.arm}, published settings"
            case "frozen":
                model = space.trial_config(self.arm, self.params, seed=0).model
                return f"{model.backbone}, pretrained and frozen"
        return f"{self.arm} winner"


def _failed_before(end: End, time: float) -> bool:
    return end.outcome == "failed" and end.time < time


def candidates(study: Study, arm: str) -> Sequence[Trial]:
    """The arm's best configurations, of which one becomes its winner; none of an arm that gave up
    over trials that came to nothing.
    """
    return () if is_hopeless(study, arm) else study.log.top(arm, study.space.confirm.top)


@remembered
def winner(study: Study, arm: str) -> Trial | None:
    """The arm's winner, a search trial; None while that is open, as it is during the search.

    The best mean score over the fresh seeds of those candidates whose runs were all trained to the
    end; if there is none such, the best of the search. Ties go to the better one of the search.
    """
    found, picks = candidates(study, arm), pick_runs(study, arm)
    if not study.log.is_searched or not all(pick.is_over(study) for pick in picks):
        return None
    whole = [
        (candidate, runs)
        for candidate, pick in zip(found, picks, strict=False)  # a single one has no pick
        if len(runs := pick.completed(study)) == pick.seeds
    ]
    if whole:
        return max(whole, key=lambda each: statistics.mean(run.score for run in each[1]))[0]
    return found[0] if found else None


def leader(study: Study, arm: str) -> Trial | None:
    """The winner or, while that is open, the best of the search."""
    return winner(study, arm) or next(iter(candidates(study, arm)), None)


@remembered
def final_runs(study: Study) -> Sequence[SeedRuns]:
    """What the report has a row for, as far as it is known by now: winners, then references."""
    return (*winner_runs(study), *_reference_runs(study))


def published_runs(space: Space, arms: Iterable[str]) -> Sequence[SeedRuns]:
    """The published settings of each loss that these arms have, in the plainest arm of it.

    Of the joint loss there are none that many would know.
    """
    by_loss: dict[str, list[str]] = {}
    for arm in arms:
        if (loss := space.arm_config(arm).loss.name) != "supcon_ce":
            by_loss.setdefault(loss, []).append(arm)
    # The same configuration in two arms needs one reference.
    return [
        SeedRuns(
            arm,
            "published",
            published(space, arm),
            space.confirm.seeds,
            settings=without_additions(space, arm),
        )
        for arm in (plainest(space, same) for same in by_loss.values())
    ]


def plainest(space: Space, arms: Sequence[str]) -> str:
    """The arm with the fewest settings of its own: plain cross entropy, not that with CutMix."""
    return min(arms, key=lambda arm: len(space.arms[arm]))


@remembered
def winner_runs(study: Study) -> Sequence[SeedRuns]:
    """The runs that speak for each arm's winner, as far as it is known by now."""
    seeds = study.space.confirm.seeds
    return tuple(
        SeedRuns(arm, "confirm", won.ask.params, seeds, won.ask.number)
        for arm in study.arms
        if (won := winner(study, arm)) is not None
    )


def _reference_runs(study: Study) -> Iterator[SeedRuns]:
    if not study.space.confirm.references:
        return
    yield from published_runs(study.space, hopeful_arms(study))
    yield from _frozen_runs(study)
    space = study.space
    trained = [arm for arm in study.arms if candidates(study, arm)]
    plain = [arm for arm in trained if not space.arm_config(arm).loss.is_contrastive]
    if not plain or space.config.augment.views == 1:
        return
    arm = plainest(space, plain)  # others that train cross entropy need no second one
    for won in (each for each in winner_runs(study) if each.arm == arm):
        yield SeedRuns(arm, "one_view", won.params, won.seeds, won.of, one_view(space, arm))


def _frozen_runs(study: Study) -> Iterator[SeedRuns]:
    """The backbones that winners start from with pretrained weights, each once and untrained."""
    seen = {"none"}
    for won in winner_runs(study):
        name = study.space.trial_config(won.arm, won.params, seed=0).model.weights_name
        if name not in seen:
            seen.add(name)
            yield SeedRuns(won.arm, "frozen", won.params, 1, won.of, frozen())


@remembered
def pick_runs(study: Study, arm: str) -> Sequence[SeedRuns]:
    """The candidates' runs; a single candidate needs none."""
    found, seeds = candidates(study, arm), study.space.confirm.pick_seeds
    if len(found) < 2:
        return ()
    return tuple(SeedRuns(arm, "pick", c.ask.params, seeds, c.ask.number) for c in found)


def best_config(study: Study, arm: str) -> Config:
    """The config of an arm's winner (while that is open: of its best search trial), with the seed
    that it had in the search.

    Raises:
        UserError: the study has no such arm, it gave up, or no trial was trained to the end.
    """
    if arm not in study.space.arms:
        raise UserError(f"--arm {arm}: the study has {', '.join(study.arms)}")
    best = leader(study, arm)
    if best is None and is_hopeless(study, arm):
        raise UserError(
            f"{study.log.path}: {arm} gave up over trials that came to nothing; the report says why"
        )
    if best is None:
        raise UserError(
            f"{study.log.path}: no trial of {arm} was trained to the end; resume the study"
        )
    return study.config_of(best.ask)
