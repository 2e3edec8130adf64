"""The audit of early stopping, on simulated studies whose final scores are all known."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import kendalltau

from search.judge.rung_audit import audit, impute
from search.log.events import TIME_UP, Ask, End, Opened, Report
from search.log.journal import Journal
from search.reporting.summarise import summarise
from search.space.loading import parse_space
from search.space.space import Space

RUNGS = (2, 6, 18)
TREE: dict[str, Any] = {
    "name": "x", "base": {"run": {"epochs": 18}}, "budget": {"trials": 100},
    "params": {"optim.lr_per_256": {"loguniform": [0.01, 1]}},
    "scheduler": {"asha": {"grace": 2, "reduction": 3}},
}  # fmt: skip
SPACE = parse_space(TREE, "test")
Curves = npt.NDArray[np.float64]


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


def stop(curves: Curves, space: Space = SPACE) -> list[tuple[float, ...]]:
    """What ASHA lets a study see of its trials' curves, one after the other."""
    asha = space.scheduler.asha
    assert asha is not None
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


def write(path: Path, known: list[tuple[float, ...]], numbers: list[int] | None = None) -> Journal:
    log = Journal(path / "events.jsonl")
    log._fold(Opened(study="x", space=TREE, commit="abc", versions={}))
    for number, scores in zip(numbers or range(len(known)), known, strict=True):
        key: Any = {"arm": "ce", "phase": "search", "number": number}
        log._fold(Ask(**key, params={}, seed=0))
        for epoch, score in zip(RUNGS, scores, strict=False):
            metrics = {"val/probe_top1": score}
            log._fold(
                Report(**key, epoch=epoch, metrics=metrics, views=0, seconds=0, decision="continue")
            )
        log._fold(End(**key, outcome="completed" if len(scores) == 3 else "stopped"))
    return log


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
    found = audit(SPACE, write(tmp_path, known), "ce")
    assert found is not None
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
    found = audit(SPACE, write(tmp_path, stop(crossing(80, 0))), "ce")
    assert found is not None
    assert found.warning is not None
    assert "after 2 epochs" in found.warning
    assert found.warning.endswith("search with scheduler.asha.grace: 6")
    assert found.chance_best_stopped is not None
    assert found.chance_best_stopped > 0.2


def test_where_no_rung_is_to_be_trusted_the_proposal_is_to_stop_nothing(tmp_path: Path) -> None:
    curves = np.random.default_rng(3).uniform(0.2, 0.8, (80, 3))
    found = audit(SPACE, write(tmp_path, stop(curves)), "ce")
    assert found is not None
    assert str(found.warning).endswith("search with scheduler: none")


def test_the_order_of_trials_does_not_matter(tmp_path: Path) -> None:
    known = stop(latent(30, 2))
    tree = TREE | {"scheduler": {"asha": {"grace": 2, "reduction": 3, "sentinels": 0}}}
    space, numbers = parse_space(tree, "test"), list(range(len(known)))
    there = audit(space, write(tmp_path, known, numbers), "ce")
    assert audit(space, write(tmp_path, known, numbers[::-1]), "ce") == there


def test_known_scores_are_the_same_in_all_draws() -> None:
    known = stop(latent(20, 4))
    draws = impute(known, 3, 10, np.random.default_rng(0))
    assert draws.shape == (10, 20, 3)
    assert ((draws >= 0) & (draws <= 1)).all()
    for i, row in enumerate(known):
        assert (draws[:, i, : len(row)] == row).all()


def test_where_all_trained_to_the_end_the_interval_is_a_point(tmp_path: Path) -> None:
    curves = latent(12, 5)
    found = audit(SPACE, write(tmp_path, [tuple(row) for row in curves.tolist()]), "ce")
    assert found is not None
    assert found.rungs[0].tau == pytest.approx(true_tau(curves))
    assert found.rungs[0].ci95 == pytest.approx((found.rungs[0].tau, found.rungs[0].tau))
    assert found.chance_best_stopped == 0


@pytest.mark.parametrize("scores", [(0.5, 0.5, 0.5), (0.5, 0.5, 0.6)])
def test_equal_scores_have_no_tau(tmp_path: Path, scores: tuple[float, ...]) -> None:
    found = audit(SPACE, write(tmp_path, [scores] * 6 + [(0.5,)] * 5), "ce")
    assert found is not None
    assert [rung.tau for rung in found.rungs] == [None, None]
    assert found.warning is None
    json.dumps(dataclasses.asdict(found), allow_nan=False)


def test_too_few_completed_trials_are_said_to_be_too_few(tmp_path: Path) -> None:
    found = audit(SPACE, write(tmp_path, [(0.1, 0.2, 0.3)] * 3 + [(0.1,)] * 9), "ce")
    assert found is not None
    assert found.rungs == []
    assert found.chance_best_stopped is None
    assert (found.n_completed, found.n_stopped) == (3, 9)
    assert found.note == "at least 4 trials trained to the end are needed, got 3"


def test_trials_that_were_cut_when_the_time_was_up_were_not_stopped(tmp_path: Path) -> None:
    known = [tuple(row) for row in latent(12, 5).tolist()]
    there = audit(SPACE, write(tmp_path, known), "ce")
    log = write(tmp_path, known)
    for number, epochs in ((12, ()), (13, (2,))):
        key: Any = {"arm": "ce", "phase": "search", "number": number}
        log._fold(Ask(**key, params={}, seed=0))
        for epoch in epochs:
            metrics = {"val/probe_top1": 0.99}
            log._fold(
                Report(**key, epoch=epoch, metrics=metrics, views=0, seconds=0, decision="continue")
            )
        log._fold(End(**key, outcome="stopped", detail=TIME_UP))
    assert audit(SPACE, log, "ce") == there
    facts = summarise(SPACE, log)["arms"]["ce"]
    assert facts["outcomes"] == {"completed": 12, "cut": 2}
    assert facts["reached"]["2"] == [13, 13]  # no rung stopped it


def test_without_early_stopping_there_is_nothing_to_audit(tmp_path: Path) -> None:
    space = parse_space(TREE | {"scheduler": "none"}, "test")
    assert audit(space, write(tmp_path, [(0.1, 0.2, 0.3)] * 5), "ce") is None


def test_a_hundred_trials_take_less_than_two_seconds(tmp_path: Path) -> None:
    log = write(tmp_path, stop(latent(100, 6)))
    start = time.perf_counter()
    audit(SPACE, log, "ce")
    assert time.perf_counter() - start < 2
