"""All facts of a study as plain values: what every form of the report is made from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from itertools import chain
from typing import Any

from search.judge.best_by_budget import best_so_far, expected_best
from search.judge.comparison import MIN_SEEDS, Difference, compare
from search.judge.fairness import budget_problems, winners_curse
from search.judge.importance import importances
from search.judge.range_edges import edges
from search.judge.rung_audit import audit
from search.judge.sealed import correctness, is_for, unlike_images, unpack_labels
from search.judge.verdict import sentence
from search.log.journal import Journal, Trial
from search.reporting.provenance import commands, opened_before, openings, provenance
from search.space.space import Space
from search.strategy.winners import Row, final_rows, leader, winner
from supcon.config import SELECTION_METRIC


def summarise(space: Space, journal: Journal) -> dict[str, Any]:
    """The facts; results/README.md documents the keys."""
    arms = {arm: _arm(space, journal, arm) for arm in space.arms}
    facts = {
        **provenance(journal),
        "metric": SELECTION_METRIC,
        "seed": space.seed,
        "arms": arms,
        "rows": [_row(space, journal, row) for row in final_rows(space, journal)],
        "verdict": _verdict(space, journal, arms),
        "per_class": _per_class(space, journal),
        "tsne": _pictures(space, journal),
        "test_openings": openings(journal),
        "test_evaluations": sum(trial.tested is not None for trial in journal.trials.values()),
        "protocol": _protocol(space),
        "reproduce": commands(journal, [arm for arm in arms if arms[arm]["best"]]),
    }
    # As a reader of summary.json gets them: every form of the report shows the same.
    plain: dict[str, Any] = json.loads(json.dumps(facts, allow_nan=False))
    return plain


def _arm(space: Space, journal: Journal, arm: str) -> dict[str, Any]:
    trials, best = journal.of(arm), leader(space, journal, arm)
    runs = _confirmed(space, journal, arm)
    vals = [run.score for run in runs]
    row = _metrics(runs)
    importance, expected = importances(space, journal, arm), expected_best(space, journal, arm)
    audited = audit(space, journal, arm)
    return {
        "trials": len(trials),
        "outcomes": dict(Counter(trial.ending for trial in trials)),
        "best": best
        and {
            "number": best.ask.number,
            "params": best.ask.params,
            "seed": best.ask.seed,
            "val": _short(best.reports[-1].metrics),
        },
        "is_decided": winner(space, journal, arm) is not None,
        "curse": asdict(winners_curse(best.score, vals)) if best and vals else None,
        "confirm": {
            "seeds": row["seeds"],
            "val": row["val"],
            **{f"test_{name}": values for name, values in row["test"].items()},
        },
        "ledger": _ledger(trials),
        "confirm_ledger": _ledger(
            t for t in journal.trials.values() if t.ask.arm == arm and t.ask.phase != "search"
        ),
        "reached": _reached(space, trials),
        "audit": audited and asdict(audited),
        "edges": [asdict(edge) for edge in edges(space, journal, arm)],
        "importance": importance and asdict(importance),
        "best_so_far": best_so_far(journal, arm),
        "expected_best": expected and asdict(expected),
    }


def _confirmed(space: Space, journal: Journal, arm: str) -> list[Trial]:
    """The tested runs of the arm's winner."""
    rows = [r for r in final_rows(space, journal) if (r.arm, r.phase) == (arm, "confirm")]
    return [run for row in rows for run in row.runs(journal) if run.tested is not None]


def _row(space: Space, journal: Journal, row: Row) -> dict[str, Any]:
    completed = row.completed(journal)
    return {
        "arm": row.arm,
        "phase": row.phase,
        "label": row.label(space),
        "params": row.params,
        **_metrics([run for run in completed if run.tested is not None] or completed),
    }


def _metrics(runs: list[Trial]) -> dict[str, Any]:
    """Seeds, val and test scores of runs, in the same order."""
    finals = [_short(run.reports[-1].metrics) for run in runs]
    tests = [_short(run.tested.metrics) for run in runs if run.tested]
    return {
        "seeds": [run.ask.seed for run in runs],
        "val": {name: [final[name] for final in finals] for name in (finals or [{}])[0]},
        "test": {name: [test[name] for test in tests] for name in (tests or [{}])[0]},
    }


def _short(metrics: dict[str, float]) -> dict[str, float]:
    """Without `val/` and `test/`; training metrics are left out."""
    return {
        name.split("/")[1]: value
        for name, value in metrics.items()
        if not name.startswith("train/")
    }


def _ledger(trials: Iterable[Trial]) -> dict[str, float]:
    last = [trial.reports[-1] for trial in trials if trial.reports]
    return {
        "epochs": sum(report.epoch for report in last),
        "views": sum(report.views for report in last),
        "train_seconds": round(sum(report.seconds for report in last), 1),
    }


def _reached(space: Space, trials: list[Trial]) -> dict[str, list[int]]:
    """Rung -> trials that reached it, and those of them that went on (at the last: completed)."""
    found = {}
    for rung in space.rungs:
        there = [r for t in trials for r in t.reports if r.epoch == rung]
        found[str(rung)] = [len(there), sum(report.decision != "stop" for report in there)]
    return found


def ordered_arms(space: Space) -> list[str]:
    """Contrastive arms first: a difference is SupCon minus CE, whatever the file's order."""
    return sorted(space.arms, key=lambda arm: space.arm_config(arm).loss.name == "ce")


def _verdict(space: Space, journal: Journal, arms: dict[str, Any]) -> dict[str, Any]:
    runs = {arm: _confirmed(space, journal, arm) for arm in ordered_arms(space)}
    n_seeds = min(len(r) for r in runs.values())
    refusal, warnings = _problems(space, journal, arms, n_seeds)
    refusal = refusal or unlike_images(space, journal, [*chain(*runs.values())])
    empty = {"difference": None, "ci95": None, "p_value": None, "detectable": None}
    a, b = [*runs, ""][:2]
    facts: dict[str, Any] = {"a": a, "b": b, **empty, "n_seeds": n_seeds, "against_head": None}
    if refusal is not None:
        return {**facts, "warnings": warnings, "text": f"No verdict: {refusal}."}
    probes = compare(correctness(runs[a], "probe"), correctness(runs[b], "probe"))
    has_head = all(run.tested and "head" in run.tested.correct for run in runs[b])
    head: Difference | None = None
    if has_head:
        head = compare(correctness(runs[a], "probe"), correctness(runs[b], "head"))
    again = opened_before(journal)
    return {
        **facts,
        **_difference(probes),
        "against_head": head and _difference(head),
        "warnings": warnings,
        "text": " ".join(filter(None, [sentence(a, b, probes, head), again])),
    }


def _difference(d: Difference) -> dict[str, Any]:
    return {**asdict(d), "ci95": list(d.ci95)}


def _problems(
    space: Space, journal: Journal, arms: dict[str, Any], n_seeds: int
) -> tuple[str | None, list[str]]:
    """Why there can be no verdict, and what to keep in mind with it."""
    if len(arms) != 2:
        return f"a verdict compares 2 arms, this study has {len(arms)}", []
    audits = [facts["audit"] for facts in arms.values() if facts["audit"]]
    warnings = [found["warning"] for found in audits if found["warning"]]
    refusal, warning = budget_problems(space, journal)
    warnings += [warning] if warning else []
    warnings += _lost_runs(space, journal)
    is_searched = all(facts["is_decided"] for facts in arms.values())
    if not journal.is_searched and any(facts["best"] for facts in arms.values()):
        return "the search is not over; go on with --resume", warnings
    if n_seeds < MIN_SEEDS and not (refusal and is_searched):
        return (
            f"it needs {MIN_SEEDS} confirmed and tested seeds of each arm, there are {n_seeds}",
            warnings,
        )
    return refusal, warnings


def _lost_runs(space: Space, journal: Journal) -> list[str]:
    """Runs of the winners that a mean over the others says nothing of."""
    found = []
    for row in final_rows(space, journal):
        ends = Counter(run.outcome for run in row.runs(journal) if run.outcome)
        lost = [f"{n} {outcome}" for outcome, n in ends.items() if outcome != "completed"]
        if lost and row.phase == "confirm":
            found.append(
                f"{row.label(space)}: of {ends.total()} runs on fresh seeds {', '.join(lost)}; its "
                f"scores are those of the others, and so too good"
            )
    return found


def _per_class(space: Space, journal: Journal) -> dict[str, Any] | None:
    """Differences of the winners' probes class by class."""
    arms = ordered_arms(space)
    runs = [_confirmed(space, journal, arm) for arm in arms]
    if len(arms) != 2 or min(map(len, runs)) < MIN_SEEDS:
        return None
    opened = [opening for opening in journal.openings if is_for(opening, runs[0][0])]
    if not opened or unlike_images(space, journal, [*chain(*runs)]):
        return None
    opening = opened[0]
    labels = unpack_labels(opening.labels)
    a, b = (correctness(r, "probe") for r in runs)
    found = []
    for label, name in enumerate(opening.classes):
        own = labels == label
        if own.sum() > 1:
            d = compare(a[:, own], b[:, own])
            found.append((name, int(own.sum()), d.difference, *d.ci95))
    if not found:  # an image a class tells nothing of it
        return None
    columns = ("classes", "n", "difference", "low", "high")
    values = [list(column) for column in zip(*found, strict=True)]
    return {"a": arms[0], "b": arms[1], **dict(zip(columns, values, strict=True))}


def _pictures(space: Space, journal: Journal) -> dict[str, Any]:
    found = {}
    for arm in space.arms:
        keys = [run.ask.key for run in _confirmed(space, journal, arm)]
        for picture in journal.pictures:
            if picture.key in keys:
                found[arm] = picture.model_dump(
                    include={"classes", "labels", "encoder", "projection"}
                )
    return found


def _protocol(space: Space) -> list[str]:
    config, confirm = space.config, space.confirm
    asha, rungs = space.scheduler.asha, ", ".join(map(str, space.rungs[:-1]))
    early = "no early stopping"
    if asha is not None:
        early = f"ASHA at epochs {rungs or '(none)'}, reduction {asha.reduction}"
    return [
        f"All arms: {config.data.name}, the same split (seed {config.data.split_seed}), "
        f"{config.augment.views} views of an image a step, trials of {config.run.epochs} epochs.",
        f"Search: sampler {space.sampler}, {early}; selection by `{SELECTION_METRIC}`, a linear "
        f"probe on frozen encoder features, its penalty cross-fitted on val.",
        f"Confirmation: the best {confirm.top} configurations of an arm on {confirm.pick_seeds} "
        f"fresh seeds pick its winner; the winner is judged on {confirm.seeds} further seeds"
        + (", and so are the reference rows." if confirm.references else "."),
        "Test images are opened once for each row, after all training of the row.",
    ]
