"""How many trials fit, and the share that each kind of config gets for what it takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from search.preflight.packing import (
    CONTEXT,
    LEAST_GAIN,
    MARGIN,
    Node,
    at_once,
    footprints,
    misfit,
    room,
    trials_at_once,
    trials_to_fill,
)
from search.preflight.trial_cost import CannotRun, TrialCost, kinds
from search.space.loading import parse_space
from search.space.resources import ConfigKind, Resources, Share, Shares
from supcon.config import Config, override
from supcon.parsing import UserError
from tests.written import TREE

GIB = 2**30
AUTO = Resources(cpu=1, gpu="auto")
CORES = Resources(cpu="auto", gpu="auto")
PARAMS: dict[str, Any] = {
    "data.batch_size": {"pow2": [64, 256]},
    "model.backbone": {"choice": ["test_resnet", "resnet18"]},
}
KINDS = {
    ConfigKind.of(config)[:2]: config
    for config in kinds(parse_space(TREE | {"params": PARAMS}, "x"))
}
"""(backbone, batch size) -> config."""


def cost(config: Config, gib: float, capacity: float = 80) -> TrialCost:
    memory, there = int(gib * GIB), int(capacity * GIB)
    return TrialCost(config, 1.0, 0.1, 1000.0, memory=memory, capacity=there, checkpoint=1)


def measured(gib: dict[tuple[str, int], float], want: Resources = AUTO) -> Shares:
    """What trials take whose kinds take so many GiB of an 80 GiB GPU with 64 cores."""
    costs = [cost(KINDS[kind], each) for kind, each in gib.items()]
    return Shares(want, footprints(want, costs, [Node(64, 1)]))


@pytest.mark.parametrize(
    ("nodes", "want", "fit"),
    [
        ([Node(8, 0)], Share(1, 0), 8),
        ([Node(8, 0)], Share(3, 0), 2),
        ([Node(1, 0)], Share(0.1, 0), 10),
        ([Node(64, 2)], Share(1, 0.25), 8),
        ([Node(64, 2)], Share(1, 0.4), 4),  # a fraction lies on one GPU
        ([Node(64, 1)], Share(1, 0.3333), 3),
        ([Node(4, 1)], Share(2, 0.25), 2),
        ([Node(64, 3)], Share(1, 1), 3),
        ([Node(64, 0)], Share(1, 0.5), 0),
        ([Node(0, 0), Node(2, 1), Node(2, 1)], Share(1, 0.5), 4),
        ([], Share(1, 0), 0),
    ],
)
def test_as_many_trials_fit_as_ray_would_place(nodes: list[Node], want: Share, fit: int) -> None:
    assert room(nodes, [], want) == fit


def test_what_is_taken_leaves_less_room() -> None:
    nodes = [Node(16, 2)]
    assert room(nodes, [Share(1, 1)], Share(1, 0.25)) == 4
    assert room(nodes, [Share(1, 0.5), Share(1, 0.25)], Share(1, 0.25)) == 5
    assert room(nodes, [Share(15, 0.1)], Share(1, 0.1)) == 1
    quarter, half, whole = Share(1, 0.25), Share(1, 0.5), Share(1, 1)
    assert room(nodes, [quarter, half, quarter, whole], whole) == 0


def test_a_trial_that_waits_for_a_place_itself_lets_no_other_start() -> None:
    assert room([Node(16, 1)], [Share(1, 0.5), Share(1, 1)], Share(1, 0.25)) == 0


def test_placements_never_take_more_than_there_is() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        nodes = [Node(int(c), int(g)) for c, g in rng.integers(0, 5, (3, 2))]
        want = Share(float(rng.integers(1, 4)) / 2, 1 / float(rng.integers(1, 6)))
        taken: list[Share] = []
        while room(nodes, taken, want):
            taken.append(want)
        assert sum(s.cpu for s in taken) <= sum(n.cpus for n in nodes) + 1e-6
        assert sum(s.gpu for s in taken) <= sum(n.gpus for n in nodes) + 1e-6
        assert len(taken) == room(nodes, [], want)


# Measured shares


def test_a_kind_gets_the_smallest_share_that_its_memory_and_a_context_fit_into() -> None:
    for gib in (0.1, 1, 5, 11, 30, 79):
        k = trials_at_once(int(gib * GIB), 80 * GIB, on_gpu=True)
        each = MARGIN * gib * GIB + CONTEXT
        assert k == 1 or k * each <= 80 * GIB
        assert (k + 1) * each > 80 * GIB


@pytest.mark.parametrize(
    ("busy", "k"), [(1, 1), (0.98, 1), (0.81, 1), (0.79, 2), (0.5, 2), (0.3, 4), (0.05, 20)]
)
def test_no_more_trials_share_a_gpu_than_it_has_work_for(busy: float, k: int) -> None:
    assert trials_to_fill(busy) == k
    # The last one lets it compute for a quarter of a trial more than without it, or there is one.
    assert k == 1 or min(k, 1 / busy) - (k - 1) >= LEAST_GAIN


def test_a_kind_that_fills_a_gpu_gets_all_of_it_however_little_memory_it_takes() -> None:
    for busy, gpu in ((0.98, 1), (0.5, 0.5), (0.001, 0.1)):  # memory has room for ten
        each = replace(cost(KINDS["resnet18", 64], 6), busy=busy, usable=0.9)
        (found,) = footprints(AUTO, [each], [Node(64, 1)])
        assert (found.gpu, found.busy, found.usable) == (gpu, busy, 0.9)


def test_the_share_is_a_function_of_backbone_batch_size_and_precision() -> None:
    shares = measured({("resnet18", 256): 19, ("resnet18", 64): 6, ("test_resnet", 64): 1})
    by_kind = {kind: shares.of(config).gpu for kind, config in KINDS.items()}
    assert by_kind["resnet18", 256] == 0.3333  # 19 * 1.1 + 1 GiB: 3 fit into 80
    assert by_kind["resnet18", 64] == 0.1  # 6 * 1.1 + 1: 10 fit
    assert by_kind["test_resnet", 64] == pytest.approx(1 / 38, abs=1e-4)
    assert by_kind["resnet18", 128] == 1  # not measured: it could not run, or is new
    other = override(KINDS["resnet18", 64], {"run.precision": "bf16"})
    assert shares.of(other).gpu == 1
    assert shares.all()[0].gpu == by_kind["test_resnet", 64]


def test_shares_are_never_more_than_a_whole_gpu_together() -> None:
    config = KINDS["resnet18", 64]
    for gib in np.geomspace(0.01, 70, 60):
        (each,) = footprints(CORES, [cost(config, float(gib))], [Node(48, 1)])
        k = min(48, trials_at_once(each.memory, 80 * GIB, on_gpu=True))
        assert room([Node(48, 1)], [], Share(each.cpu, each.gpu)) == k
        assert k * each.gpu <= 1


def test_cores_allow_no_more_trials_than_memory_and_the_share_grows_with_them() -> None:
    small = ("test_resnet", 64)
    assert measured({small: 1.0}, Resources(cpu=16, gpu="auto")).measured[0].gpu == 0.25
    shares = measured({small: 1.0}, CORES)
    assert shares.of(KINDS[small]).cpu == pytest.approx(64 / 38, abs=1e-3)
    assert shares.measured[0].gpu == pytest.approx(1 / 38, abs=1e-4)


@pytest.mark.parametrize(("gpu", "cores"), [(0.25, 4), (1, 16)])
def test_at_a_fixed_share_of_a_gpu_a_trial_gets_that_part_of_its_cores(
    gpu: float, cores: float
) -> None:
    costs = [cost(config, gib) for config, gib in zip(KINDS.values(), (1, 6, 40), strict=False)]
    found = footprints(Resources(cpu="auto", gpu=gpu), costs, [Node(32, 2)])
    assert {each.cpu for each in found} == {cores}


def test_without_a_gpu_auto_shares_out_cores_as_far_as_memory_goes() -> None:
    want, costs = Resources(cpu="auto"), [cost(config, 7, capacity=32) for config in KINDS.values()]
    shares = Shares(want, footprints(want, costs, [Node(16, 0)]))
    assert shares.all() == [Share(4, 0)]  # 7.7 GiB: 4 fit into 32
    assert room([Node(16, 0)], [], shares.all()[0]) == 4


def test_if_no_kind_can_run_it_says_why() -> None:
    config = KINDS["resnet18", 64]
    with pytest.raises(UserError, match=r"no kind of config that can run \(out of memory\)"):
        footprints(AUTO, [CannotRun(config, "out of memory")], [Node(4, 1)])


# As a whole


@pytest.mark.parametrize(("concurrency", "expected"), [(None, 6), (4, 4), (9, 6)])
def test_as_many_trials_run_at_once_as_fit_and_are_asked_for(
    concurrency: int | None, expected: int
) -> None:
    shares = measured({("resnet18", 64): 19}, Resources(gpu="auto", concurrency=concurrency))
    assert at_once(shares, KINDS["resnet18", 64], [Node(8, 2)]) == expected


def test_a_share_that_fits_nowhere_is_found_among_all_that_trials_may_take() -> None:
    want = Resources(cpu="auto")
    costs = [cost(KINDS["test_resnet", 64], 1, 32), cost(KINDS["resnet18", 256], 25, 32)]
    shares = Shares(want, footprints(want, costs, [Node(64, 0)]))
    assert shares.all() == [Share(2, 0), Share(64, 0)]
    assert misfit(shares, [Node(8, 0), Node(64, 0)]) is None
    assert misfit(shares, [Node(8, 0), Node(32, 0)]) == Share(64, 0)
