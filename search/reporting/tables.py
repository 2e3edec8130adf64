"""Tables of the report as text, valid Markdown; and trials.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from rich.cells import cell_len, set_cell_size

from search.gallery.lookalikes import LookAlikes
from search.gallery.suspects import Suspects
from search.judge.difference import mean_interval
from search.log.study import Study
from search.log.trial import Trial
from search.log.wording import mean_percent
from search.reporting.summary import ArmSummary, Row, Summary, VerdictSummary

CLASSIFIERS = {
    "probe": "linear probe",
    "knn": "kNN",
    "projection_knn": "kNN after the head",
    "head": "CE head",
}
MEASURES = {"top1": "", "balanced": ", balanced"}
"""What follows the name of a classifier, by how it is scored."""
TRIAL_COLUMNS = ("arm", "phase", "number", "outcome", "epochs", "seconds", "views", "seed")


def aligned(rows: list[list[str]]) -> str:
    """A table for the terminal, also valid Markdown; the first row is the header."""
    widths = [max(cell_len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(set_cell_size(c, w) for c, w in zip(r, widths, strict=True)) + " |"
        for r in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def scored(summary: Summary) -> Iterator[tuple[Row, str, list[float], list[float]]]:
    """Every row by each classifier that it has: the row, what the classifier is called, val and
    test scores in the order of seeds; test ones may be missing. What selects comes first.
    """
    measures = sorted(MEASURES, key=lambda measure: not summary.metric.endswith(measure))
    for row in summary.rows:
        for key, label in CLASSIFIERS.items():
            for measure in measures:
                val, test = (part.get(f"{key}_{measure}", []) for part in (row.val, row.test))
                if val:
                    yield row, label + MEASURES[measure], val, test


def results_table(summary: Summary) -> list[list[str]]:
    """Every row by classifier: mean +- standard deviation over seeds, interval of the test mean."""
    rows = [["row", "classifier", "val", "test", "95 % interval", "seeds"]]
    for row, label, val, test in scored(summary):
        cells = [mean_percent(val), mean_percent(test), interval_text(test), str(len(val))]
        rows.append([row.label, label, *cells])
    return rows + guess_rows(summary)


def guess_rows(summary: Summary) -> list[list[str]]:
    """What no classifier is needed for, where classes are unequal: by both measures."""
    if summary.guess is None:
        return []
    test = "-" if summary.guess.test is None else f"{100 * summary.guess.test:.2f}"
    balanced = f"{100 * summary.guess.balanced:.2f}"
    name = "always the largest class"
    return [
        [name, "accuracy", f"{100 * summary.guess.val:.2f}", test, "-", "-"],
        [name, "balanced", balanced, balanced, "-", "-"],
    ]


def interval_text(values: list[float]) -> str:
    """95 % interval of the mean, in percent; `-` below 2 values. Accuracy ends at 100 %."""
    interval = mean_interval(values)
    if interval is None:
        return "-"
    return "{:.2f} to {:.2f}".format(*(100 * min(max(bound, 0.0), 1.0) for bound in interval))


def comparisons_table(verdict: VerdictSummary) -> list[list[str]]:
    """Several comparisons: differences with their intervals, each at the level of its verdict."""
    columns = ["comparison", "difference, points", "interval", "p", "shown if p is below"]
    rows = [[*columns, "detectable, points", "seeds"]]
    for each in verdict.comparisons:
        cells = ["-"] * 5
        if each.difference is not None and each.interval is not None:
            low, high = (100 * bound for bound in each.interval)
            cells = [
                f"{100 * each.difference:+.2f}",
                f"{low:+.2f} to {high:+.2f} ({100 * (1 - each.level):.4g} %)",
                f"{each.p_value:.3g}",
                f"{each.level:.3g}",
                f"{100 * (each.smallest or 0):.2f}",
            ]
        rows.append([f"{each.a} minus {each.b}", *cells, str(each.n_seeds)])
    return rows


def scores_table(summary: Summary) -> list[list[str]]:
    """Every single test score."""
    rows = [["row", "classifier", "test scores, in the order of seeds"]]
    for row, label, _, test in scored(summary):
        if test:
            rows.append([row.label, label, "  ".join(f"{100 * x:.2f}" for x in test)])
    return rows


def spent_table(summary: Summary) -> list[list[str]]:
    """What the search of each arm cost, and how its trials ended."""
    columns = ["arm", "trials", "outcomes", "collapsed", "epochs", "views"]
    rows = [[*columns, "training seconds", "checkpoint seconds"]]
    for arm, facts in summary.arms.items():
        ledger = facts.ledger
        outcomes = ", ".join(f"{n} {outcome}" for outcome, n in sorted(facts.outcomes.items()))
        cells = [collapsed_text(facts), str(ledger.epochs), f"{ledger.views:,}"]
        cells += [f"{ledger.train_seconds:.0f}", f"{ledger.checkpoint_seconds:.0f}"]
        rows.append([arm, str(facts.trials), outcomes, *cells])
    return rows


def collapsed_text(facts: ArmSummary) -> str:
    """In how many trials features are equal: `3`, or `3, 2 in classes`."""
    return f"{facts.collapsed}" + (
        f", {facts.collapsed_classes} in classes" if facts.collapsed_classes else ""
    )


def suspects_text(found: Suspects) -> str:
    """How many labels are worth a look, and where they are named."""
    named = "all" if found.listed == found.found else f"the first {found.listed:,}"
    named = f"; {named} are in suspects.csv, the most suspicious first" if found.found else ""
    return (
        f"{found.probable:,} of {found.images:,} labels of train and val are probably wrong "
        f"(confident learning, arXiv:1911.00068, on cross-validated probes of the winners' "
        f"features), and for {found.found - found.probable:,} more another class is more "
        f"probable{named}."
    )


def lookalikes_text(found: LookAlikes) -> str:
    """How many test images are worth a look, and what is known of the rule that names them."""
    named = "all" if found.listed == found.found else f"the first {found.listed:,}"
    named = f"; {named} are in lookalikes.csv" if found.listed else ""
    if found.tells_nothing:
        named = ": too few for the look to tell anything, so nothing is listed"
    return (
        f"{found.found:,} of {found.images:,} test images that have no copy in train lie unusually "
        f"well on one of the training images nearest by the winners' features, and may be crops or "
        f"shifts of it. So do {found.val_found:,} of {found.val_images:,} images of val, and "
        f"{found.tried_found:,} of {found.tried:,} training images that were shifted, cropped or "
        f"mirrored on purpose{named}."
    )


def trials_csv(study: Study) -> str:
    """A row for every trial, of the search first."""
    trials = sorted(
        study.log.trials.values(),
        key=lambda t: (t.ask.phase != "search", t.ask.phase, t.ask.arm, t.ask.number),
    )
    rows = [_trial_row(trial) for trial in trials]
    metrics = sorted({name for row in rows for name in row if "/" in name})
    out = io.StringIO()
    drawn = [key for arm in study.arms for key in study.space.drawn(arm)]
    params = dict.fromkeys([*drawn, *(key for t in trials for key in t.ask.changes)])
    columns = [*TRIAL_COLUMNS, *params, *metrics, "detail"]
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _trial_row(trial: Trial) -> dict[str, Any]:
    last = trial.last
    facts = (
        *trial.ask.key,
        "paused" if trial.is_paused else trial.outcome or "unfinished",
        trial.epochs,
        round(last.seconds, 2) if last else 0,
        last.views if last else 0,
        trial.ask.seed,
    )
    return {
        **dict(zip(TRIAL_COLUMNS, facts, strict=True)),
        # Empty means not drawn.
        **{key: "null" if value is None else value for key, value in trial.ask.changes.items()},
        **(last.metrics if last else {}),
        **(trial.tested.metrics if trial.tested else {}),
        "detail": trial.end.detail if trial.end else "",
    }
