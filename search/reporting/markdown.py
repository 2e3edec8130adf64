"""report.md."""

from __future__ import annotations

import re

from search.further.questions import Further
from search.gallery.suspects import Suspects
from search.judge.sealed import Opening
from search.judge.verdict import ByClass
from search.log.wording import show_params
from search.reporting.beyond import about, about_questions, questions_table, tables
from search.reporting.summary import ArmSummary, Summary
from search.reporting.tables import (
    aligned,
    comparisons_table,
    lookalikes_text,
    results_table,
    scores_table,
    spent_table,
    suspects_text,
)


def markdown(summary: Summary) -> str:
    """report.md."""
    verdict = summary.verdict
    parts = [
        f"# {summary.study}: {question(summary)}",
        *verdict.sentences,
        f"p = {verdict.p_value:.3g}." if verdict.p_value is not None else "",
        "\n".join(f"- {line}" for line in summary.further.text) if summary.further else "",
        aligned(comparisons_table(verdict)) if verdict.comparisons and verdict.is_given else "",
        "\n".join(f"- Warning: {warning}" for warning in verdict.warnings),
        *_images(summary),
        "## Scores",
        "Accuracy in %, mean +- standard deviation over fresh seeds that did not pick the "
        "winner; the interval is of that mean, by seeds alone.",
        aligned(results_table(summary)),
        aligned(scores_table(summary)) if summary.test_evaluations else "",
        *_further(summary.further),
        summary.missing.get("curves.svg")
        or "![validation score of every trial against epochs](curves.svg)",
        "## Winners",
        "\n".join(_winner(arm, facts) for arm, facts in summary.arms.items()),
        *(["## Class by class"] if summary.classes else []),
        *map(_classes, summary.classes),
        "## What each arm spent",
        aligned(spent_table(summary)),
        "\n".join(_budget(arm, facts) for arm, facts in summary.arms.items()),
        *_early_stopping(summary),
        *_parameters(summary),
        *_missing(summary),
        *_suspects(summary.suspects),
        *(["## Look-alikes", lookalikes_text(summary.lookalikes)] if summary.lookalikes else []),
        "## Test images",
        f"Opened {len(summary.test_openings)} times; {summary.test_evaluations} runs scored.",
        "\n".join(_opening(opening) for opening in summary.test_openings),
        "## Protocol",
        "\n".join(f"- {line}" for line in summary.protocol),
        "## Reproduce",
        f"Study seed {summary.seed}, commit {summary.commit}, images {summary.data_hash}, "
        + ", ".join(f"{k} {v}" for k, v in summary.versions.items())
        + f"; {summary.machine}.",
        "\n".join(f"- Went on at {r.when}: {r.text}." for r in summary.resumed_with),
        "\n".join(f"    {command}" for command in summary.reproduce),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def question(summary: Summary) -> str:
    """What the study is asked; a report begins with it."""
    arms = list(summary.arms)
    if len(arms) == 1:
        return f"how good is {arms[0]} here?"
    if set(arms) == {"supcon", "ce"}:
        return "does SupCon beat cross entropy here?"
    if len(arms) == 2:
        return f"which is better here, {arms[0]} or {arms[1]}?"
    *others, last = (str(each.a) for each in summary.verdict.comparisons)
    baseline = summary.verdict.comparisons[0].b
    return f"does {', '.join(others)} or {last} beat {baseline} here?"


def _images(summary: Summary) -> list[str]:
    """What was found when the images were looked over."""
    found = summary.images
    if found is None:
        return []
    lines = [escaped(line) for line in found.text] or ["No copies, no empty pictures."]
    return ["## Images", "\n".join(f"- {line}" for line in lines)]


def _winner(arm: str, facts: ArmSummary) -> str:
    best, curse = facts.best, facts.curse
    if best is None and facts.gave_up:
        return f"- {arm}: none, it gave up {facts.gave_up}"
    if best is None:
        return f"- {arm}: none, no trial was trained to the end"
    what = "" if facts.is_decided else " (leads the search, not confirmed yet)"
    text = f"- {arm}: trial {best.number} of {facts.trials}{what}, "
    text += show_params(best.params)
    if curse is None:
        return text
    drop = f"{100 * curse.drop:.2f} points"
    if curse.ci95:
        drop += " ({:.2f} to {:.2f})".format(*(100 * bound for bound in curse.ci95))
    early = best.paused_after
    paused = f" expected, as it paused after {early} epochs" if early else ""
    return (
        f"{text}. On val {100 * curse.searched:.2f}{paused} in the search, "
        f"{100 * curse.confirmed:.2f} on fresh seeds: a drop of {drop}"
    )


def _classes(found: ByClass) -> str:
    """Differences class by class."""
    rows = [["class", "test images", f"{found.a} minus {found.b}, points", "95 % interval"]]
    columns = found.classes, found.n, found.difference, found.low, found.high
    for name, n, d, low, high in zip(*columns, strict=True):
        interval = f"{100 * low:+.2f} to {100 * high:+.2f}"
        rows.append([escaped(name), str(n), f"{100 * d:+.2f}", interval])
    return aligned(rows)


def escaped(name: str) -> str:
    """A name as Markdown shows it: `_x_` would be slanted there, `|` end a cell, `<b>` vanish."""
    return re.sub(r"[\\`*\[\]<>|~$#&!]|\b_|_\b", r"\\\g<0>", name)


def _budget(arm: str, facts: ArmSummary) -> str:
    """What a budget bought, what random trials would have, and the cost of all that followed."""
    after = facts.confirm_ledger
    line = f"- {arm}: {after.epochs} epochs and {after.views:,} views after the search"
    curve = ", ".join(f"{100 * score:.2f} after {n}" for n, score in facts.best_so_far)
    line += f"; best score by epochs spent: {curve}" if curve else ""
    if expected := facts.expected_best:
        low, mean, high = (100 * x[-1] for x in (expected.low, expected.mean, expected.high))
        line += (
            f"; expected best of {expected.n_trials} random trials at epoch "
            f"{expected.epoch}: {mean:.2f} ({low:.2f} to {high:.2f})"
        )
    return line


def _early_stopping(summary: Summary) -> list[str]:
    """Whether the rungs can be trusted."""
    lines = []
    for arm, facts in summary.arms.items():
        audit = facts.audit
        if audit is None:
            continue
        for rung in audit.rungs:
            if rung.tau is not None:
                low, high = rung.ci95 or (float("nan"), float("nan"))
                lines.append(
                    f"- {arm}, epoch {rung.epoch}: Kendall's tau {rung.tau:.2f} "
                    f"({low:.2f} to {high:.2f}) with the final score, {rung.n_trials} trials"
                )
        if audit.chance_best_stopped is not None:
            lines.append(
                f"- {arm}: estimated chance that a better trial than the best was stopped "
                f"{audit.chance_best_stopped:.0%}; {audit.n_sentinels} sentinels"
            )
        lines += [f"- {audit.warning}"] if audit.warning else []  # it names the arm
        lines += [f"- {arm}: {audit.note}"] if audit.note else []
    return ["## Early stopping", "\n".join(lines)] if lines else []


def _parameters(summary: Summary) -> list[str]:
    """What mattered, and what lies at the edge of its range."""
    lines = []
    for arm, facts in summary.arms.items():
        if (found := facts.importance) is not None:
            values = sorted(found.values.items(), key=lambda item: -item[1])
            shares = ", ".join(f"{key} {value:.2f}" for key, value in values)
            lines.append(
                f"- {arm}: importance (PED-ANOVA, {found.n_trials} trials at epoch "
                f"{found.epoch}): {shares}"
            )
        for edge in facts.edges:
            wider = "" if edge.widened is None else f"; try {edge.widened:.4g}"
            lines.append(
                f"- {arm}: {edge.parameter} is good at its {edge.bound} end "
                f"({edge.limit:.4g}){wider}"
            )
    if summary.wider:
        lines.append(f"- A space with these ends moved outward: {summary.wider}")
    return ["## Parameters", "\n".join(lines)] if lines else []


def _further(found: Further | None) -> list[str]:
    """What lies beyond accuracy, theme by theme."""
    if found is None:
        return []
    parts = ["## Beyond accuracy", about(found)]
    if found.questions:
        parts += ["### Questions", about_questions(found), aligned(questions_table(found))]
    for theme, measures, rows in tables(found):
        parts.append(f"### {theme.capitalize()}")
        parts.append("\n".join(f"- {each.label}: {each.described}." for each in measures))
        parts.append(aligned(rows))
    return parts


def _suspects(found: Suspects | None) -> list[str]:
    """How many labels are worth a look."""
    return ["## Labels", suspects_text(found)] if found is not None else []


def _missing(summary: Summary) -> list[str]:
    """What could not be made, and why."""
    lines = [f"- {line}" for line in summary.missing.values()]
    return ["## Missing", "\n".join(lines)] if lines else []


def _opening(opening: Opening) -> str:
    return (
        f"- {opening.when or 'time unknown'}: {opening.what} ({', '.join(opening.runs)}), "
        f"commit {opening.commit or 'unknown'}, images {opening.data_hash or 'unknown'}"
    )
