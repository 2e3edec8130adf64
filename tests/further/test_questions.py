"""What the further measures come to, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.further.jackknife import pseudo_values
from search.further.measures import ASKED, MEASURES
from search.further.questions import Further, Question, further
from search.judge.comparison import compare_values, value_of
from search.judge.difference import holm
from search.judge.verdict import confirmed, verdict
from search.log.events import Examined, Searched
from tests import reported as studies
from tests.benchmarks.calibration import ALIKE
from tests.benchmarks.judge.further import Cell, simulate
from tests.written import WrittenStudy

SHARED = "asked, at 5 % together (Holm), the verdict's apart:"


def confirmed_study(path: Path, arms: dict[str, Any] = studies.TWO) -> WrittenStudy:
    study = studies.searched(path, arms)
    study.add(Searched)
    studies.confirm(study, 3)
    return study


def found_of(study: WrittenStudy) -> Further:
    found = further(study)
    assert found is not None
    return found


def values(study: WrittenStudy, arm: str, classifier: str, name: str) -> np.ndarray:
    runs = [run.examined for run in confirmed(study, arm)]
    return np.stack([pseudo_values(run.values[classifier][name]) for run in runs if run])


def test_nothing_is_said_of_a_study_that_was_not_examined(tmp_path: Path) -> None:
    assert further(confirmed_study(tmp_path)) is None


def test_each_row_has_its_values_by_each_classifier(tmp_path: Path) -> None:
    study = confirmed_study(tmp_path)
    studies.examine(study)
    found = found_of(study)
    assert [(row.arm, row.classifier) for row in found.rows] == [
        ("supcon", "probe"), ("ce", "probe"), ("ce", "head"),
    ]  # fmt: skip
    for row in found.rows:
        names = [n for n in MEASURES if row.classifier == "probe" or not n.endswith("_knn")]
        assert [*row.measures] == names
        for name, value in row.measures.items():
            where = "features" if name.endswith("_knn") else row.classifier
            expected = value_of(values(study, row.arm, where, name))
            assert value.value == pytest.approx(expected.difference)
            assert value.ci95 == pytest.approx(expected.ci95)
    assert (found.images, found.unknown, found.blocks) == (120, 60, 30)
    assert "lower is better" in found.meanings["ece"]


def test_intervals_of_shares_end_at_0_and_1(tmp_path: Path) -> None:
    study = confirmed_study(tmp_path)
    rng = np.random.default_rng(0)
    for run in [*study.log.trials.values()]:
        if run.tested:
            own = {
                "macro_f1": [0.99, *rng.normal(0.99, 0.01, 10)],
                "ece": [0.01, *rng.normal(0.01, 0.01, 10)],
                "nll": [1.5, *rng.normal(1.5, 0.1, 10)],
            }
            arm, phase, number = run.ask.key
            study.add(Examined, arm=arm, phase=phase, number=number, n_images=9, n_corrupted=9,
                      values={"probe": own})  # fmt: skip
    for row in found_of(study).rows:
        f1, ece, nll = (row.measures[name].ci95 for name in ("macro_f1", "ece", "nll"))
        assert f1 is not None
        assert ece is not None
        assert nll is not None
        assert f1[1] == 1
        assert ece[0] == 0
        assert nll[1] > 1


def test_all_questions_share_one_level(tmp_path: Path) -> None:
    study = confirmed_study(tmp_path)
    studies.examine(study, "supcon", by=0.04)  # some are shown, others not
    found = found_of(study)
    assert [each.measure for each in found.questions] == [measure.name for measure in ASKED]
    alone = []
    for each in found.questions:
        where = "features" if each.measure.endswith("_knn") else "probe"
        ours, theirs = (values(study, arm, where, each.measure) for arm in ("supcon", "ce"))
        alone.append(compare_values(ours, theirs))
    assert [each.probes for each in found.questions] == holm(alone, len(ASKED))
    assert {each.probes.is_shown for each in found.questions} == {True, False}
    heads = [each.against_head for each in found.questions]
    assert [head is None for head in heads] == [
        each.measure.endswith("_knn") for each in found.questions
    ]
    for each in found.questions:
        if each.against_head is not None:
            assert each.against_head.judged is not None
            assert each.probes.judged is not None
            assert each.against_head.judged.level == each.probes.judged.level


def test_of_three_arms_the_questions_of_all_comparisons_share_it(tmp_path: Path) -> None:
    study = confirmed_study(tmp_path, studies.THREE)
    studies.examine(study)
    found = found_of(study)
    assert len(found.questions) == 26
    assert {each.probes.judged.comparisons for each in found.questions if each.probes.judged} == {
        26
    }
    assert found.text == [
        f"26 further questions were {SHARED} none shows a difference, which does not prove "
        "that there is none."
    ]


def test_a_comparison_whose_runs_were_not_all_examined_waits_and_the_level_knows(
    tmp_path: Path,
) -> None:
    study = confirmed_study(tmp_path, studies.THREE)
    studies.examine(study)
    study.log.trials["sincere", "confirm", 1].examined = None
    found = found_of(study)
    assert {each.a for each in found.questions} == {"supcon"}
    assert {each.probes.judged.comparisons for each in found.questions if each.probes.judged} == {
        26
    }
    assert {row.arm for row in found.rows} == {"supcon", "ce"}


def test_each_difference_that_is_shown_gets_a_line_that_says_which_is_better(
    tmp_path: Path,
) -> None:
    study = confirmed_study(tmp_path)
    before = verdict(study).text
    studies.examine(study, "supcon")
    *lines, last = found_of(study).text
    assert len(lines) == 13
    assert lines[0].startswith("Calibration error: supcon's is lower than ce's, which is better (-")
    assert sum("99.62 % interval " in line for line in lines) == 1  # 1 - 5 % / 13
    assert " points, " in lines[0]
    assert "; against ce's head -" in lines[0]
    assert "Macro F1: supcon's is higher than ce's, which is better (+" in lines[4]
    assert " nats, " in lines[2]
    assert last == (f"13 further questions were {SHARED} those above alone show a difference.")
    assert verdict(study).text == before


def test_where_the_baseline_is_better_that_is_said(tmp_path: Path) -> None:
    study = confirmed_study(tmp_path)
    studies.examine(study, "ce")
    first = found_of(study).text[0]
    assert "Calibration error: supcon's is higher than ce's, which is worse (+" in first


def test_who_is_better_than_a_probe_but_not_than_the_head_is_said_to_be_nothing(
    tmp_path: Path,
) -> None:
    study = confirmed_study(tmp_path)
    studies.examine(study, "supcon")
    for run in confirmed(study, "ce"):
        assert run.examined is not None
        head = run.examined.values["head"]
        ours = [r.examined for r in confirmed(study, "supcon")]
        assert ours[0] is not None
        head["macro_f1"] = [*ours[0].values["probe"]["macro_f1"]]
    by_name: dict[str, Question] = {each.measure: each for each in found_of(study).questions}
    assert by_name["macro_f1"].probes.is_shown
    assert not by_name["macro_f1"].is_shown
    assert by_name["worst_class"].is_shown
    assert not any("Macro F1" in line for line in found_of(study).text)


def test_without_a_verdict_rows_have_values_and_nothing_is_asked(tmp_path: Path) -> None:
    study = studies.searched(tmp_path)
    study.add(Searched)
    studies.confirm(study, 2)
    studies.examine(study)
    found = found_of(study)
    assert found.questions == []
    assert found.text == []
    assert {value.ci95 for row in found.rows for value in row.measures.values()} == {None}


def test_it_is_written_as_json_without_anything_that_is_not_finite(tmp_path: Path) -> None:
    study = confirmed_study(tmp_path)
    studies.examine(study, "supcon")
    text = json.dumps(found_of(study).model_dump(mode="json"), allow_nan=False)
    assert Further.model_validate_json(text).rows == found_of(study).rows


@pytest.mark.slow
def test_arms_that_are_equally_good_are_seldom_said_to_differ() -> None:
    """With 300 studies, 5 % may seem 7.5 %: more of them in results/calibration.md."""
    found = simulate(Cell(3, 200, ALIKE), 300, np.random.default_rng(0))
    assert [*found.alone] == [measure.name for measure in ASKED]
    assert max(found.alone.values()) < 0.085  # the largest of 13
    assert np.mean([*found.alone.values()]) < 0.06
    assert found.family < 0.075
    assert max(found.alone.values()) > 0.02  # and they do see differences
