"""What a study found, from its event log: report.md, summary.json, trials.csv, best/*.yaml."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from search.confirm import confirmed, unpack
from search.curves import draw_curves
from search.events import Journal, Trial
from search.export import best_config
from search.progress import show_params
from search.space import Space, parse_space
from search.verdict import MIN_SEEDS, Difference, compare, sentence
from supcon.config import SELECTION_METRIC, dump_config

TRIAL_COLUMNS = ("arm", "phase", "number", "outcome", "epochs", "seconds", "views", "seed")
ROWS = {
    "probe": "linear probe",
    "knn": "kNN",
    "projection_knn": "kNN after the head",
    "head": "CE head",
}


def write_report(journal: Journal) -> dict[str, Any]:
    """Write all files of the report into the study's folder, and return the summary."""
    folder = journal.path.parent
    space = parse_space(journal.space, str(journal.path))
    summary = summarise(space, journal)
    _write(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    _write(folder / "report.md", markdown(space, summary))
    _write(folder / "curves.svg", draw_curves(space, journal))
    _write(folder / "trials.csv", trials_csv(space, journal))
    for arm in space.arms:
        if journal.best(arm) is not None:
            _write(folder / "best" / f"{arm}.yaml", dump_config(best_config(journal, arm)))
    return summary


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def summarise(space: Space, journal: Journal) -> dict[str, Any]:
    """All facts of a study as plain values; results/README.md documents the keys."""
    opened = journal.opened
    return {
        "study": opened.study,
        "metric": SELECTION_METRIC,
        "commit": opened.commit,
        "versions": opened.versions,
        "seed": space.seed,
        "arms": {arm: _summarise_arm(journal, arm) for arm in space.arms},
        "verdict": _verdict(space, journal),
        "test_evaluations": sum(trial.tested is not None for trial in journal.trials.values()),
    }


def _summarise_arm(journal: Journal, arm: str) -> dict[str, Any]:
    trials, runs = journal.of(arm), confirmed(journal, arm)
    best = journal.best(arm)
    finals = [_short(run.reports[-1].metrics) for run in runs]
    tests = [_short(run.tested.metrics) for run in runs if run.tested]
    return {
        "trials": len(trials),
        "outcomes": dict(Counter(trial.outcome or "unfinished" for trial in trials)),
        "best": best
        and {
            "number": best.ask.number,
            "params": best.ask.params,
            "seed": best.ask.seed,
            "val": _short(best.reports[-1].metrics),
        },
        "confirm": {
            "seeds": [run.ask.seed for run in runs],
            "val": {name: [final[name] for final in finals] for name in (finals or [{}])[0]},
            **{f"test_{name}": [test[name] for test in tests] for name in (tests or [{}])[0]},
        },
        "ledger": _ledger(trials),
        "confirm_ledger": _ledger(journal.of(arm, "confirm")),
    }


def _short(metrics: dict[str, float]) -> dict[str, float]:
    """Without `val/` and `test/`; training metrics are left out."""
    return {
        name.split("/")[1]: value
        for name, value in metrics.items()
        if not name.startswith("train/")
    }


def _ledger(trials: list[Trial]) -> dict[str, float]:
    last = [trial.reports[-1] for trial in trials if trial.reports]
    return {
        "epochs": sum(report.epoch for report in last),
        "views": sum(report.views for report in last),
        "train_seconds": round(sum(report.seconds for report in last), 1),
    }


def _verdict(space: Space, journal: Journal) -> dict[str, Any]:
    # Design: SupCon minus CE, in whatever order the space names its arms.
    arms = sorted(space.arms, key=lambda arm: space.arm_config(arm).loss.name == "ce")
    runs = {arm: confirmed(journal, arm) for arm in arms}
    n_seeds = min(len(r) for r in runs.values())
    if len(arms) != 2 or n_seeds < MIN_SEEDS:
        why = (
            f"a verdict compares 2 arms, this study has {len(arms)}"
            if len(arms) != 2
            else f"it needs {MIN_SEEDS} confirmed seeds of each arm, there are {n_seeds}"
        )
        return {
            "difference": None,
            "ci95": None,
            "p_value": None,
            "n_seeds": n_seeds,
            "text": f"No verdict: {why}.",
        }
    a, b = arms
    probes = compare(_correct(runs[a], "probe"), _correct(runs[b], "probe"))
    has_head = all(run.tested and "head" in run.tested.correct for run in runs[b])
    head: Difference | None = (
        compare(_correct(runs[a], "probe"), _correct(runs[b], "head")) if has_head else None
    )
    return {
        "difference": probes.difference,
        "ci95": list(probes.ci95),
        "p_value": probes.p_value,
        "n_seeds": probes.n_seeds,
        "against_head": head
        and {"difference": head.difference, "ci95": list(head.ci95), "p_value": head.p_value},
        "text": sentence(a, b, probes, head),
    }


def _correct(runs: list[Trial], classifier: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    tested = [run.tested for run in runs if run.tested]
    return np.stack([unpack(t.correct[classifier], t.n_images) for t in tested])


def table(summary: dict[str, Any]) -> list[list[str]]:
    """Both arms by classifier: search score, then mean +- standard deviation over the seeds."""
    rows = [["arm", "classifier", "search val", "confirmed val", "confirmed test", "seeds"]]
    for arm, facts in summary["arms"].items():
        best, confirm = facts["best"], facts["confirm"]
        for key, label in ROWS.items():
            searched = best["val"].get(f"{key}_top1") if best else None
            val = confirm["val"].get(f"{key}_top1", [])
            test = confirm.get(f"test_{key}_top1", [])
            if searched is not None or key == "probe":
                rows.append(
                    [
                        arm,
                        label,
                        _percent([searched] if searched is not None else []),
                        _percent(val),
                        _percent(test),
                        str(len(test)),
                    ]
                )
    return rows


def _percent(values: list[float]) -> str:
    if not values:
        return "-"
    mean = f"{100 * statistics.mean(values):.2f}"
    return f"{mean} +- {100 * statistics.stdev(values):.2f}" if len(values) > 1 else mean


def aligned(rows: list[list[str]]) -> str:
    """A table for the terminal, also valid Markdown."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) + " |" for r in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def markdown(space: Space, summary: dict[str, Any]) -> str:
    """report.md."""
    config, name = space.config, summary["study"]
    parts = [
        f"# {name}: does SupCon beat cross entropy here?",
        summary["verdict"]["text"],
        "Accuracy in %, mean +- standard deviation over fresh seeds. The search's own score is the "
        "best of many and therefore too good; it is shown so that the drop can be seen.",
        aligned(table(summary)),
        "![validation score of every trial against epochs](curves.svg)",
        f"Test scores taken: {summary['test_evaluations']}, one for each confirmed run.",
        "## Winners",
        *(_winner(arm, facts) for arm, facts in summary["arms"].items()),
        "## What each arm spent",
        aligned(_spent(summary)),
        "## Protocol",
        f"Both arms: {config.data.name}, the same split (seed {config.data.split_seed}), "
        f"{config.augment.views} views of an image a step, trials of {config.run.epochs} epochs, "
        f"ASHA at epochs {', '.join(map(str, space.rungs[:-1])) or '(none)'}, sampler "
        f"{space.sampler}, selection by "
        f"`{summary['metric']}` (linear probe on frozen encoder features, cross-fitted on val).",
        "## Reproduce",
        f"Study seed {space.seed}, commit {summary['commit']}, "
        + ", ".join(f"{k} {v}" for k, v in summary["versions"].items())
        + ".",
        "\n".join(
            f"    python -m supcon train results/{name}/best/{arm}.yaml"
            for arm, facts in summary["arms"].items()
            if facts["best"]
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _winner(arm: str, facts: dict[str, Any]) -> str:
    best = facts["best"]
    if best is None:
        return f"- {arm}: none, no trial was trained to the end"
    return f"- {arm}: trial {best['number']} of {facts['trials']}, {show_params(best['params'])}"


def _spent(summary: dict[str, Any]) -> list[list[str]]:
    rows = [["arm", "trials", "outcomes", "epochs", "views", "training seconds"]]
    for arm, facts in summary["arms"].items():
        ledger = facts["ledger"]
        outcomes = ", ".join(f"{n} {outcome}" for outcome, n in sorted(facts["outcomes"].items()))
        rows.append(
            [
                arm,
                str(facts["trials"]),
                outcomes,
                str(ledger["epochs"]),
                f"{ledger['views']:,}",
                f"{ledger['train_seconds']:.0f}",
            ]
        )
    return rows


def trials_csv(space: Space, journal: Journal) -> str:
    """A row for every trial, search and confirm."""
    trials = sorted(
        journal.trials.values(), key=lambda t: (t.ask.phase != "search", t.ask.arm, t.ask.number)
    )
    rows = [_row(trial) for trial in trials]
    metrics = sorted({name for row in rows for name in row if "/" in name})
    out = io.StringIO()
    params = dict.fromkeys(key for arm in space.arms for key in space.drawn(arm))
    columns = [*TRIAL_COLUMNS, *params, *metrics, "detail"]
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _row(trial: Trial) -> dict[str, Any]:
    last = trial.reports[-1] if trial.reports else None
    facts = (
        *trial.ask.key,
        trial.outcome or "unfinished",
        trial.epochs,
        round(last.seconds, 2) if last else 0,
        last.views if last else 0,
        trial.ask.seed,
    )
    return {
        **dict(zip(TRIAL_COLUMNS, facts, strict=True)),
        # Empty means not drawn.
        **{key: "null" if value is None else value for key, value in trial.ask.params.items()},
        **(last.metrics if last else {}),
        **(trial.tested.metrics if trial.tested else {}),
        "detail": trial.end.detail if trial.end else "",
    }
