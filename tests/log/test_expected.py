"""What a trial may be expected to score at full length."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.log.expected import expected_scores
from tests.written import WrittenStudy


def written(path: Path, curves: list[dict[int, float]]) -> WrittenStudy:
    study = WrittenStudy(path, arms={"ce": {"loss.name": "ce"}})
    for number, curve in enumerate(curves):
        study.ask("ce", number)
        for epoch, score in curve.items():
            study.report("ce", number, epoch, score)
    return study


def test_gains_are_those_of_the_trials_that_went_on_from_rung_to_rung(tmp_path: Path) -> None:
    curves = [{1: 0.2}, {1: 0.3, 3: 0.5}, {1: 0.4, 3: 0.5}, {1: 0.5, 3: 0.7, 9: 0.75}]
    found = expected_scores(written(tmp_path, curves).log.of("ce"))
    first, second = (0.2 + 0.1 + 0.2) / 3, 0.05
    assert found == pytest.approx({0: 0.2 + first + second, 1: 0.55, 2: 0.55, 3: 0.75})


def test_before_any_has_gone_on_it_is_the_score(tmp_path: Path) -> None:
    found = expected_scores(written(tmp_path, [{1: 0.2}, {1: 0.3}]).log.of("ce"))
    assert found == {0: 0.2, 1: 0.3}


def test_nothing_is_expected_of_what_was_never_scored_or_broke(tmp_path: Path) -> None:
    study = written(tmp_path, [{}, {1: 0.9}, {1: 0.3}])
    study.end("ce", 1, "diverged")
    assert expected_scores(study.log.of("ce")) == {2: 0.3}
