"""What a trial takes of a machine: fixed shares, and measured ones."""

from __future__ import annotations

from typing import Any

import pytest

from search.space.loading import parse_space
from search.space.resources import ConfigKind, Footprint, Resources, Share, Shares
from supcon.config import Config, override
from supcon.parsing import UserError
from tests.written import TREE

SMALL, LARGE = {"data.batch_size": 64}, {"data.batch_size": 256}
CACHED = {"run.memory": "cached"}


def footprint(changes: dict[str, Any], cpu: float, gpu: float) -> Footprint:
    kind = ConfigKind.of(override(Config(), changes))
    return Footprint(**kind._asdict(), memory=10**9, views_per_second=900, cpu=cpu, gpu=gpu)


MEASURED = (footprint(LARGE, 8, 0.5), footprint(SMALL, 2, 0.1))


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"gpu": "all"}, "resources.gpu must be 'auto', got 'all'"),
        ({"gpu": 1e-5}, "resources.gpu: must be 0 or at least 0.01, got 1e-05"),
        ({"gpu": 1.5}, "at most 1, since a trial trains on one GPU, got 1.5;"),
        ({"gpu": 2}, "got 2; --gpus-per-trial 1 gives it one of its own"),
        ({"gpu": -1}, "resources.gpu must be greater than or equal to 0, got -1"),
        ({"cpu": 0}, "resources.cpu must be greater than or equal to 0.01, got 0"),
    ],
)
def test_resources_that_make_no_sense_are_refused(resources: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_space(TREE | {"resources": resources}, "x")
    assert message in str(caught.value)


def test_fixed_fractions_stay_what_they_are() -> None:
    fixed = Resources(cpu=2, gpu=0.25)
    assert not fixed.is_auto
    assert Shares(fixed).of(Config()) == Share(2, 0.25)
    assert Shares(fixed).all() == [Share(2, 0.25)]


@pytest.mark.parametrize(
    ("want", "small", "new"),
    [
        ({"cpu": "auto", "gpu": "auto"}, Share(2, 0.1), Share(8, 1)),
        ({"cpu": 3, "gpu": "auto"}, Share(3, 0.1), Share(3, 1)),
        ({"cpu": "auto", "gpu": 0}, Share(2, 0), Share(8, 0)),
    ],
)
def test_a_trial_gets_the_share_of_its_kind_and_one_of_a_new_kind_a_whole_gpu(
    want: dict[str, Any], small: Share, new: Share
) -> None:
    shares = Shares(Resources(**want), MEASURED)
    assert shares.of(override(Config(), SMALL)) == small
    assert shares.of(override(Config(), {"data.batch_size": 128})) == new


def test_a_trial_that_is_to_run_alone_gets_all_of_its_gpu_if_it_has_one() -> None:
    config = override(Config(), SMALL)
    assert Shares(Resources(gpu="auto"), MEASURED).of(config, alone=True) == Share(1, 1)
    assert Shares(Resources(gpu=0.25)).of(config, alone=True) == Share(1, 1)
    assert Shares(Resources()).of(config, alone=True) == Share(1, 0)


def test_a_trial_may_take_its_share_of_the_memory_that_was_free() -> None:
    config = override(Config(), SMALL)
    measured = (MEASURED[1].model_copy(update={"usable": 0.9}),)
    auto, fixed = (Shares(Resources(gpu=gpu), measured) for gpu in ("auto", 0.25))
    assert auto.memory_of(config, auto.of(config)) == pytest.approx(0.1 * 0.9)
    assert auto.memory_of(config, auto.of(config, alone=True)) == 1
    assert fixed.memory_of(config, fixed.of(config)) == 0.25


def test_all_shares_are_told_once_the_least_first() -> None:
    auto = Resources(cpu="auto", gpu="auto")
    assert Shares(auto, MEASURED).all() == [Share(2, 0.1), Share(8, 0.5)]
    assert Shares(auto).all() == [Shares(auto).of(Config())] == [Share(1, 1)]  # not measured yet
    assert Shares(Resources(gpu=0.5), MEASURED).all() == [Share(1, 0.5)]


def test_a_kind_is_put_in_words() -> None:
    changes = {"model.backbone": "resnet18", "data.batch_size": 64, "run.precision": "bf16"}
    assert str(ConfigKind.of(override(Config(), changes))) == "resnet18, batch 64, bf16"
    changes["run.memory"] = "cached"
    assert str(ConfigKind.of(override(Config(), changes))) == "resnet18, batch 64, bf16, cached"


def test_a_kind_is_measured_in_a_mode_that_a_trial_takes_over_unless_it_has_its_own() -> None:
    shares = Shares(
        Resources(cpu="auto", gpu="auto"),
        (footprint(SMALL | {"run.memory": "plain"}, 2, 0.1), footprint(LARGE | CACHED, 8, 0.5)),
    )
    small, large = override(Config(), SMALL), override(Config(), LARGE)
    assert (shares.mode_of(small), shares.mode_of(large)) == ("plain", "cached")
    assert shares.of(large) == shares.of(override(large, CACHED)) == Share(8, 0.5)
    # Neither was measured: it gets all that there is.
    new = override(Config(), {"data.batch_size": 128})
    assert (shares.mode_of(new), shares.of(new).gpu) == ("plain", 1)
    checkpointed = override(large, {"run.memory": "checkpoint"})
    assert (shares.mode_of(checkpointed), shares.of(checkpointed).gpu) == ("checkpoint", 1)
