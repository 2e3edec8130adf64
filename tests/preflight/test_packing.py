"""What a trial takes of a machine: fixed shares, measured ones, and how many fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from search.engine.nodes import slots_to_confirm
from search.engine.trial_actor import cap_memory
from search.engine.trial_source import TrialSource
from search.log.events import Ask, End, Opened, Report, Retry
from search.log.journal import Journal
from search.preflight.announcement import describe
from search.preflight.checks import check_machine
from search.preflight.packing import (
    CONTEXT,
    MARGIN,
    Node,
    footprints,
    room,
    trials_at_once,
    with_shares,
)
from search.preflight.trial_cost import Probed, Unable, classes
from search.preflight.which_study import on_other_machine
from search.space.loading import load_space, parse_space
from search.space.resources import Share, all_shares, class_of, share_of, smallest_share
from search.space.space import Space
from supcon.config import Config
from supcon.images.split import Splits
from supcon.parsing import UserError

ROOT = Path(__file__).resolve().parents[2]
GIB = 2**30
TREE: dict[str, Any] = {
    "name": "x",
    "base": {"run": {"epochs": 4}},
    "params": {
        "data.batch_size": {"pow2": [64, 256]},
        "model.backbone": {"choice": ["test_resnet", "resnet18"]},
    },
    "arms": {"ce": {"loss.name": "ce"}},
    "budget": {"trials": 9},
    "scheduler": "none",
    "resources": {"cpu": 1, "gpu": "auto"},
}


def space(**changes: Any) -> Space:
    return parse_space(TREE | changes, "x")


def probed(config: Config, gib: float, capacity: float = 80) -> Probed:
    memory, there = int(gib * GIB), int(capacity * GIB)
    return Probed(config, 1.0, 0.1, 1000.0, memory=memory, capacity=there, checkpoint=1)


def measured(gib: dict[tuple[str, int], float], **changes: Any) -> Space:
    """A space whose classes take so many GiB of an 80 GiB GPU with 64 cores."""
    plain = space(**changes)
    found = [
        probed(config, gib[config.model.backbone, config.data.batch_size])
        for config in classes(plain)
        if (config.model.backbone, config.data.batch_size) in gib
    ]
    return with_shares(plain, found, [Node(64, 1)])


# Bookkeeping


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
        ([Node(64, 4)], Share(1, 2), 2),
        ([Node(64, 3)], Share(1, 2), 1),
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


def test_a_class_gets_the_smallest_share_that_its_memory_and_a_context_fit_into() -> None:
    for gib in (0.1, 1, 5, 11, 30, 79):
        k = trials_at_once(int(gib * GIB), 80 * GIB, on_gpu=True)
        each = MARGIN * gib * GIB + CONTEXT
        assert k == 1 or k * each <= 80 * GIB
        assert (k + 1) * each > 80 * GIB


def test_the_share_is_a_function_of_backbone_batch_size_and_precision() -> None:
    found = measured({("resnet18", 256): 19, ("resnet18", 64): 6, ("test_resnet", 64): 1})
    by_class = {}
    for config in classes(found):
        by_class[class_of(config)[:2]] = share_of(found.resources, config).gpu
    assert by_class["resnet18", 256] == 0.3333  # 19 * 1.1 + 1 GiB: 3 fit into 80
    assert by_class["resnet18", 64] == 0.1  # 6 * 1.1 + 1: 10 fit
    assert by_class["test_resnet", 64] == pytest.approx(1 / 38, abs=1e-4)
    assert by_class["resnet18", 128] == 1  # not measured: it could not run, or is new
    assert smallest_share(found.resources).gpu == by_class["test_resnet", 64]


def test_shares_are_never_more_than_a_whole_gpu_together() -> None:
    config = next(iter(classes(space())))
    cores = space(resources={"cpu": "auto", "gpu": "auto"})
    for gib in np.geomspace(0.01, 70, 60):
        (each,) = footprints(cores, [probed(config, float(gib))], cores=48)
        k = min(48, trials_at_once(each.memory, 80 * GIB, on_gpu=True))
        assert room([Node(48, 1)], [], Share(each.cpu, each.gpu)) == k
        assert k * each.gpu <= 1


def test_cores_allow_no_more_trials_than_memory_and_the_share_grows_with_them() -> None:
    small = {("test_resnet", 64): 1.0}
    assert measured(small, resources={"cpu": 16, "gpu": "auto"}).resources.measured[0].gpu == 0.25
    cores = measured(small, resources={"cpu": "auto", "gpu": "auto"})
    (footprint,) = cores.resources.measured
    config = cores.trial_config("ce", {"data.batch_size": 64, "model.backbone": "test_resnet"}, 0)
    assert share_of(cores.resources, config).cpu == pytest.approx(64 / 38, abs=1e-3)
    assert config.run.threads == 1
    assert footprint.gpu == pytest.approx(1 / 38, abs=1e-4)


@pytest.mark.parametrize(("gpu", "cores"), [(0.25, 4), (1, 16), (2, 32)])
def test_at_a_fixed_share_of_a_gpu_a_trial_gets_that_part_of_its_cores(
    gpu: float, cores: float
) -> None:
    fixed = space(resources={"cpu": "auto", "gpu": gpu})
    found = [probed(config, gib) for config, gib in zip(classes(fixed), (1, 6, 40), strict=False)]
    shared = with_shares(fixed, found, [Node(32, 2)])
    assert {each.cpu for each in shared.resources.measured} == {cores}


def test_without_a_gpu_auto_shares_out_cores_as_far_as_memory_goes() -> None:
    plain = space(resources={"cpu": "auto"})
    found = [probed(config, 7, capacity=32) for config in classes(plain)]
    shared = with_shares(plain, found, [Node(16, 0)])
    assert {each.cpu for each in shared.resources.measured} == {4}  # 7.7 GiB: 4 fit into 32
    assert shared.trial_config("ce", {}, 0).run.threads == 4
    assert room([Node(16, 0)], [], smallest_share(shared.resources)) == 4


def test_fixed_fractions_stay_what_they_are() -> None:
    fixed = space(resources={"cpu": 2, "gpu": 0.25}).resources
    assert not fixed.must_measure
    assert share_of(fixed, Config()) == smallest_share(fixed) == Share(2, 0.25)


def test_what_was_measured_is_kept_and_not_measured_again() -> None:
    shared = measured({("test_resnet", 64): 1})
    again = parse_space(shared.dump(), "x")
    assert again == shared
    assert not again.resources.must_measure
    assert space().resources.must_measure


def test_if_no_class_can_run_it_says_why() -> None:
    config = next(iter(classes(space())))
    with pytest.raises(UserError, match=r"no class of configs that can run \(out of memory\)"):
        with_shares(space(), [Unable(config, "out of memory")], [Node(4, 1)])


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"gpu": "all"}, "resources.gpu must be 'auto', got 'all'"),
        ({"gpu": 1.5}, "resources.gpu: must be a fraction of 1 or a whole number, got 1.5"),
        ({"gpu": -1}, "resources.gpu must be greater than or equal to 0, got -1"),
        ({"cpu": 0}, "resources.cpu must be greater than 0, got 0"),
    ],
)
def test_resources_that_make_no_sense_are_refused(resources: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        space(resources=resources)
    assert message in str(caught.value)


def test_every_class_of_every_arm_is_probed_once() -> None:
    arms = {"a": {"loss.name": "ce"}, "b": {"loss.name": "supcon", "model.backbone": "resnet34"}}
    found = [class_of(config)[:2] for config in classes(space(arms=arms))]
    assert len(found) == len(set(found)) == 9
    assert {name for name, _ in found} == {"test_resnet", "resnet18", "resnet34"}


def test_the_plan_says_what_each_class_takes(digits: Splits) -> None:
    shared = measured({("test_resnet", 64): 1.5})
    (line,) = [x for x in describe(shared, digits) if x.startswith("share")]
    assert "test_resnet, batch 64, auto: 1.50 GiB, 1,000 views/s alone" in line
    assert line.endswith("a trial takes 0.0333 of a GPU")


# While it runs


def source(shared: Space, folder: Path, nodes: list[Node]) -> TrialSource:
    opened = Opened(study="x", space=shared.dump(), commit="", versions={})
    journal = Journal.create(folder / "s" / "events.jsonl", opened)
    params = {"data.batch_size": 64, "model.backbone": "test_resnet"}

    def next_trial() -> Ask:
        number = len(journal.of("ce"))
        return Ask(arm="ce", phase="search", number=number, params=params, seed=number)

    least = smallest_share(shared.resources)
    return TrialSource(
        shared, journal, ["search"], next_trial, lambda taken: room(nodes, taken, least) > 0
    )


def test_no_trial_is_asked_for_before_there_is_room(tmp_path: Path) -> None:
    nodes = [Node(8, 1)]
    trials = source(measured({("test_resnet", 64): 19}), tmp_path, nodes)
    configs = [trials.suggest(f"ray-{i}") for i in range(4)]
    assert [isinstance(config, dict) for config in configs] == [True, True, True, False]
    assert all(isinstance(c, dict) and (c["cpu"], c["gpu"]) == (1, 0.3333) for c in configs[:3])
    nodes.append(Node(8, 1))  # a node joins
    assert [isinstance(trials.suggest(f"ray-{i}"), dict) for i in range(4, 8)] == [
        True, True, True, False,
    ]  # fmt: skip


def test_a_search_waits_for_nodes_rather_than_give_up(tmp_path: Path) -> None:
    trials = source(measured({("test_resnet", 64): 19}), tmp_path, [])
    assert isinstance(trials.suggest("ray-0"), dict)  # Ray holds it until there is a node
    assert trials.suggest("ray-1") is None


def test_a_trial_that_ran_out_of_its_share_and_those_like_it_get_a_whole_gpu(
    tmp_path: Path,
) -> None:
    trials = source(measured({("test_resnet", 64): 19}), tmp_path, [Node(8, 4)])
    first = trials.suggest("ray-0")
    assert isinstance(first, dict)
    trials.journal.append(Retry(arm="ce", phase="search", number=0, detail="out of memory"))
    again = trials.suggest("ray-1")
    assert isinstance(again, dict)
    assert (again["number"], again["gpu"]) == (0, 1)
    trials.journal.end(("ce", "search", 0), "completed")
    other = trials.suggest("ray-2")
    assert isinstance(other, dict)
    assert (other["number"], other["gpu"]) == (1, 1)


@pytest.mark.parametrize("share", [0.25, 0.3333, 1.0, 2.0])
def test_a_process_may_reserve_its_share_less_a_context(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Properties:
        total_memory = 80 * GIB

    caps: list[float] = []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", caps.append)
    cap_memory(share)
    assert caps == [share - 1 / 80 if share < 1 else 1]
    # The cap leaves a trial what its class was measured to need, with the margin.
    k = int(1 / share) if share < 1 else 1
    most = (80 / k - 1) / MARGIN if share < 1 else 80 / MARGIN
    assert caps[0] * 80 >= most


def test_a_share_that_leaves_nothing_beside_cuda_itself_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Properties:
        total_memory = 8 * GIB

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    with pytest.raises(UserError, match=r"0.1 of this GPU's 8.0 GiB leave nothing"):
        cap_memory(0.1)


def test_every_measured_share_must_fit_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = with_shares(
        space(resources={"cpu": "auto"}),
        [probed(c, g, 32) for c, g in zip(classes(space()), (1, 25), strict=False)],
        [Node(64, 0)],
    )
    assert [share.cpu for share in all_shares(shared.resources)] == [2, 64]
    monkeypatch.setattr("search.preflight.checks.this_machine", lambda: Node(64, 0))
    check_machine(shared)
    monkeypatch.setattr("search.preflight.checks.this_machine", lambda: Node(8, 0))
    with pytest.raises(UserError, match=r"64 CPUs, this machine has 8; .*--cpus-per-trial auto"):
        check_machine(shared)


def test_a_study_may_go_on_with_other_resources_which_are_measured_anew() -> None:
    shared = measured({("test_resnet", 64): 19})
    again = on_other_machine(shared, {"resources.cpu": "auto", "resources.concurrency": 2})
    assert again.resources.must_measure
    assert again.resources.concurrency == 2
    assert on_other_machine(shared, {"resources.concurrency": 2}).resources.measured
    assert on_other_machine(shared, {}) is shared


@pytest.mark.parametrize(("large", "slots"), [(False, 6), (True, 2)])
def test_the_confirmation_is_planned_for_the_largest_of_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool, slots: int
) -> None:
    shared = measured({("test_resnet", 64): 19, ("resnet18", 256): 60})
    opened = Opened(study="x", space=shared.dump(), commit="", versions={})
    journal = Journal.create(tmp_path / "s" / "events.jsonl", opened)
    for number in range(1 + large):
        name, batch = [("test_resnet", 64), ("resnet18", 256)][number]
        key: Any = {"arm": "ce", "phase": "search", "number": number}
        params = {"model.backbone": name, "data.batch_size": batch}
        journal.append(Ask(**key, params=params, seed=0))
        metrics = {"val/probe_top1": 0.5}
        journal.append(Report(**key, epoch=4, metrics=metrics, views=1, seconds=1, decision="done"))
        journal.append(End(**key, outcome="completed"))
    monkeypatch.setattr("search.engine.nodes.alive_nodes", lambda: [Node(8, 2), Node(0, 0)])
    assert slots_to_confirm(shared, journal) == slots


def test_the_shipped_cifar100_space_can_be_shared_out_by_itself() -> None:
    plain = load_space(ROOT / "spaces" / "cifar100.yaml", {"resources.gpu": "auto"})
    found = [class_of(config)[:2] for config in classes(plain)]
    assert len(found) == 3 * 4
    assert ("resnet50", 1024) in found


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_a_process_that_wants_more_than_its_share_runs_out_of_memory() -> None:
    total = torch.cuda.get_device_properties(0).total_memory
    try:
        cap_memory(0.25)
        fits = torch.empty(int(0.2 * total), dtype=torch.uint8, device="cuda")
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(int(0.1 * total), dtype=torch.uint8, device="cuda")
        del fits
        cap_memory(1.0)  # the actor's next trial has the GPU to itself
        torch.cuda.empty_cache()
        torch.empty(int(0.3 * total), dtype=torch.uint8, device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
