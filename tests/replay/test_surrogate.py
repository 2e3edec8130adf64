"""The world that a replay searches is that of the record."""

from __future__ import annotations

import numpy as np
import pytest

from search.space.loading import parse_space
from tests.benchmarks.efficiency.recorded import accuracy, features
from tests.benchmarks.efficiency.surrogate import Noise, World, configuration, held_out
from tests.replay.planted import EPOCHS, NOISE, TREE, record, space, truth


def test_curves_of_configurations_that_were_not_recorded_are_found(
    planted: dict[str, World],
) -> None:
    world, rng = planted["ce"], np.random.default_rng(1)
    params = [configuration(row, world.drawn) for row in rng.random((100, 3))]
    true = truth(np.array([features(each, world.drawn) for each in params]))
    said = np.array([world.mean_curve(each) for each in params])
    assert np.sqrt(np.mean((said - true) ** 2)) < NOISE / 2
    at_end = np.sqrt(np.mean((accuracy(said[:, -1]) - accuracy(true[:, -1])) ** 2))
    assert at_end < 0.02 < np.std(accuracy(true[:, -1]))


def test_the_best_is_what_the_landscape_has(planted: dict[str, World]) -> None:
    highest = float(accuracy(truth(np.array([[0.6, 0.6, 0.5]])))[0, -1])
    assert planted["ce"].best == pytest.approx(highest, abs=0.01)


def test_noise_is_as_wide_as_that_of_the_seeds_and_one_for_a_whole_curve(
    planted: dict[str, World],
) -> None:
    drawn = planted["ce"].noise.draw(2.0, np.random.default_rng(0), 4000)
    assert drawn.std(0) == pytest.approx(np.full(len(EPOCHS), NOISE), rel=0.4)
    assert np.ptp(drawn, axis=1) == pytest.approx(np.zeros(4000), abs=1e-9)


def test_noise_is_that_of_configurations_that_score_alike() -> None:
    curves = np.repeat([[1.0], [2.0], [3.0]], 6, axis=0)
    noise = Noise(curves, level=curves[:, 0])
    assert set(noise.draw(2.1, np.random.default_rng(0), 50).ravel()) == {2.0}


def test_a_record_without_further_seeds_is_refused() -> None:
    with pytest.raises(ValueError, match="only 0 runs share their configuration"):
        Noise.of(record(space(), repeated=0))


def test_a_run_is_a_function_of_its_seed_and_interpolated_between_recorded_epochs(
    planted: dict[str, World],
) -> None:
    params = planted["ce"].record.params[0]
    found = planted["ce"].scores(params, 7, (1, 5, 6, 9))
    assert planted["ce"].scores(params, 7, (1, 5, 6, 9)) == found
    assert planted["ce"].scores(params, 8, (9,))[9] != found[9]
    curve = planted["ce"].scores(params, 7, (4, 6))
    assert min(curve.values()) < found[5] < max(curve.values())
    assert planted["ce"].epoch_seconds(params) == 2


def test_the_error_on_held_out_configurations_is_that_of_the_seeds_and_a_little_more(
    planted: dict[str, World],
) -> None:
    fit = held_out(planted["ce"])
    assert (fit.runs, fit.configurations) == (120, 80)
    assert 0.8 * fit.noise < fit.error < 1.5 * fit.noise < fit.spread
    assert fit.tau > 0.6


def test_points_of_the_cube_become_what_can_be_drawn() -> None:
    params = {
        "data.batch_size": {"pow2": [64, 256]},
        "augment.policy": {"choice": ["crop_jitter", "randaugment"]},
        "optim.lr_per_256": {"loguniform": [0.1, 10]},
        "optim.freeze_epochs": {"int": [0, 2]},
    }
    drawn = parse_space(TREE | {"params": params}, "x").arm_params("ce")
    found = configuration(np.array([0.99, 0.4, 0.5, 0.99]), drawn)
    assert found == {
        "data.batch_size": 256,
        "augment.policy": "crop_jitter",
        "optim.lr_per_256": pytest.approx(1.0),
        "optim.freeze_epochs": 2,
    }
    assert all(drawn[key].can_be(value) for key, value in found.items())
