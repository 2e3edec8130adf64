"""Tables and figures of what lies beyond accuracy."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.further.measures import ASKED, MEASURES
from search.further.questions import Further
from search.reporting.beyond import (
    about,
    about_questions,
    differences,
    questions_table,
    tables,
    themes,
)
from search.reporting.files import write_report
from search.reporting.summary import Summary
from tests import reported as studies
from tests.written import WrittenStudy


@pytest.fixture
def found(summary: Summary) -> Further:
    assert summary.further is not None
    return summary.further


def test_every_measure_has_its_place_in_one_table_and_says_what_it_is(
    found: Further, report: Path
) -> None:
    each = list(tables(found))
    assert [theme for theme, _, _ in each] == [
        "calibration", "classes", "corruptions", "unknown classes",
    ]  # fmt: skip
    assert [m.name for _, measures, _ in each for m in measures] == [*MEASURES]
    for name in ("report.md", "report.html"):
        text = (report / name).read_text()
        assert "Beyond accuracy" in text
        for measure in MEASURES.values():
            assert measure.meaning.replace(" & ", " &amp; ") in text
            assert measure.direction in text


def test_a_cell_has_the_value_with_its_interval_in_percent_or_nats(found: Further) -> None:
    (_, _, rows), *_ = tables(found)
    assert rows[0][:2] == ["row", "classifier"]
    assert rows[0][2] == "calibration error, %"
    assert rows[0][4] == "NLL, nats"
    assert [row[:2] for row in rows[1:]] == [
        ["supcon winner", "linear probe"], ["ce winner", "linear probe"], ["ce winner", "CE head"],
    ]  # fmt: skip
    ece, nll = (found.rows[0].measures[name] for name in ("ece", "nll"))
    assert ece.ci95 is not None
    assert nll.ci95 is not None
    low, high = ece.ci95
    assert rows[1][2] == f"{100 * ece.value:.1f} ({100 * low:.1f} to {100 * high:.1f})"
    assert rows[1][4] == f"{nll.value:.3f} ({nll.ci95[0]:.3f} to {nll.ci95[1]:.3f})"


def test_thousands_of_nats_are_whole_numbers(found: Further) -> None:
    high = found.rows[0].measures["nll"].model_copy(update={"value": 6494.353, "ci95": (0, 34430)})
    row = found.rows[0].model_copy(update={"measures": {"nll": high}})
    (_, _, (_, cells)) = next(tables(found.model_copy(update={"rows": [row]})))
    assert cells[2] == "6,494 (0.000 to 34,430)"


def test_what_a_head_has_not_is_left_empty_and_two_seeds_have_no_interval(found: Further) -> None:
    *_, (_, _, rows) = tables(found)
    assert rows[3][2:4] == ["-", "-"]
    alone = found.rows[0].measures["ece"].model_copy(update={"ci95": None})
    row = found.rows[0].model_copy(update={"measures": {"ece": alone}})
    few = found.model_copy(update={"rows": [row]})
    assert [*themes(few)] == ["calibration"]
    (_, _, (_, cells)) = next(tables(few))
    assert cells[2] == f"{100 * alone.value:.1f}"


def test_what_is_counted_is_said(found: Further) -> None:
    assert about(found).startswith(
        "Of the 120 test images, clean and corrupted, and 60 of classes never trained on: "
    )
    alone = found.model_copy(update={"unknown": 0, "corrupted": 50})
    assert about(alone).startswith("Of the 120 test images, clean and 50 of them corrupted: ")


def test_each_question_has_a_row_with_what_it_was_judged_by(found: Further) -> None:
    names, *rows = questions_table(found)
    assert names[0] == "question"
    assert [row[0] for row in rows] == [
        f"{MEASURES[each.measure].label}: {each.a} minus {each.b}" for each in found.questions
    ]
    for row, each in zip(rows, found.questions, strict=True):
        low, high = (MEASURES[each.measure].scale * bound for bound in each.probes.interval)
        shown = [float(text) for text in row[2].split(" (")[0].split(" to ")]
        assert shown == pytest.approx([low, high], abs=0.006)
        is_better = (each.probes.difference > 0) == MEASURES[each.measure].is_higher_better
        assert ("better" if is_better else "worse") in row[1]
        assert (row[4] == "-") == (each.against_head is None)
    assert "at levels that share 5 % (Holm)" in about_questions(found)
    of_one_arm = found.model_copy(update={"questions": []})
    assert (questions_table(of_one_arm), about_questions(of_one_arm)) == ([], "")


def test_each_question_is_a_dot_with_the_interval_that_its_answer_goes_by(found: Further) -> None:
    figure = differences(found, "supcon", "#123456")
    assert figure is not None
    heads = [each for each in found.questions if each.against_head is not None]
    assert len(figure.data) == len(ASKED) + len(heads)
    assert len(figure.layout.annotations) == len(ASKED)
    probes = [dot for dot in figure.data if dot.marker.symbol == "circle"]
    for each, dot in zip(found.questions, probes, strict=True):
        d, measure = each.probes, MEASURES[each.measure]
        assert dot.x[0] > 0  # supcon is the better one, whichever direction that is
        assert dot.x[0] == pytest.approx(abs(d.difference) / d.standard_error, abs=1e-3)
        half = (d.interval[1] - d.interval[0]) / 2 / d.standard_error
        assert dot.error_x.array[0] == pytest.approx(half, abs=1e-3)
        assert (dot.x[0] > dot.error_x.array[0]) == d.is_shown
        assert dot.marker.color == "#123456"
        assert f"{measure.scale * d.difference:+.3f} {measure.unit}" in dot.hovertemplate
    assert "supcon better" in figure.layout.xaxis.title.text


def test_an_arm_that_is_not_compared_has_no_figure(found: Further) -> None:
    assert differences(found, "sincere", "#123456") is None


def test_what_does_not_vary_has_no_dot_and_what_is_not_shown_is_grey(tmp_path: Path) -> None:
    study = studies.searched(tmp_path)
    studies.confirm(study, 3)
    studies.examine(study)
    for run in study.log.trials.values():
        if run.examined is not None:
            run.examined.values["probe"]["ece"] = [0.5] * 31
            run.examined.values.get("head", {}).pop("ece", None)
    found = write_report(study).further
    assert found is not None
    figure = differences(found, "supcon", "#123456")
    assert figure is not None
    assert len([dot for dot in figure.data if dot.marker.symbol == "circle"]) == len(ASKED) - 1
    assert "#123456" not in {dot.marker.color for dot in figure.data}
    assert len(figure.layout.annotations) == len(ASKED)


def test_of_three_arms_each_comparison_has_its_figure(three: tuple[WrittenStudy, Summary]) -> None:
    study, summary = three
    assert summary.further is not None
    assert len(summary.further.questions) == 2 * len(ASKED)
    page = study.folder.page.read_text()
    for arm in ("supcon", "sincere"):
        assert f'id="further/{arm}"' in page


def test_runs_that_were_not_examined_are_missing_and_the_report_is_as_without(
    tmp_path: Path,
) -> None:
    study = studies.searched(tmp_path)
    studies.confirm(study, 3)
    summary = write_report(study)
    assert summary.further is None
    line = "measures beyond accuracy not computed: not made yet: python search/report.py"
    assert summary.missing["further"] == line
    assert line in study.folder.page.read_text()
    assert "## Beyond accuracy" not in (study.folder.path / "report.md").read_text()
