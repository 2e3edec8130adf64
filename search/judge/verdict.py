"""Does an arm beat the baseline, in this study? What is compared, and what it comes to; the
statistics are in comparison.py, what forbids them in refusals.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import chain, dropwhile

import numpy as np
import numpy.typing as npt
from pydantic.dataclasses import dataclass as documented

from search.judge.comparison import MIN_SEEDS, Correct, Groups, Labels, compare
from search.judge.difference import Difference, holm
from search.judge.refusals import refusals, warnings
from search.judge.sealed import correctness, groups_of, is_for, openings, unlike_images
from search.judge.sentence import WithoutCopies, outcome, sentence, with_copies
from search.log.events import Ask, Tested, Unsealed
from search.log.packed import unpack, unpack_labels
from search.log.remembered import remembered
from search.log.study import Study
from search.log.trial import Trial
from search.strategy.winners import winner_runs
from supcon.parsing import DOCUMENTED

Pair = tuple[str, str]
"""An arm and the baseline."""
Found = tuple[Difference, Difference | None]
"""An arm's probe against the baseline's, and against the baseline's own head where it has one."""
Kept = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Comparison:
    """An arm and the baseline: a minus b."""

    a: str
    b: str
    n_seeds: int
    """Of the arm that has fewer."""
    text: str
    """What it comes to, or why they are not compared."""
    probes: Difference | None = None
    """Linear probe against linear probe; None: they are not compared."""
    against_head: Difference | None = None
    """a's probe against b's own head, where it has one."""
    without_copies: WithoutCopies | None = None
    """None: no test image has a copy in train, or it is not known."""


@dataclass(frozen=True)
class Verdict:
    """What a study says about its arms."""

    comparisons: list[Comparison]
    """Each arm but the baseline, which it is compared with."""
    warnings: list[str]
    text: str


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


@remembered
def confirmed(study: Study, arm: str) -> Sequence[Trial]:
    """The tested runs of the arm's winner."""
    won = [each for each in winner_runs(study) if each.arm == arm]
    return tuple(run for each in won for run in each.runs(study) if run.tested is not None)


def verdict(study: Study) -> Verdict:
    """What the study says, or why it says nothing."""
    runs = {arm: confirmed(study, arm) for arm in study.arms}
    n_seeds = {arm: len(own) for arm, own in runs.items()}
    refused, pairs = refusals(study, n_seeds), study.space.comparisons
    able = [(a, b) for a, b in pairs if a not in refused.arms]
    tested = [run for arm in dict.fromkeys(chain(*able)) for run in runs[arm]]
    why = refused.everything or unlike_images(study, tested)
    if why is not None:
        text = f"No verdict: {why}."
        said = [Comparison(a, b, min(n_seeds[a], n_seeds[b]), text) for a, b in pairs]
        return Verdict(said, warnings(study), text)
    found = _compared(study, runs, able, len(able) + len(refused.waiting))
    for a, b in pairs:
        if a in refused.arms:
            yet = " yet" if a in refused.waiting else ""
            text = f"Not compared{yet}: {refused.arms[a]}."
            found[a] = Comparison(a, b, min(n_seeds[a], n_seeds[b]), text)
    said = [found[a] for a, _ in pairs]
    texts = [*(each.text for each in said), opened_before(study)]
    return Verdict(said, warnings(study), " ".join(filter(None, texts)))


def _compared(
    study: Study, runs: Mapping[str, Sequence[Trial]], pairs: Sequence[Pair], size: int
) -> dict[str, Comparison]:
    """What each of the pairs comes to, by its first arm; `size`: with those still to come."""
    first, metric = runs[pairs[0][0]], study.space.selection_metric
    counting = _Counting(groups_of(study, first), _labels_that_count(study, first[0]))
    family = _Family(runs, pairs, size, counting)
    with_all = family.judged()
    without = _without_copies(study, family, with_all)
    found = {}
    for (a, b), (probes, head), clean in zip(pairs, with_all, without, strict=True):
        text = sentence(a, b, probes, head, metric)
        if clean is not None:
            text = with_copies(text, a, b, clean, metric)
        found[a] = Comparison(a, b, probes.n_seeds, text, probes, head, clean)
    return found


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


@dataclass(frozen=True)
class _Family:
    """Comparisons that are judged together."""

    runs: Mapping[str, Sequence[Trial]]
    """Of each arm."""
    pairs: Sequence[Pair]
    size: int
    """How many comparisons there are, with those still to come."""
    counting: _Counting

    def judged(self, kept: Kept | None = None) -> list[Found]:
        """Each arm's probe against the baseline's, and against its own head where it has one, on
        all test images or on those `kept`.
        """
        found = [self._of(a, b, kept) for a, b in self.pairs]
        probes = holm([probe for probe, _ in found], self.size)
        heads = [head and head.judged_as(p) for p, (_, head) in zip(probes, found, strict=True)]
        return list(zip(probes, heads, strict=True))

    def _of(self, a: str, b: str, kept: Kept | None) -> Found:
        counting = self.counting if kept is None else self.counting.of(kept)

        def right(arm: str, classifier: str) -> Correct:
            found = correctness(self.runs[arm], classifier)
            return found if kept is None else found[:, kept]

        def against(classifier: str) -> Difference:
            ours, theirs = right(a, "probe"), right(b, classifier)
            return compare(ours, theirs, counting.groups, labels=counting.labels)

        has_head = all(run.tested and "head" in run.tested.correct for run in self.runs[b])
        return against("probe"), against("head") if has_head else None


def _without_copies(
    study: Study, family: _Family, with_all: Sequence[Found]
) -> list[WithoutCopies | None]:
    """What each comparison comes to on images that have no copy in train, if some have one."""
    audited, run = study.log.audited, family.runs[family.pairs[0][0]][0]
    n_images = run.tested.n_images if run.tested else 0
    if audited is None or audited.n_test != n_images:  # those of an older log may have changed
        return [None] * len(with_all)
    is_copy = unpack(audited.test_in_train, n_images)
    copies, left = int(is_copy.sum()), int((~is_copy).sum())
    if copies == 0:
        return [None] * len(with_all)
    groups = family.counting.of(~is_copy).groups
    if (left if groups is None else len(np.unique(groups))) < 2:
        return [WithoutCopies(copies, left, None, None, agrees=False)] * len(with_all)
    return [
        WithoutCopies(copies, left, *clean, agrees=outcome(*clean) == outcome(*before))
        for clean, before in zip(family.judged(~is_copy), with_all, strict=True)
    ]


def _labels_that_count(study: Study, run: Trial) -> Labels | None:
    """Those of the test images where selection goes by balanced accuracy, else None."""
    if study.space.selection != "balanced":
        return None
    opening = next(opening for opening in study.log.openings if is_for(opening, run))
    return unpack_labels(opening.labels)


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


def by_class(study: Study) -> list[ByClass]:
    """Differences of the winners' probes class by class, of each comparison: none of one with too
    few seeds, with unlike images, or with an image a class.
    """
    found = (_by_class(study, a, b) for a, b in study.space.comparisons)
    return [each for each in found if each is not None]


def _by_class(study: Study, a: str, b: str) -> ByClass | None:
    runs = confirmed(study, a), confirmed(study, b)
    if min(map(len, runs)) < MIN_SEEDS:
        return None
    opened = [opening for opening in study.log.openings if is_for(opening, runs[0][0])]
    if not opened or unlike_images(study, [*chain(*runs)]):
        return None
    opening = opened[0]
    labels, groups = unpack_labels(opening.labels), groups_of(study, runs[0])
    ours, theirs = (correctness(r, "probe") for r in runs)
    found = []
    for label, name in enumerate(opening.classes):
        own = labels == label
        group = None if groups is None else groups[own]
        if (own.sum() if group is None else len(np.unique(group))) > 1:
            d = compare(ours[:, own], theirs[:, own], group)
            found.append((name, int(own.sum()), d.difference, *d.ci95))
    if not found:  # an image a class tells nothing of it
        return None
    names, n, difference, low, high = map(list, zip(*found, strict=True))
    return ByClass(a, b, names, n, difference, low, high)
