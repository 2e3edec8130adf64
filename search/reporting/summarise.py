"""A study -> its Summary: the answer first, then the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from search.judge.refusals import count_collapsed
from search.judge.sealed import openings
from search.judge.verdict import Comparison, confirmed, verdict
from search.log.packed import unpack_labels
from search.log.study import Study
from search.log.trial import Totals, Trial, totals
from search.log.wording import show_time
from search.reporting.extras import NOT_YET, with_extras
from search.reporting.provenance import commands, resumed_with
from search.reporting.summary import (
    ArmSummary,
    Best,
    ComparisonSummary,
    Confirmed,
    Guess,
    Images,
    Ledger,
    Row,
    Summary,
    VerdictSummary,
)
from search.space.space import Space
from search.strategy.in_vain import describe_giving_up
from search.strategy.winners import SeedRuns, final_runs, leader, winner
from supcon.audit.findings import describe
from supcon.config import METRICS
from supcon.evaluation.accuracy import are_equal


def summarise(study: Study, not_drawn: Mapping[str, str] | None = None) -> Summary:
    """All that a study found; `not_drawn`: arm -> why there is no picture of its winner."""
    return with_extras(study, answer(study), not_drawn or {})


def answer(study: Study) -> Summary:
    """What a study was made for: the verdict, the winners, their scores and what they cost."""
    opened, arms = study.log.started, {arm: _arm(study, arm) for arm in study.arms}
    return Summary(
        study=opened.study,
        commit=opened.commit,
        versions=opened.versions,
        machine=opened.machine,
        data_hash=opened.data_hash,
        opened=show_time(opened.time),
        resumed_with=resumed_with(study),
        metric=study.space.selection_metric,
        seed=study.space.seed,
        arms=arms,
        images=_images(study),
        rows=[_row(study, runs) for runs in final_runs(study)],
        guess=_guess(study),
        verdict=_verdict(study),
        per_class=None,
        tsne={},
        test_openings=openings(study),
        test_evaluations=study.log.n_tested(),
        protocol=[*_protocol(study.space), *_micro_batches(study)],
        reproduce=commands(study, [arm for arm in arms if arms[arm].best]),
        wider=None,
        missing=NOT_YET,
    )


def _arm(study: Study, arm: str) -> ArmSummary:
    trials, best = study.log.of(arm), leader(study, arm)
    whole, part = count_collapsed(trials)
    runs, found = confirmed(study, arm), totals(trials)
    seeds, val, test = _scores(runs)
    after = [t for t in study.log.trials.values() if t.ask.arm == arm and t.ask.phase != "search"]
    return ArmSummary(
        trials=found.trials,
        outcomes=found.endings,
        best=_best(best) if best else None,
        gave_up=describe_giving_up(study, arm) or None,
        collapsed=whole,
        collapsed_classes=part,
        is_decided=winner(study, arm) is not None,
        confirm=Confirmed(
            seeds=seeds,
            runs=[run.name for run in runs],
            val=val,
            **{f"test_{n}": test[n] for n in test},
        ),
        ledger=_ledger(found),
        confirm_ledger=_ledger(totals(after)),
        reached=_reached(study.space, trials),
    )


def _best(trial: Trial) -> Best:
    return Best(
        number=trial.ask.number,
        params=trial.ask.params,
        seed=trial.ask.seed,
        paused_after=None if trial.is_completed else trial.epochs,
        val=_short(trial.reports[-1].metrics),
    )


def _row(study: Study, runs: SeedRuns) -> Row:
    completed = runs.completed(study)
    seeds, val, test = _scores([run for run in completed if run.tested] or completed)
    return Row(
        arm=runs.arm,
        phase=runs.phase,
        label=runs.label(study.space),
        params={**runs.params, **runs.settings},
        seeds=seeds,
        val=val,
        test=test,
    )


def _guess(study: Study) -> Guess | None:
    counts = study.log.latest.val_counts
    if not counts or (study.space.selection != "balanced" and are_equal(counts)):
        return None
    largest, openings = counts.index(max(counts)), study.log.openings
    test = float((unpack_labels(openings[0].labels) == largest).mean()) if openings else None
    return Guess(val=max(counts) / sum(counts), test=test, balanced=1 / sum(map(bool, counts)))


def _scores(
    runs: Sequence[Trial],
) -> tuple[list[int], dict[str, list[float]], dict[str, list[float]]]:
    """Seeds, val and test scores of runs, in the same order; those scores that all of them have:
    some are not defined for some features, or unknown to the version that trained a run.
    """
    finals = [_short(run.reports[-1].metrics) for run in runs]
    tests = [_short(run.tested.metrics) for run in runs if run.tested]
    return ([run.ask.seed for run in runs], _in_all(finals), _in_all(tests))


def _in_all(runs: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    first = runs[0] if runs else {}
    return {n: [run[n] for run in runs] for n in first if all(n in run for run in runs)}


def _short(metrics: dict[str, float]) -> dict[str, float]:
    """Without `val/` and `test/`; training metrics are left out."""
    return {
        name.split("/")[1]: value
        for name, value in metrics.items()
        if not name.startswith("train/")
    }


def _ledger(found: Totals) -> Ledger:
    return Ledger(
        epochs=found.reported_epochs,
        views=found.views,
        train_seconds=round(found.seconds, 1),
        checkpoint_seconds=round(found.checkpoint_seconds, 1),
    )


def _reached(space: Space, trials: Iterable[Trial]) -> dict[int, tuple[int, int]]:
    """Rung -> trials that reached it, and those of them that went on (at the last: completed)."""
    found = {}
    for rung in space.rungs:
        there = [r for t in trials for r in t.reports if r.epoch == rung]
        found[rung] = len(there), sum(report.decision != "stop" for report in there)
    return found


def _images(study: Study) -> Images | None:
    found = study.log.audited
    if found is None:
        return None
    text = describe(found.looks, found.twins)
    return Images(looks=found.looks, twins=found.twins, text=text)


def _verdict(study: Study) -> VerdictSummary:
    found = verdict(study)
    said = {"warnings": found.warnings, "text": found.text}
    match found.comparisons:
        case [only]:
            return VerdictSummary(**_compared(only), **said)
        case several:
            each = [ComparisonSummary(**_compared(one), text=one.text) for one in several]
            n_seeds = min((one.n_seeds for one in several), default=0)
            return VerdictSummary(**NOT_ONE, n_seeds=n_seeds, comparisons=each, **said)


NOT_ONE = dict.fromkeys(
    ["a", "b", "difference", "ci95", "p_value", "detectable", "against_head", "without_copies"]
)
"""What the summary of a single comparison has, where there is none or several."""


def _compared(found: Comparison) -> dict[str, Any]:
    """The values of a Compared."""
    probes = found.probes
    return {
        "a": found.a,
        "b": found.b,
        "difference": probes and probes.difference,
        "ci95": probes and probes.ci95,
        "p_value": probes and probes.p_value,
        "detectable": probes and probes.detectable,
        "n_seeds": found.n_seeds,
        "against_head": found.against_head,
        "without_copies": found.without_copies,
        "standard_error": probes and probes.standard_error,
        "judged": probes and probes.judged,
    }


def _protocol(space: Space) -> list[str]:
    config, confirm = space.config, space.confirm
    asha, rungs = space.scheduler.asha, ", ".join(map(str, space.rungs[:-1]))
    metric = space.selection_metric
    measure = "the balanced accuracy of " if metric == METRICS["balanced"] else ""
    n_held = config.data.hold_out
    held_out = f" without {n_held} class{'es' * (n_held > 1)} held out" if n_held else ""
    early = "no early stopping"
    if asha is not None:
        what = "pausing" if asha.promotion else "stopping"
        early = f"ASHA, {what} at epochs {rungs or '(none)'}, reduction {asha.reduction}"
    return [
        f"All arms: {config.data.name}{held_out}, the same split (seed {config.data.split_seed}), "
        f"{config.augment.views} views of an image a step, trials of {config.run.epochs} epochs.",
        f"Search: sampler {space.sampler}, {early}; selection by `{metric}`, {measure}a linear "
        f"probe on frozen encoder features, its penalty cross-fitted on val.",
        f"Confirmation: the best {confirm.top} configurations of an arm on {confirm.pick_seeds} "
        f"fresh seeds pick its winner; the winner is judged on {confirm.seeds} further seeds"
        + (", and so are the reference rows." if confirm.references else "."),
        "Test images are opened once for each row, after all training of the row.",
    ]


def _micro_batches(study: Study) -> list[str]:
    """What a winner that was trained in micro-batches did otherwise."""
    said = []
    for arm in study.arms:
        best = leader(study, arm)
        config = study.config_of(best.ask) if best is not None else study.space.arm_config(arm)
        views, most = config.data.batch_size * config.augment.views, config.run.micro_batch
        if best is not None and config.run.memory == "cached" and views > most:
            said.append(
                f"{arm}: its winner compares all {views} views of a step, embedded in micro-batches"
                f" of at most {most} (`run.memory: cached`): BatchNorm, where the backbone has it, "
                f"normalises each by its own statistics."
            )
    return said
