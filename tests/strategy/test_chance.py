"""What a guess may score: against the binomial of scipy, and against guesses that are drawn."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from search.strategy.chance import chance_limit, is_above_chance, score_of_guess
from tests.written import WrittenStudy

EVEN = (36,) * 10  # val of digits
ONE_RUNG = {"scheduler": "none"}


@pytest.mark.parametrize("counts", [EVEN, (500, 300, 10), (50,) * 100, (9, 9, 9, 9)])
@pytest.mark.parametrize("trials", [1, 2, 8, 16])
def test_the_limit_is_a_quantile_of_the_binomial(
    tmp_path: Path, counts: tuple[int, ...], trials: int
) -> None:
    study = WrittenStudy(tmp_path, val_counts=counts, **ONE_RUNG)
    for number in range(trials):
        study.ask("ce", number)
    n, share = sum(counts), max(counts) / sum(counts)
    assert score_of_guess(study) == share
    limit = chance_limit(study)
    assert limit == stats.binom.isf(0.01 / trials, n, share) / n
    assert limit is not None
    assert share < limit < (3 + share) / 4


def test_guesses_exceed_the_limit_in_about_one_study_of_a_hundred(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, val_counts=EVEN)  # 3 rungs
    for number in range(10):
        study.ask("ce", number)
    limit = chance_limit(study)
    assert limit is not None
    best = np.random.default_rng(0).binomial(360, 0.1, (4000, 30)).max(axis=1) / 360
    assert 0.002 < (best > limit).mean() < 0.01


@pytest.mark.parametrize(
    "counts", [(), (20,), (0, 20), (4, 4), (2, 2, 2), (95, 5)]
)  # of an older log, without a choice, or too few to tell
def test_what_cannot_be_told_is_not_told(tmp_path: Path, counts: tuple[int, ...]) -> None:
    study = WrittenStudy(tmp_path, val_counts=counts)
    study.trial("ce", 0, 0.1)
    study.ask("ce", 1)
    assert chance_limit(study) is None
    assert is_above_chance(study, study.log.trials["ce", "search", 0])
    assert not is_above_chance(study, study.log.trials["ce", "search", 1])


def test_the_share_of_an_older_log_is_not_known(tmp_path: Path) -> None:
    assert math.isnan(score_of_guess(WrittenStudy(tmp_path)))


@pytest.mark.parametrize(
    ("scores", "expected"), [([0.1], False), ([0.14], False), ([0.3], True), ([0.3, 0.1], True)]
)
def test_a_trial_is_above_chance_if_it_ever_was(
    tmp_path: Path, scores: list[float], expected: bool
) -> None:
    study = WrittenStudy(tmp_path, val_counts=EVEN)
    study.ask("ce", 0)
    for epoch, score in zip((1, 3), scores, strict=False):
        study.report("ce", 0, epoch, score)
    assert is_above_chance(study, study.log.trials["ce", "search", 0]) == expected


def test_a_study_that_went_on_with_a_newer_version_can_tell(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path)
    assert chance_limit(study) is None
    study.restart({"val_counts": EVEN})
    assert chance_limit(study) is not None


@pytest.mark.parametrize(
    "counts", [(36,) * 10, (200, 100, 50, 25), (400, 60, 40, 30, 20, 10, 10), (900, 90)]
)
def test_balanced_guesses_exceed_the_limit_in_about_one_study_of_a_hundred(
    tmp_path: Path, counts: tuple[int, ...]
) -> None:
    study = WrittenStudy(tmp_path, val_counts=counts, selection="balanced", **ONE_RUNG)
    study.ask("ce", 0)
    classes = len(counts)
    assert score_of_guess(study) == 1 / classes
    limit = chance_limit(study)
    assert limit is not None
    rng = np.random.default_rng(0)
    shares = [rng.binomial(n, 1 / classes, 200_000) / n for n in counts]
    exceeded = (np.mean(shares, axis=0) > limit).mean()
    assert 0.003 < exceeded < 0.02


def test_the_largest_class_is_no_better_than_any_guess_by_balanced_accuracy(tmp_path: Path) -> None:
    plain, balanced = (
        WrittenStudy(tmp_path / name, val_counts=(90, 10), selection=name)
        for name in ("top1", "balanced")
    )
    assert (score_of_guess(plain), score_of_guess(balanced)) == (0.9, 0.5)


def test_without_differences_in_size_the_balanced_limit_is_that_of_accuracy(tmp_path: Path) -> None:
    limits = []
    for name in ("top1", "balanced"):
        study = WrittenStudy(tmp_path / name, val_counts=EVEN, selection=name)
        study.ask("ce", 0)
        limits.append(chance_limit(study))
    assert limits[0] == limits[1]
