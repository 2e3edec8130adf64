"""The files of a report: which there are, and that they say the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from search.log.events import Audited, Searched
from search.log.packed import pack
from search.reporting.files import outcome, write_report
from search.reporting.summary import Summary
from search.space.loading import load_space
from search.strategy.search_order import SearchOrder
from search.strategy.winners import best_config
from supcon.config import load_config
from supcon.parsing import UserError
from tests.reported import CONFIRM, confirm, full, searched, unsearched
from tests.written import WrittenStudy

TWO_ARMS = Path(__file__).with_name("two_arms.txt")
"""What was said of the studies below when a verdict was always of two arms."""


def test_the_summary_on_disk_is_the_one_returned_and_holds_what_is_documented(
    study: WrittenStudy,
) -> None:
    confirm(study, 3)
    summary = write_report(study)
    written = json.loads(study.folder.summary.read_text())
    assert written == summary.model_dump(mode="json")
    documented = {"study", "metric", "commit", "versions", "arms", "verdict", "test_evaluations"}
    assert documented <= set(written)


def test_every_form_of_the_report_has_the_verdict(report: Path) -> None:
    for name in ("report.html", "report.md", "summary.json"):
        text = (report / name).read_text()
        assert "These two configurations on this split: " in text


def test_a_study_without_a_finished_trial_still_has_a_report(tmp_path: Path) -> None:
    study = unsearched(tmp_path)
    study.ask("ce", 0, params={})
    summary = write_report(study)
    assert summary.arms["ce"].best is None
    assert summary.arms["ce"].outcomes == {"unfinished": 1}
    assert not (study.folder.path / "best").exists()


def test_the_config_of_each_winner_is_written(study: WrittenStudy) -> None:
    write_report(study)
    for arm in ("supcon", "ce"):
        assert load_config(study.folder.best(arm)) == best_config(study, arm)


def test_a_wider_space_is_written_where_the_summary_says(study: WrittenStudy) -> None:
    assert write_report(study).wider is None
    study.ask("ce", 3, params={"optim.lr_per_256": 1.0})
    study.report("ce", 3, 9, 0.95)
    study.end("ce", 3, "completed")
    summary = write_report(study)
    assert summary.wider == "x.wider.yaml"
    wider = load_space(study.folder.path / summary.wider, {})
    assert wider.params["optim.lr_per_256"].values == (0.01, 10)


def test_a_file_that_cannot_be_written_is_named(study: WrittenStudy) -> None:
    (study.folder.path / "report.md").mkdir()
    with pytest.raises(UserError, match=r"report\.md: cannot be written \("):
        write_report(study)


def test_a_terminal_gets_the_table_the_verdict_and_every_warning(summary: Summary) -> None:
    warned = summary.verdict.model_copy(update={"warnings": ["first", "second"]})
    text = outcome(summary.model_copy(update={"verdict": warned}))
    assert "| supcon winner | linear probe " in text
    assert f"\n\n{summary.verdict.text}\nwarning: first\nwarning: second\n" in text


def test_without_a_verdict_a_terminal_gets_the_reason_before_any_table(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, val_counts=(36,) * 10, budget={"trials": 99, "give_up": 2})
    study.follow(SearchOrder(study), score=lambda ask: 0.1)
    summary = write_report(study)
    lines = outcome(summary).splitlines()
    assert lines[1].startswith("No verdict: every trial scores at chance, at most 10.0% on val")
    assert lines[3].startswith("| row")
    assert [facts.best for facts in summary.arms.values()] == [None, None]
    for name in ("report.md", "report.html"):
        text = (study.folder.path / name).read_text()
        assert text.index("No verdict: every trial scores at chance") < text.index("Scores")
    assert "- ce: none, it gave up after 2 trials" in (study.folder.path / "report.md").read_text()
    assert "none: gave up" in study.folder.page.read_text()


# Two arms


def two_arms(path: Path) -> Iterator[tuple[str, WrittenStudy]]:
    """Studies of two arms, one for each way in which they may end."""
    yield "all that there is", full(path / "full")
    for name, shares in (
        ("hangs on copies", (1.0, 0.4)),
        ("ce wins", (0.3, 0.9)),
        ("even", (1, 1)),
    ):
        study = searched(path / name)
        confirm(study, 3, {arm: _right(s) for arm, s in zip(study.arms, shares, strict=True)})
        copies = np.arange(120) >= 60 if name == "hangs on copies" else np.arange(120) < 10
        facts = {"n_test": 120, "test_in_train": pack(copies), "test_in_val": pack(~copies)}
        if name != "even":
            study.add(Audited, looks=[], twins=[], copies=[], **facts)
        yield name, study
    for name, n_seeds in (("not searched", 0), ("two seeds", 2)):
        study = searched(path / name)
        if n_seeds:
            study.add(Searched)
            confirm(study, n_seeds)
        yield name, study
    study = WrittenStudy(path / "gave up", budget={"trials": 9, "give_up": 2})
    study.trial("supcon", 0, 0.8)
    for number in range(2):
        study.ask("ce", number)
        study.end("ce", number, "diverged")
    study.add(Searched)
    yield "gave up", study
    study = WrittenStudy(path / "unequal", confirm=CONFIRM)
    for arm, n_trials in (("supcon", 1), ("ce", 3)):
        for number in range(n_trials):
            study.trial(arm, number, 0.8)
    study.add(Searched)
    for arm in study.arms:
        for number in range(3):
            study.trial(arm, number, 0.7, "confirm", of=0)
        study.test(arm, [0, 1, 2], 3)
    yield "unequal", study


def _right(share: float) -> np.ndarray:
    """On the first half of 120 images all arms are equal, on the other they have their share."""
    same = np.random.default_rng(0).random(60) < 0.8
    return np.concatenate([same, np.arange(60) < 60 * share])


def said_of(study: WrittenStudy) -> str:
    """What a terminal shows, the verdict of summary.json, and report.md without its tables."""
    summary = write_report(study)
    written = json.loads(study.folder.summary.read_text(), parse_float=lambda x: f"{float(x):.9g}")
    facts = json.dumps({key: written[key] for key in ("verdict", "per_class")})
    report = (study.folder.path / "report.md").read_text()
    before, _, rest = report.partition("## Scores")
    classes = rest.partition("## Class by class")[2].partition("## What each arm spent")[0]
    return "\n".join([outcome(summary), facts, before, classes])


@pytest.mark.slow
def test_of_two_arms_every_word_is_as_it_was_before_there_could_be_more(tmp_path: Path) -> None:
    said = "".join(f"===== {name}\n{said_of(study)}\n" for name, study in two_arms(tmp_path))
    assert said == TWO_ARMS.read_text(encoding="utf-8")


# One arm, three arms


def test_every_form_of_the_report_has_a_sentence_for_each_comparison(
    three: tuple[WrittenStudy, Summary],
) -> None:
    study, summary = three
    said = [each.text for each in summary.verdict.comparisons]
    assert len(said) == 2
    assert summary.verdict.text == " ".join(said)
    for name in ("report.html", "report.md"):
        text = unescape((study.folder.path / name).read_text())
        assert all(sentence in text for sentence in said)
        assert "x: does supcon or sincere beat ce here?" in text
    assert "\n" + "\n".join(said) + "\n" in outcome(summary)


def test_a_summary_of_three_arms_lists_its_comparisons_and_reads_its_own_file(
    three: tuple[WrittenStudy, Summary],
) -> None:
    study, summary = three
    written = json.loads(study.folder.summary.read_text())
    verdict = written["verdict"]
    assert (verdict["a"], verdict["difference"], written["per_class"]) == (None, None, None)
    assert [(each["a"], each["b"]) for each in verdict["comparisons"]] == [
        ("supcon", "ce"), ("sincere", "ce"),
    ]  # fmt: skip
    for each in verdict["comparisons"]:
        assert each["judged"]["comparisons"] == 2
        assert each["against_head"]["judged"]["level"] == each["judged"]["level"]
        assert each["per_class"]["a"] == each["a"]
    assert Summary.model_validate(written) == summary


def test_a_study_of_one_arm_has_a_report_that_says_why_there_is_no_verdict(tmp_path: Path) -> None:
    study = searched(tmp_path, {"sincere": {"loss.name": "sincere"}})
    study.add(Searched)
    confirm(study, 3)
    summary = write_report(study)
    assert summary.verdict.text.startswith("No verdict: sincere is the only arm")
    assert outcome(summary).splitlines()[1] == summary.verdict.text
    for name in ("report.html", "report.md"):
        text = (study.folder.path / name).read_text()
        assert summary.verdict.text in text
        assert "x: how good is sincere here?" in text
        assert "sincere winner" in text
    assert "comparisons" not in json.loads(study.folder.summary.read_text())["verdict"]
