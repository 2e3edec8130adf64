"""The audit of early stopping, on simulated studies whose final scores are all known."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import kendalltau

from search.judge.rung_audit import N_DRAWS, Audit, _chance_best_stopped, audit, impute
from search.log.events import TIME_UP
from search.log.study import Study
from search.reporting.summarise import summarise
from search.space.space import Asha
from tests.written import WrittenStudy

RUNGS = (2, 6, 18)
ASHA = {"asha": {"grace": 2, "reduction": 3, "promotion": False}}
Curves = npt.NDArray[np.float64]


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.judge.rung_audit.N_DRAWS", N_DRAWS // 5)  # for speed


def latent(n: int, seed: int, noise: float = 0.06) -> Curves:
    """Curves of n trials (n, 3): a quality of each, seen more clearly the later."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(0.6, 0.08, (n, 1))
    blur = np.array([1, 2 / 3, 0])
    return np.clip(quality - 0.1 * blur + noise * blur * rng.normal(size=(n, 3)), 0, 1)


def crossing(n: int, seed: int) -> Curves:
    """Curves whose first score says nothing, and whose second nearly all."""
    curves = latent(n, seed, 0.01)
    curves[:, 0] = np.random.default_rng(seed + 1).uniform(0.2, 0.4, n)
    return curves


def stop(curves: Curves) -> list[tuple[float, ...]]:
    """What ASHA lets a study see of its trials' curves, one after the other."""
    asha = Asha(grace=2, reduction=3)
    at: list[list[float]] = [[], [], []]
    known = []
    for number, curve in enumerate(curves.tolist()):
        for k, score in enumerate(curve):
            at[k].append(score)
            keep = max(1, len(at[k]) // asha.reduction)
            passes = sum(other > score for other in at[k]) < keep
            if k == 2 or not (passes or asha.is_sentinel(number)):
                known.append(tuple(curve[: k + 1]))
                break
    return known


def write(
    path: Path, known: list[tuple[float, ...]], numbers: Sequence[int] | None = None, **changes: Any
) -> WrittenStudy:
    changes = {"base": {"run": {"epochs": 18}}, "scheduler": ASHA} | changes
    study = WrittenStudy(path, **changes)
    for number, scores in zip(numbers or range(len(known)), known, strict=True):
        study.ask("ce", number)
        for epoch, score in zip(RUNGS, scores, strict=False):
            study.report("ce", number, epoch, score)
        study.end("ce", number, "completed" if len(scores) == 3 else "stopped")
    return study


def audited(study: Study) -> Audit:
    found = audit(study, "ce")
    assert found is not None
    return found


def true_tau(curves: Curves) -> float:
    return float(kendalltau(curves[:, 0], curves[:, -1]).statistic)


def test_tau_is_unbiased_where_survivors_alone_mislead() -> None:
    ours, naive, inside = [], [], 0
    for seed in range(30):
        curves = latent(60, seed)
        known = stop(curves)
        draws = impute(known, 3, 100, np.random.default_rng(seed))
        taus = [kendalltau(curves[:, 0], final).statistic for final in draws[:, :, -1]]
        low, tau, high = np.percentile(taus, [2.5, 50, 97.5])
        ours.append(tau - true_tau(curves))
        survivors = np.array([row for row in known if len(row) == 3])
        naive.append(true_tau(survivors) - true_tau(curves))
        inside += low <= true_tau(curves) <= high
    assert abs(np.mean(ours)) < 0.05
    assert np.std(ours) < np.std(naive)
    assert inside >= 27


def test_the_audit_reports_what_was_drawn(tmp_path: Path) -> None:
    curves = latent(60, 1, 0.02)
    known = stop(curves)
    found = audited(write(tmp_path, known))
    assert [(rung.epoch, rung.n_trials) for rung in found.rungs] == [
        (2, 60), (6, sum(len(row) > 1 for row in known)),
    ]  # fmt: skip
    first = found.rungs[0]
    assert first.tau is not None
    assert first.ci95 is not None
    assert first.ci95[0] <= first.tau <= first.ci95[1]
    assert first.tau == pytest.approx(true_tau(curves), abs=0.1)
    assert found.n_completed + found.n_stopped == 60
    assert found.n_sentinels == 6
    assert found.warning is found.note is None
    json.dumps(dataclasses.asdict(found), allow_nan=False)


def test_crossing_curves_warn_and_propose_a_later_grace(tmp_path: Path) -> None:
    found = audited(write(tmp_path, stop(crossing(80, 0))))
    assert found.warning is not None
    assert "after 2 epochs" in found.warning
    assert found.warning.endswith("search with scheduler.asha.grace: 6")
    assert found.chance_best_stopped is not None
    assert found.chance_best_stopped > 0.2


def test_where_no_rung_is_to_be_trusted_the_proposal_is_to_stop_nothing(tmp_path: Path) -> None:
    curves = np.random.default_rng(3).uniform(0.2, 0.8, (80, 3))
    found = audited(write(tmp_path, stop(curves)))
    assert str(found.warning).endswith("search with scheduler: none")


def test_the_order_of_trials_does_not_matter(tmp_path: Path) -> None:
    known = stop(latent(30, 2))
    scheduler = {"asha": ASHA["asha"] | {"sentinels": 0}}
    numbers = range(len(known))
    there, back = (
        write(tmp_path / name, known, order, scheduler=scheduler)
        for name, order in (("there", numbers), ("back", numbers[::-1]))
    )
    assert audited(back) == audited(there)


def test_known_scores_are_the_same_in_all_draws() -> None:
    known = stop(latent(20, 4))
    draws = impute(known, 3, 10, np.random.default_rng(0))
    assert draws.shape == (10, 20, 3)
    assert ((draws >= 0) & (draws <= 1)).all()
    for i, row in enumerate(known):
        assert (draws[:, i, : len(row)] == row).all()


def test_where_all_trained_to_the_end_the_interval_is_a_point(tmp_path: Path) -> None:
    curves = latent(12, 5)
    found = audited(write(tmp_path, [tuple(row) for row in curves.tolist()]))
    assert found.rungs[0].tau == pytest.approx(true_tau(curves))
    assert found.rungs[0].ci95 == pytest.approx((found.rungs[0].tau, found.rungs[0].tau))
    assert found.chance_best_stopped == 0


@pytest.mark.parametrize("scores", [(0.5, 0.5, 0.5), (0.5, 0.5, 0.6)])
def test_equal_scores_have_no_tau(tmp_path: Path, scores: tuple[float, ...]) -> None:
    found = audited(write(tmp_path, [scores] * 6 + [(0.5,)] * 5))
    assert [rung.tau for rung in found.rungs] == [None, None]
    assert found.warning is None
    json.dumps(dataclasses.asdict(found), allow_nan=False)


def test_too_few_completed_trials_are_said_to_be_too_few(tmp_path: Path) -> None:
    found = audited(write(tmp_path, [(0.1, 0.2, 0.3)] * 3 + [(0.1,)] * 9))
    assert found.rungs == []
    assert found.chance_best_stopped is None
    assert (found.n_completed, found.n_stopped) == (3, 9)
    assert found.note == "at least 4 trials trained to the end are needed, got 3"


def test_trials_that_were_cut_when_the_time_was_up_were_not_stopped(tmp_path: Path) -> None:
    study = write(tmp_path, [tuple(row) for row in latent(12, 5).tolist()])
    there = audited(study)
    for number, epochs in ((12, ()), (13, (2,))):
        study.ask("ce", number)
        for epoch in epochs:
            study.report("ce", number, epoch, 0.99)
        study.end("ce", number, "stopped", detail=TIME_UP)
    assert audited(study) == there
    facts = summarise(study).arms["ce"]
    assert facts.outcomes == {"completed": 12, "cut": 2}
    assert facts.reached[2] == (13, 13)  # no rung stopped it


def test_without_early_stopping_there_is_nothing_to_audit(tmp_path: Path) -> None:
    study = write(tmp_path, [(0.1, 0.2, 0.3)] * 5, scheduler="none")
    assert audit(study, "ce") is None


def test_a_hundred_trials_take_less_than_two_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.judge.rung_audit.N_DRAWS", N_DRAWS)
    study = write(tmp_path, stop(latent(100, 6)))
    start = time.process_time()  # other processes may be busy too
    audited(study)
    assert time.process_time() - start < 2


def test_where_no_candidate_is_known_at_the_rungs_nothing_is_said_of_the_best() -> None:
    known = [(0.1, 0.2), (0.2,)]
    assert _chance_best_stopped(known, np.full((3, 2, 2), 0.5), []) is None
