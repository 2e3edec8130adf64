"""What a summary holds beside the answer, and parts that fail alone."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from markupsafe import escape

from search.log.events import Pictured
from search.log.study import Study
from search.reporting.extras import Parts, with_extras
from search.reporting.files import write_report
from search.reporting.summarise import answer, summarise
from search.reporting.summary import Summary
from tests import reported as studies
from tests.reported import confirm, full, searched


def test_the_answer_is_the_same_with_and_without_the_rest(tmp_path: Path) -> None:
    study = full(tmp_path)
    first = answer(study)
    whole = with_extras(study, first, {})
    assert "not made yet" in first.missing["extras"]
    assert whole.verdict.text == first.verdict.text
    assert whole.rows == first.rows
    assert all(arm.audit is None for arm in first.arms.values())
    assert all(arm.audit is not None for arm in whole.arms.values())


def test_a_winner_without_a_picture_is_said_to_have_none_and_why(tmp_path: Path) -> None:
    study = searched(tmp_path)
    confirm(study, 3)
    first = answer(study)
    assert "not made yet" in with_extras(study, first, {}).missing["tsne.ce"]
    missing = with_extras(study, first, {"ce": "no memory"}).missing
    assert missing["tsne.ce"] == "ce: t-SNE not drawn: no memory"


def test_what_can_not_be_drawn_of_collapsed_features_is_said_for_each_picture(
    tmp_path: Path,
) -> None:
    study = searched(tmp_path)
    confirm(study, 3)
    why = "the features of all images are equal"
    study.add(
        Pictured, arm="supcon", phase="confirm", number=0, classes=["a"], labels=[0],
        encoder=[(0, 1)], projection=None, problems={"projection": why},
    )  # fmt: skip
    summary = with_extras(study, answer(study), {})
    assert summary.missing["tsne.supcon.projection"] == (
        f"supcon, after the projection head: t-SNE not drawn: {why}"
    )
    assert summary.tsne["supcon"].encoder == [(0, 1)]


# Parts that fail

PARTS = {  # what fails -> where that is said
    "audit": "arms.ce.audit",
    "importances": "arms.ce.importance",
    "edges": "arms.supcon.edges",
    "best_so_far": "arms.ce.best_so_far",
    "expected_best": "arms.ce.expected_best",
    "winners_curse": "arms.supcon.curse",
    "by_class": "per_class",
    "current": "suspects",
    "looked_alike": "lookalikes",
    "further": "further",
}
FIGURES = ("test_scores", "per_class", "rungs", "budget", "outcomes", "importance", "curves",
           "parallel", "slice_plot", "tsne", "differences")  # fmt: skip


def test_what_works_is_made_and_nothing_is_missing() -> None:
    parts = Parts()
    assert parts.made("x", "x not made", lambda: 3, 4) == 3
    assert parts.missing == {}


def test_what_fails_is_named_with_its_reason_and_replaced(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parts = Parts({"old": "known before"})

    def fail() -> NoReturn:
        raise ValueError("no\nnumber")

    assert parts.made("new", "ce: x not made", fail, 4) == 4
    assert parts.missing == {"old": "known before", "new": "ce: x not made: no number"}
    assert "ce: x not made: ValueError at " in capsys.readouterr().err


def break_(patch: pytest.MonkeyPatch, *names: str) -> None:
    def fail(*_: Any) -> NoReturn:
        raise RuntimeError("<its fault>")

    for name in names:
        patch.setattr(f"search.reporting.{name}", fail)


def check(study: Study, summary: Summary, places: Iterable[str]) -> None:
    """The answer is there, and report.md says what is missing."""
    markdown = (study.folder.path / "report.md").read_text()
    for place in places:
        assert summary.missing[place].endswith("<its fault>")
        assert f"- {summary.missing[place]}" in markdown
    assert json.loads(study.folder.summary.read_text())["missing"] == summary.missing
    assert summary.verdict.difference is not None
    assert summary.verdict.text in markdown
    assert all(study.folder.best(arm).exists() for arm in study.arms)
    assert (study.folder.path / "trials.csv").exists()


@pytest.mark.parametrize(("part", "place"), PARTS.items())
def test_each_number_beside_the_answer_can_fail_alone(
    full: Study, monkeypatch: pytest.MonkeyPatch, part: str, place: str
) -> None:
    whole = summarise(full)
    break_(monkeypatch, f"extras.{part}")
    summary = summarise(full)
    assert place in summary.missing
    kept = {"verdict", "rows", "per_class", "tsne", "suspects", "lookalikes", "further"} - {place}
    assert summary.model_dump(include=kept) == whole.model_dump(include=kept)
    for arm, facts in summary.arms.items():
        lost = {p.split(".")[2] for p in summary.missing if p.startswith(f"arms.{arm}.")}
        assert facts.model_dump(exclude=lost) == whole.arms[arm].model_dump(exclude=lost)


def test_numbers_and_figures_that_fail_are_said_in_their_places_and_take_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = studies.full(tmp_path)
    break_(monkeypatch, *(f"extras.{name}" for name in PARTS))
    break_(monkeypatch, *(f"figures.{name}" for name in FIGURES))
    break_(monkeypatch, "files.wider")
    summary = write_report(study)
    places = ["wider", *PARTS.values(), "points", "curves/supcon", "slices/ce/optim.name"]
    check(study, summary, places)
    page = study.folder.page.read_text()
    assert all(escape(line) in page for line in summary.missing.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "file"), [("draw_curves", "curves.svg"), ("render", "report.html")]
)
def test_a_file_that_fails_is_said_in_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, file: str
) -> None:
    study = studies.full(tmp_path)
    break_(monkeypatch, f"files.{part}")
    check(study, write_report(study), [file])
    assert not (study.folder.path / file).exists()


def test_a_whole_report_lacks_nothing(summary: Summary) -> None:
    assert summary.missing == {}
