"""Tables of a report, and trials.csv."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from search.log.events import Phase, Searched, Unsealed
from search.log.packed import pack_labels
from search.reporting.extras import Parts
from search.reporting.page import render
from search.reporting.summarise import summarise
from search.reporting.tables import (
    aligned,
    comparisons_table,
    interval_text,
    results_table,
    scores_table,
    spent_table,
    trials_csv,
)
from tests.reported import THREE, confirm, searched
from tests.written import WrittenStudy


def test_the_table_shows_every_classifier_of_every_arm(study: WrittenStudy) -> None:
    confirm(study, 3)
    rows = results_table(summarise(study))[1:]
    assert [row[:2] for row in rows] == [
        ["supcon winner", "linear probe"], ["supcon winner", "kNN"],
        ["ce winner", "linear probe"], ["ce winner", "kNN"], ["ce winner", "CE head"],
    ]  # fmt: skip
    assert rows[0][2] == "86.00 +- 1.00"


def test_every_single_test_score_is_shown(study: WrittenStudy) -> None:
    assert len(scores_table(summarise(study))) == 1
    confirm(study, 3)
    rows = scores_table(summarise(study))[1:]
    tested = [run.tested for run in study.log.of("supcon", "confirm")]
    scores = [100 * each.metrics["test/probe_top1"] for each in tested if each]
    assert rows[0][2].split() == [f"{score:.2f}" for score in scores]
    assert len(rows) == 5


def test_what_an_arm_has_spent_is_that_of_its_search(study: WrittenStudy) -> None:
    before = spent_table(summarise(study))
    assert before[1] == ["supcon", "3", "2 completed, 1 stopped", "0", "21", "2,100", "10", "2"]
    confirm(study, 3)
    assert spent_table(summarise(study)) == before


def test_a_table_is_aligned_and_valid_markdown() -> None:
    assert aligned([["a", "long"], ["wide", "b"]]) == (
        "| a    | long |\n|------|------|\n| wide | b    |"
    )


@pytest.mark.parametrize(
    ("values", "text"),
    [([], "-"), ([0.5], "-"), ([0.5, 0.5], "50.00 to 50.00"), ([0.99, 1.0], "93.15 to 100.00")],
)
def test_no_interval_ends_beyond_what_an_accuracy_can_be(values: list[float], text: str) -> None:
    assert interval_text(values) == text


def read(study: WrittenStudy) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(trials_csv(study))))


def test_trials_csv_has_a_row_for_every_trial(study: WrittenStudy) -> None:
    confirm(study, 3)
    rows = read(study)
    assert len(rows) == 12
    first = rows[0]
    assert (first["arm"], first["phase"], first["number"]) == ("ce", "search", "0")
    assert (first["outcome"], first["epochs"], first["seed"]) == ("completed", "9", "0")
    assert first["optim.lr_per_256"] == "0.1"
    assert rows[-1]["test/probe_top1"] != ""


def test_trials_csv_tells_null_from_what_was_not_drawn(study: WrittenStudy) -> None:
    study.ask("ce", 3, params={"data.train_size": None})
    study.ask("ce", 0, "one_view", settings={"augment.views": 1})
    rows = {(row["phase"], row["number"]): row for row in read(study) if row["arm"] == "ce"}
    assert rows["search", "3"]["data.train_size"] == "null"
    assert rows["search", "0"]["data.train_size"] == rows["search", "0"]["augment.views"] == ""
    assert rows["one_view", "0"]["augment.views"] == "1"
    assert rows["search", "3"]["outcome"] == "unfinished"


def test_a_trial_that_waits_at_a_rung_is_said_to_be_paused(study: WrittenStudy) -> None:
    study.ask("ce", 3)
    study.report("ce", 3, 1, 0.4, decision="pause")
    row = next(row for row in read(study) if (row["arm"], row["number"]) == ("ce", "3"))
    assert (row["outcome"], row["epochs"]) == ("paused", "1")
    assert "1 paused" in " ".join(cell for row in spent_table(summarise(study)) for cell in row)


def test_columns_are_as_wide_as_a_terminal_shows_their_cells() -> None:
    assert aligned([["class", "n"], ["名前名", "1"]]).splitlines() == [
        "| class  | n |",
        "|--------|---|",
        "| 名前名 | 1 |",
    ]


def test_of_unequal_classes_both_measures_are_shown_and_what_no_classifier_is_needed_for(
    tmp_path: Path,
) -> None:
    study = WrittenStudy(
        tmp_path, val_counts=(30, 10), selection="balanced", budget={"trials": 1},
        confirm={"top": 1, "seeds": 1, "references": False},
    )  # fmt: skip
    both = {"val/probe_top1": 0.9, "val/probe_balanced": 0.6, "val/knn_top1": 0.8}
    for arm in study.arms:
        phases: tuple[Phase, ...] = ("search", "confirm")
        for phase in phases:
            study.ask(arm, 0, phase, of=0 if phase == "confirm" else None)
            study.report(arm, 0, 9, 0, phase, metrics=both)
            study.end(arm, 0, "completed", phase)
        labels = pack_labels(np.array([0, 0, 0, 1]))
        opened = {"commit": "", "data_hash": "", "classes": ["a", "b"], "labels": labels}
        study.add(Unsealed, arm=arm, phase="confirm", numbers=[0], **opened)
    summary = summarise(study)
    rows = results_table(summary)[1:]
    assert [row[1:3] for row in rows[:3]] == [
        ["linear probe, balanced", "60.00"], ["linear probe", "90.00"], ["kNN", "80.00"],
    ]  # fmt: skip
    assert [row[:4] for row in rows[-2:]] == [
        ["always the largest class", "accuracy", "75.00", "75.00"],
        ["always the largest class", "balanced", "50.00", "50.00"],
    ]
    assert summary.metric == "val/probe_balanced"
    page = render(study, summary, Parts())
    assert "<td>always the largest class</td><td>accuracy</td><td></td><td>75.00</td>" in page
    assert "60.00" in page.split("val in the search")[1]


def test_where_classes_are_equal_no_guess_has_a_row(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, val_counts=(10, 12))
    assert summarise(study).guess is None
    assert results_table(summarise(study))[1:] == []


def test_a_comparison_that_could_not_be_made_has_a_row_without_figures(tmp_path: Path) -> None:
    study = searched(tmp_path, THREE)
    study.add(Searched)
    confirm(study, {"supcon": 3, "sincere": 2, "ce": 3})
    header, first, second = comparisons_table(summarise(study).verdict)
    assert len(header) == len(first) == len(second)
    assert second == ["sincere minus ce", *"-----", "2"]
    assert first[0] == "supcon minus ce"
    assert first[2].endswith(" (97.5 %)")
    assert first[4:] == ["0.025", first[5], "3"]
