"""Does one arm beat the other, in this study? What is compared, what forbids it, what to keep in
mind; the statistics are in comparison.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import chain, dropwhile

import numpy as np
import numpy.typing as npt
from pydantic.dataclasses import dataclass as documented

from search.judge.comparison import MIN_SEEDS, Difference, Groups, Labels, compare
from search.judge.fairness import budget_problems
from search.judge.nothing_learned import collapse_warnings, nothing_learned
from search.judge.sealed import correctness, groups_of, is_for, openings, unlike_images
from search.judge.sentence import WithoutCopies, outcome, sentence, with_copies
from search.log.events import Ask, Tested, Unsealed
from search.log.packed import unpack, unpack_labels
from search.log.remembered import remembered
from search.log.study import Study
from search.log.trial import Trial
from search.space.space import Space
from search.strategy.confirmation import has_best
from search.strategy.winners import winner, winner_runs
from supcon.parsing import DOCUMENTED


@dataclass(frozen=True)
class Verdict:
    """What a study says about its two arms."""

    a: str
    b: str
    """What is compared: a minus b."""
    probes: Difference | None
    """Linear probe against linear probe; None: there is no verdict."""
    against_head: Difference | None
    """a's probe against b's own head, where it has one."""
    n_seeds: int
    """Of the arm that has fewer."""
    warnings: list[str]
    text: str
    without_copies: WithoutCopies | None = None
    """None: no test image has a copy in train, or it is not known."""


@documented(frozen=True, config=DOCUMENTED)
class ByClass:
    """The same difference class by class; lists have an entry for each class."""

    a: str
    b: str
    classes: list[str]
    n: list[int]
    """Test images."""
    difference: list[float]
    low: list[float]
    """95 % interval."""
    high: list[float]


def ordered_arms(space: Space) -> list[str]:
    """Contrastive arms first: a difference is SupCon minus CE, whatever the file's order."""
    return sorted(space.arms, key=lambda arm: space.arm_config(arm).loss.name == "ce")


@remembered
def confirmed(study: Study, arm: str) -> Sequence[Trial]:
    """The tested runs of the arm's winner."""
    won = [each for each in winner_runs(study) if each.arm == arm]
    return tuple(run for each in won for run in each.runs(study) if run.tested is not None)


def verdict(study: Study) -> Verdict:
    """What the study says, or why it says nothing."""
    runs = {arm: confirmed(study, arm) for arm in ordered_arms(study.space)}
    n_seeds = min(len(r) for r in runs.values())
    refusal, warnings = _problems(study, n_seeds)
    refusal = refusal or unlike_images(study, [*chain(*runs.values())])
    a, b = [*runs, ""][:2]
    if refusal is not None:
        return Verdict(a, b, None, None, n_seeds, warnings, f"No verdict: {refusal}.")
    counting = _Counting(groups_of(study, runs[a]), _labels_that_count(study, runs[a][0]))
    probes, head = _compared(runs[a], runs[b], counting)
    text = sentence(a, b, probes, head, study.space.selection_metric)
    clean = _without_copies(study, runs[a], runs[b], counting, outcome(probes, head))
    if clean is not None:
        text = with_copies(text, a, b, clean, study.space.selection_metric)
    text = " ".join(filter(None, [text, opened_before(study)]))
    return Verdict(a, b, probes, head, n_seeds, warnings, text, clean)


@dataclass(frozen=True)
class _Counting:
    """How test images count: by group, or by class."""

    groups: Groups | None
    """(N,), where they come in groups."""
    labels: Labels | None
    """(N,), where selection goes by balanced accuracy."""

    def of(self, kept: npt.NDArray[np.bool_]) -> _Counting:
        """The same for some of the images."""
        return _Counting(*(each if each is None else each[kept] for each in astuple(self)))


def _compared(
    a: Sequence[Trial],
    b: Sequence[Trial],
    counting: _Counting,
    kept: npt.NDArray[np.bool_] | slice = slice(None),
) -> tuple[Difference, Difference | None]:
    """A's probe against b's, and against b's own head where it has one, on the images `kept`.

    Args:
        a: runs of a configuration.
        b: runs of another one.
        counting: how the images that are kept count.
        kept: which images.
    """
    ours = correctness(a, "probe")[:, kept]

    def against(classifier: str) -> Difference:
        theirs = correctness(b, classifier)[:, kept]
        return compare(ours, theirs, counting.groups, labels=counting.labels)

    has_head = all(run.tested and "head" in run.tested.correct for run in b)
    return against("probe"), against("head") if has_head else None


def _without_copies(
    study: Study, a: Sequence[Trial], b: Sequence[Trial], counting: _Counting, with_all: str
) -> WithoutCopies | None:
    audited = study.log.audited
    n_images = a[0].tested.n_images if a[0].tested else 0
    if audited is None or audited.n_test != n_images:  # those of an older log may have changed
        return None
    is_copy = unpack(audited.test_in_train, n_images)
    copies, left = int(is_copy.sum()), int((~is_copy).sum())
    if copies == 0:
        return None
    clean = counting.of(~is_copy)
    units = left if clean.groups is None else len(np.unique(clean.groups))
    if units < 2:
        return WithoutCopies(copies, left, None, None, agrees=False)
    found = _compared(a, b, clean, ~is_copy)
    return WithoutCopies(copies, left, *found, agrees=outcome(*found) == with_all)


def _labels_that_count(study: Study, run: Trial) -> Labels | None:
    """Those of the test images where selection goes by balanced accuracy, else None."""
    if study.space.selection != "balanced":
        return None
    opening = next(opening for opening in study.log.openings if is_for(opening, run))
    return unpack_labels(opening.labels)


def _problems(study: Study, n_seeds: int) -> tuple[str | None, list[str]]:
    """Why there can be no verdict, and what to keep in mind with it."""
    collapsed = collapse_warnings(study)
    if (nothing := nothing_learned(study)) is not None:
        return nothing, collapsed
    if len(study.arms) != 2:
        return f"a verdict compares 2 arms, this study has {len(study.arms)}", collapsed
    refusal, warning = budget_problems(study)
    warnings = [*collapsed, *([warning] if warning else []), *_lost_runs(study)]
    is_decided = all(winner(study, arm) is not None for arm in study.arms)
    if not study.log.is_searched and has_best(study):
        return "the search is not over; go on with --resume", warnings
    if n_seeds < MIN_SEEDS and not (refusal and is_decided):
        return (
            f"it needs {MIN_SEEDS} confirmed and tested seeds of each arm, there are {n_seeds}",
            warnings,
        )
    return refusal, warnings


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


def opened_before(study: Study) -> str:
    """A sentence, if anything was decided on or trained after the test images had spoken."""
    later = dropwhile(lambda event: not isinstance(event, Unsealed | Tested), study.log.events)
    if not any(isinstance(e, Ask) and e.phase in ("search", "pick", "confirm") for e in later):
        return ""
    n = len(openings(study))
    return (
        f"The test images of this study had been opened before ({n} openings in all, and trials in "
        f"between): who has seen a test score is no longer blind to it."
    )


def by_class(study: Study) -> ByClass | None:
    """Differences of the winners' probes class by class; None with too few seeds, with unlike
    images, or with an image a class.
    """
    arms = ordered_arms(study.space)
    runs = [confirmed(study, arm) for arm in arms]
    if len(arms) != 2 or min(map(len, runs)) < MIN_SEEDS:
        return None
    opened = [opening for opening in study.log.openings if is_for(opening, runs[0][0])]
    if not opened or unlike_images(study, [*chain(*runs)]):
        return None
    opening = opened[0]
    labels, groups = unpack_labels(opening.labels), groups_of(study, runs[0])
    a, b = (correctness(r, "probe") for r in runs)
    found = []
    for label, name in enumerate(opening.classes):
        own = labels == label
        group = None if groups is None else groups[own]
        if (own.sum() if group is None else len(np.unique(group))) > 1:
            d = compare(a[:, own], b[:, own], group)
            found.append((name, int(own.sum()), d.difference, *d.ci95))
    if not found:  # an image a class tells nothing of it
        return None
    names, n, difference, low, high = zip(*found, strict=True)
    return ByClass(
        a=arms[0],
        b=arms[1],
        classes=list(names),
        n=list(n),
        difference=list(difference),
        low=list(low),
        high=list(high),
    )
