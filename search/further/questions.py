"""What the further measures come to: each row's own values, and which differences are shown.

All questions of all comparisons share the level of one (Holm). As with the verdict, an arm is said
to be better only if its probe is better than the baseline's probe and, where the baseline has one,
than its own head.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from search.further.jackknife import pseudo_values
from search.further.measures import ASKED, MEASURES, Measure
from search.judge.comparison import MIN_SEEDS, compare_values, value_of
from search.judge.difference import ALPHA, Difference, holm
from search.judge.verdict import Comparison, confirmed, verdict
from search.log.events import Examined
from search.log.study import Study
from search.log.trial import Trial
from search.strategy.winners import final_runs
from supcon.parsing import Section

ByMeasure = Mapping[str, npt.NDArray[np.float64]]
"""Measure -> (n, J) values of each run on each block."""
PROBE, HEAD, FEATURES = "probe", "head", "features"


class Value(Section):
    """A measure of a row: mean over its runs."""

    value: float
    """A fraction of 1; NLL in nats an image."""
    ci95: tuple[float, float] | None
    """Over seeds and test images; null with fewer than 3 runs."""


class FurtherRow(Section):
    """What a winner or a reference is worth by one of its classifiers."""

    arm: str
    phase: str
    label: str
    classifier: str
    """`probe` or `head`; what features tell alone stands with the probe."""
    seeds: int
    measures: dict[str, Value]


class Question(Section):
    """Whether an arm differs from the baseline by a measure; a minus b."""

    a: str
    b: str
    measure: str
    probes: Difference
    """Of a's linear probe and b's; fractions of 1, NLL in nats an image."""
    against_head: Difference | None
    """Of a's linear probe and b's own head, where it has one."""
    is_shown: bool
    """Whether one is said to be better than the other."""


class Further(Section):
    """Measures beyond accuracy, on the sealed test images; no verdict hangs on them."""

    images: int
    """Of test."""
    corrupted: int
    """Of these, those that were also looked at corrupted."""
    unknown: int
    """Images of unknown classes."""
    blocks: int
    """Of test images, whose leaving out tells how uncertain a measure is."""
    meanings: dict[str, str] = {}
    """Measure -> what it is, and which direction is better."""
    rows: list[FurtherRow]
    """Winners and references, by each classifier that gives probabilities."""
    questions: list[Question]
    """Of each comparison of the verdict."""
    text: list[str]
    """A sentence for each difference that is shown, and how many questions were asked."""


def further(study: Study) -> Further | None:
    """What the examined runs come to; None if none is."""
    rows = list(_rows(study))
    events = [run.examined for run in study.log.trials.values() if run.examined is not None]
    if not rows:
        return None
    questions, asked = _questions(study)
    first = events[0]
    return Further(
        images=first.n_images,
        corrupted=first.n_corrupted,
        unknown=first.n_unknown,
        blocks=len(first.values[PROBE]["ece"]) - 1,
        meanings={
            name: measure.described
            for name, measure in MEASURES.items()
            if any(name in row.measures for row in rows)
        },
        rows=rows,
        questions=questions,
        text=_said(questions, asked),
    )


def _rows(study: Study) -> Iterator[FurtherRow]:
    for each in final_runs(study):
        runs = [run for run in each.runs(study) if run.tested is not None]
        if not _are_examined(runs):
            continue
        for classifier in (PROBE, HEAD):
            values = _values(runs, classifier)
            if values:
                yield FurtherRow(
                    arm=each.arm,
                    phase=each.phase,
                    label=each.label(study.space),
                    classifier=classifier,
                    seeds=len(runs),
                    measures={
                        name: _value(MEASURES[name], own, _n_equal(runs, name))
                        for name, own in values.items()
                    },
                )


def _value(measure: Measure, values: npt.NDArray[np.float64], n_equal: float | None) -> Value:
    mean = float(values.mean())
    if len(values) < MIN_SEEDS:
        return Value(value=mean, ci95=None)
    low, high = value_of(values, n_equal).ci95
    return Value(value=mean, ci95=(max(low, 0.0), min(high, 1.0) if measure.is_share else high))


def _n_equal(runs: Sequence[Trial], measure: str) -> float | None:
    """For how many blocks of one size those of a measure stand."""
    is_unknown = MEASURES[measure].theme == "unknown classes"
    examined = runs[0].examined
    if examined is None:
        return None
    return examined.n_equal_unknown if is_unknown else examined.n_equal


def _are_examined(runs: Sequence[Trial]) -> bool:
    return bool(runs) and all(run.examined is not None for run in runs)


def _values(runs: Sequence[Trial], classifier: str) -> ByMeasure:
    """Those measures that all of the runs have, in the order of the tables."""
    found = [_of(run.examined, classifier) for run in runs if run.examined is not None]
    return {
        name: np.stack([pseudo_values(own[name]) for own in found])
        for name in MEASURES
        if found and all(name in own for own in found)
    }


def _of(examined: Examined, classifier: str) -> Mapping[str, Sequence[float]]:
    alone = examined.values.get(FEATURES, {}) if classifier == PROBE else {}
    return {**examined.values.get(classifier, {}), **alone}


def _questions(study: Study) -> tuple[list[Question], int]:
    """Each measure of each comparison, judged together, and how many there are."""
    found, size = list[Question](), 0
    for each in verdict(study).comparisons:
        if each.probes is None:
            continue
        own = list(_asked(study, each))
        found += own
        # With comparisons still to come, as the verdict counts them.
        size = max(size, len(own) * (each.probes.judged.comparisons if each.probes.judged else 1))
    judged = holm([each.probes for each in found], size) if found else []
    return [_judged(each, d) for each, d in zip(found, judged, strict=True)], size


def _asked(study: Study, comparison: Comparison) -> Iterator[Question]:
    a, b = (confirmed(study, arm) for arm in (comparison.a, comparison.b))
    if not (_are_examined(a) and _are_examined(b)):
        return
    ours, theirs, head = _values(a, PROBE), _values(b, PROBE), _values(b, HEAD)
    for measure in ASKED:
        name = measure.name
        if name in ours and name in theirs:
            n_equal = _n_equal(a, name)
            against = compare_values(ours[name], head[name], n_equal) if name in head else None
            yield Question(
                a=comparison.a,
                b=comparison.b,
                measure=name,
                probes=compare_values(ours[name], theirs[name], n_equal),
                against_head=against,
                is_shown=False,
            )


def _judged(question: Question, probes: Difference) -> Question:
    head = question.against_head and question.against_head.judged_as(probes)
    sign = 1 if MEASURES[question.measure].is_higher_better else -1
    is_shown = probes.is_shown
    if is_shown and sign * probes.difference > 0 and head is not None:
        is_shown = head.is_shown and sign * head.difference > 0
    changed = {"probes": probes, "against_head": head, "is_shown": is_shown}
    return question.model_copy(update=changed)


def _said(questions: Sequence[Question], asked: int) -> list[str]:
    if not questions:
        return []
    shown = [_sentence(each) for each in questions if each.is_shown]
    none = "none shows a difference, which does not prove that there is none"
    result = "those above alone show a difference" if shown else none
    count = "1 further question was" if asked == 1 else f"{asked} further questions were"
    level = f"at {100 * ALPHA:.0f} % together (Holm), the verdict's apart"
    return [*shown, f"{count} asked, {level}: {result}."]


def _sentence(question: Question) -> str:
    measure, probes = MEASURES[question.measure], question.probes
    is_higher, level = probes.difference > 0, probes.judged.level if probes.judged else ALPHA
    how = "higher" if is_higher else "lower"
    better = "better" if is_higher == measure.is_higher_better else "worse"
    interval = f" {measure.unit}, {100 * (1 - level):.4g} % interval"
    head = question.against_head
    against = f"; against {question.b}'s head {_figures(measure, head)}" if head else ""
    return (
        f"{measure.label[0].upper()}{measure.label[1:]}: {question.a}'s is {how} than "
        f"{question.b}'s, which is {better} ({_figures(measure, probes, interval)}{against})."
    )


def _figures(measure: Measure, d: Difference, unit: str = ",") -> str:
    form = "+.2f" if measure.is_share else "+.3f"
    value, low, high = (f"{measure.scale * x:{form}}" for x in (d.difference, *d.interval))
    return f"{value}{unit} {low} to {high}"
