"""What forbids any comparison before it is made: nothing was learned, or features collapsed."""

from __future__ import annotations

from collections.abc import Iterable

from search.log.events import Phase
from search.log.study import Study
from search.log.trial import Trial
from search.strategy.budget import search_is_over
from search.strategy.chance import chance_limit, is_above_chance
from search.strategy.giving_up import is_hopeless
from search.strategy.in_vain import describe_chance, describe_giving_up

OWN: tuple[Phase, ...] = ("search", "pick", "confirm")  # what speaks for an arm


def nothing_learned(study: Study) -> str | None:
    """Why a comparison would mean nothing; None: each arm has learned something, or may yet.

    That every trial scores at chance comes first; then the arms that gave up, and why.
    """
    hopeless = [arm for arm in study.arms if is_hopeless(study, arm)]
    reasons = [f"{arm} gave up {describe_giving_up(study, arm)}" for arm in hopeless]
    if not search_is_over(study):
        return "; ".join(reasons) or None
    everything = study.log.trials.values()
    if _are_at_chance(study, everything):
        best = max(score for trial in everything for score in trial.scores.values())
        found = f"every trial scores at chance, at most {best:.1%} on val"
        reasons.insert(0, f"{found}, where {describe_chance(study)}; look at the images and labels")
        return "; ".join(reasons)
    for arm in study.arms:
        own = [trial for phase in OWN for trial in study.log.of(arm, phase)]
        if arm not in hopeless and _are_at_chance(study, own):
            reasons.append(f"no trial of {arm} scores above chance ({describe_chance(study)})")
    return "; ".join(reasons) or None


def collapse_warnings(study: Study) -> list[str]:
    """A line for each arm with trials whose features were equal at their last report."""
    found = []
    for arm in study.arms:
        trials = [trial for phase in OWN for trial in study.log.of(arm, phase)]
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


def _are_at_chance(study: Study, trials: Iterable[Trial]) -> bool:
    """Whether there are scores, and none is above chance."""
    scored = [trial for trial in trials if trial.reports]
    is_known = bool(scored) and chance_limit(study) is not None
    return is_known and not any(is_above_chance(study, trial) for trial in scored)
