"""A study as data frames."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path

import pytest

import search
from search.judge.verdict import verdict
from search.log.events import Searched
from search.reporting.summarise import answer
from search.reporting.tables import results_table, trials_csv
from search.strategy.winners import best_config
from supcon.parsing import UserError
from tests import reported
from tests.written import WrittenStudy


@pytest.fixture
def study(tmp_path: Path) -> WrittenStudy:
    found = reported.searched(tmp_path)
    reported.confirm(found, 3)
    return found


def test_trials_are_those_of_trials_csv(study: WrittenStudy) -> None:
    frame = search.load(study.folder.path).trials
    rows = [*csv.DictReader(io.StringIO(trials_csv(study)))]
    assert [*frame.columns] == [*rows[0]]
    assert frame["outcome"].tolist() == [row["outcome"] for row in rows]
    for name in ("val/probe_top1", "test/probe_top1"):
        missing = [row[name] == "" for row in rows]
        assert frame[name].isna().tolist() == missing
        assert frame[name].dropna().tolist() == [float(row[name]) for row in rows if row[name]]


def test_scores_and_their_means_are_those_of_the_report(study: WrittenStudy) -> None:
    found = search.load(str(study.folder.path))
    runs = study.log.of("supcon", "confirm")
    own = found.scores.query("arm == 'supcon' and classifier == 'linear probe'")
    assert own["seed"].tolist() == [run.ask.seed for run in runs]
    tested = [run.tested.metrics["test/probe_top1"] for run in runs if run.tested]
    assert own["test"].tolist() == tested
    table = results_table(answer(study))[1:]
    assert found.summary[["row", "classifier"]].to_numpy().tolist() == [row[:2] for row in table]
    for row, (_, line) in zip(table, found.summary.iterrows(), strict=True):
        assert row[2] == f"{100 * line['val_mean']:.2f} +- {100 * line['val_std']:.2f}"
        assert row[3] == f"{100 * line['test_mean']:.2f} +- {100 * line['test_std']:.2f}"
        assert row[5] == str(line["seeds"])


def test_the_verdict_and_the_configs_are_at_hand(study: WrittenStudy) -> None:
    found = search.load(study.folder.path.parent)  # the newest study there
    assert found.verdict == answer(study).verdict.text
    assert found.config("ce") == best_config(study, "ce")
    with pytest.raises(UserError, match="--arm no: the study has"):
        found.config("no")


def test_a_study_without_a_confirmed_run_has_no_scores_yet(tmp_path: Path) -> None:
    found = search.load(reported.searched(tmp_path).folder.path)
    assert len(found.scores) == len(found.summary) == 0
    assert len(found.trials) == 6


def test_nothing_is_loaded_before_it_is_asked_for() -> None:
    code = "import sys, search; print(sorted({'pandas', 'torch', 'ray'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        search.nothing  # noqa: B018


def test_comparisons_are_those_of_the_verdict_each_with_its_interval(tmp_path: Path) -> None:
    three = reported.searched(tmp_path, reported.THREE)
    reported.confirm(three, {"supcon": 3, "sincere": 2, "ce": 3})
    three.add(Searched)
    frame = search.load(three.folder.path).comparisons
    assert frame[["arm", "baseline"]].to_numpy().tolist() == [["supcon", "ce"], ["sincere", "ce"]]
    first, second = verdict(three).comparisons
    assert first.probes is not None
    assert tuple(frame.loc[0, ["low", "high"]]) == first.probes.interval
    assert frame.loc[0, "level"] == 0.025
    assert frame.loc[1, ["difference", "low", "p_value"]].isna().all()
    assert frame["seeds"].tolist() == [3, second.n_seeds]


def test_a_study_of_two_arms_has_one_comparison(study: WrittenStudy) -> None:
    study.add(Searched)
    frame = search.load(study.folder.path).comparisons
    found = answer(study).verdict
    assert frame[["arm", "baseline", "level"]].to_numpy().tolist() == [["supcon", "ce", 0.05]]
    assert found.ci95 is not None
    assert tuple(frame.loc[0, ["low", "high"]]) == found.ci95
