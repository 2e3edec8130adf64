"""What forbids a comparison before it is made, of all arms or of one; what to keep in mind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from search.judge.comparison import MIN_SEEDS
from search.judge.fairness import budget_problems
from search.log.events import Phase
from search.log.study import Study
from search.log.trial import Trial
from search.strategy.chance import chance_limit, is_above_chance
from search.strategy.confirmation import has_best
from search.strategy.giving_up import hopeful_arms, is_any_left
from search.strategy.in_vain import describe_chance, describe_giving_up
from search.strategy.stage import search_is_over
from search.strategy.winners import candidates, winner, winner_runs

OWN: tuple[Phase, ...] = ("search", "pick", "confirm")  # what speaks for an arm


@dataclass(frozen=True)
class Refusals:
    """What cannot be compared."""

    everything: str | None
    """Why nothing can."""
    arms: dict[str, str] = field(default_factory=dict)
    """Arm -> why it cannot, though others can."""
    waiting: frozenset[str] = frozenset()
    """Those of them that may still come, and so are one of the comparisons already."""


def refusals(study: Study, seeds: Mapping[str, int]) -> Refusals:
    """What forbids comparisons of this study.

    An arm that nothing came of is left out, and no comparison of the family: that is decided by
    val, while the test images are sealed. One that waits for its runs is left out for now.

    Args:
        study: the study.
        seeds: arm -> its confirmed and tested runs.
    """
    if (nothing := nothing_learned(study)) is not None:
        return Refusals(nothing)
    if not study.log.is_searched and has_best(study):
        return Refusals("the search is not over; go on with --resume")
    if not study.space.comparisons:
        return Refusals(
            f"{study.arms[0]} is the only arm, so there is nothing to compare it with; its scores, "
            f"and those of the references, stand in the table"
        )
    vain = arms_in_vain(study)
    few = {arm: n for arm, n in seeds.items() if n < MIN_SEEDS and arm not in vain}
    budget, _ = budget_problems(study)
    is_decided = all(winner(study, arm) is not None for arm in study.arms if arm not in vain)
    if not is_any_left(study, [*vain, *few]) and not (budget and is_decided):
        needed = f"it needs {MIN_SEEDS} confirmed and tested seeds of each arm"
        return Refusals(f"{needed}, there are {min(few.values())}")
    short = {
        arm: f"{arm} has {n or 'no'} confirmed and tested seeds, and {MIN_SEEDS} are needed"
        for arm, n in few.items()
    }
    waiting = frozenset(arm for arm in few if _may_still_come(study, arm))
    return Refusals(budget, vain | short, waiting)


def warnings(study: Study) -> list[str]:
    """What to keep in mind with a verdict."""
    found = collapse_warnings(study)
    if nothing_learned(study) is None:
        _, budget = budget_problems(study)
        found += [*([budget] if budget else []), *_lost_runs(study)]
    return found


def nothing_learned(study: Study) -> str | None:
    """Why no comparison would mean anything; None: some arms have learned something, or may yet.

    That every trial scores at chance comes first; then the arms that gave up, and why.
    """
    vain = arms_in_vain(study)
    everything = study.log.trials.values()
    if search_is_over(study) and _are_at_chance(study, everything):
        best = max(score for trial in everything for score in trial.scores.values())
        found = f"every trial scores at chance, at most {best:.1%} on val"
        found += f", where {describe_chance(study)}; look at the images and labels"
        hopeless = [vain[arm] for arm in study.arms if arm not in hopeful_arms(study)]
        return "; ".join([found, *hopeless])
    return None if is_any_left(study, vain) else "; ".join(vain.values()) or None


def arms_in_vain(study: Study) -> dict[str, str]:
    """Arm -> why nothing came of it: it gave up, or it is searched and scores at chance."""
    hopeful = hopeful_arms(study)
    gave_up = [arm for arm in study.arms if arm not in hopeful]
    found = {arm: f"{arm} gave up {describe_giving_up(study, arm)}" for arm in gave_up}
    for arm in hopeful if search_is_over(study) else ():
        if _are_at_chance(study, _own_trials(study, arm)):
            found[arm] = f"no trial of {arm} scores above chance ({describe_chance(study)})"
    return found


def _may_still_come(study: Study, arm: str) -> bool:
    """Whether runs of an arm's winner are still to be trained or tested."""
    own = [each for each in winner_runs(study) if each.arm == arm]
    if not own:
        return bool(candidates(study, arm))
    return not own[0].is_over(study) or any(r.tested is None for r in own[0].completed(study))


def _lost_runs(study: Study) -> list[str]:
    """Runs of the winners that a mean over the others says nothing of."""
    found = []
    for each in winner_runs(study):
        ends = Counter(run.outcome for run in each.runs(study) if run.outcome)
        lost = [f"{n} {outcome}" for outcome, n in ends.items() if outcome != "completed"]
        if lost:
            found.append(
                f"{each.label(study.space)}: of {ends.total()} runs on fresh seeds "
                f"{', '.join(lost)}; its scores are those of the others, and so too good"
            )
    return found


def collapse_warnings(study: Study) -> list[str]:
    """A line for each arm with trials whose features were equal at their last report."""
    found = []
    for arm in study.arms:
        trials = _own_trials(study, arm)
        whole, part = count_collapsed(trials)
        if whole:
            found.append(
                f"{arm}: in {whole} of {len(trials)} trials the features of all val images are "
                f"equal (collapsed); trials.csv has which"
            )
        if part:
            found.append(
                f"{arm}: in {part} of {len(trials)} trials the features of whole classes of val "
                f"are equal; trials.csv has which"
            )
    return found


def count_collapsed(trials: Iterable[Trial]) -> tuple[int, int]:
    """Trials in which all features are equal, and others in which those of whole classes are."""
    last = [trial.last.metrics for trial in trials if trial.last]
    whole = sum(bool(metrics.get("val/collapsed")) for metrics in last)
    return whole, sum(bool(metrics.get("val/collapsed_classes")) for metrics in last) - whole


def _own_trials(study: Study, arm: str) -> list[Trial]:
    return [trial for phase in OWN for trial in study.log.of(arm, phase)]


def _are_at_chance(study: Study, trials: Iterable[Trial]) -> bool:
    """Whether there are scores, and none is above chance."""
    scored = [trial for trial in trials if trial.reports]
    is_known = bool(scored) and chance_limit(study) is not None
    return is_known and not any(is_above_chance(study, trial) for trial in scored)
