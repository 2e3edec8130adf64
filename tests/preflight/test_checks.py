"""What is known to be wrong with a search before Ray starts."""

from __future__ import annotations

import socket
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.preflight.checks import (
    check_address,
    check_all,
    check_machine,
    load_checked_data,
    load_images,
    settle_gpus,
    settle_space,
)
from search.preflight.packing import Node
from search.space.loading import load_space, parse_space
from search.space.resources import Footprint, Resources, Shares
from search.space.space import Space
from supcon.config import Config, DataConfig
from supcon.images.split import Splits
from supcon.parsing import UserError
from tests.images.pictures import photo
from tests.written import TREE

SPACES = Path(__file__).resolve().parents[2] / "spaces"
DIGITS = {"data": {"name": "digits", "batch_size": 64}, "run": {"epochs": 9}}
DIGITS |= {"model": {"backbone": "test_resnet", "stem": "full"}}


def digits_space(**changes: Any) -> Space:
    return parse_space(TREE | {"base": DIGITS} | changes, "x")


def shares(cores: tuple[float, ...]) -> Shares:
    """Of a study whose kinds of config were measured to take so many cores."""
    kind = {"backbone": "resnet18", "precision": "fp32", "memory": 10**9, "views_per_second": 1}
    return Shares(
        Resources(cpu="auto"),
        tuple(Footprint(**kind, batch_size=n, cpu=n, gpu=0) for n in map(int, cores)),
    )


def test_every_measured_share_must_fit_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.preflight.checks.this_machine", lambda: Node(64, 0))
    check_machine(shares((2, 64)))
    monkeypatch.setattr("search.preflight.checks.this_machine", lambda: Node(8, 0))
    with pytest.raises(UserError, match=r"64 CPUs, this machine has 8; .*--cpus-per-trial auto"):
        check_machine(shares((2, 64)))


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.preflight.checks.this_machine", lambda: Node(8, 0))
    with pytest.raises(UserError, match=r"resources.gpu: a trial wants 0.5 GPU, this machine has"):
        check_machine(Shares(Resources(gpu=0.5)))


@pytest.mark.parametrize(
    ("nodes", "gpu"),
    [([Node(8, 0)], 0), ([Node(8, 1)], "auto"), ([Node(8, 0), Node(4, 2)], "auto"), ([], 0)],
)
def test_auto_is_a_gpu_where_some_machine_has_one_and_else_the_cpu(
    nodes: list[Node], gpu: Any
) -> None:
    space = settle_gpus(digits_space(resources={"gpu": "auto", "cpu": "auto"}), nodes)
    assert space.resources == Resources(gpu=gpu, cpu="auto")
    assert space.arm_config("ce").run.device == ("cpu" if gpu == 0 else "auto")


def test_auto_is_the_cpu_where_that_is_asked_for_and_stays_auto_where_a_gpu_is() -> None:
    """So that a cluster without one refuses by what its nodes have."""
    for device, gpu in (("cpu", 0), ("cuda", "auto")):
        base = DIGITS | {"run": {"epochs": 9, "device": device}}
        space = digits_space(base=base, resources={"gpu": "auto"})
        for nodes in ([Node(8, 1)], [Node(8, 0)]):
            assert settle_gpus(space, nodes).resources.gpu == gpu


@pytest.mark.parametrize("gpu", [0, 0.25, 1])
def test_a_share_of_a_gpu_that_was_given_is_left_as_it_is(gpu: float) -> None:
    space = digits_space(resources={"gpu": gpu})
    assert settle_gpus(space, [Node(8, 0)]) is space


def test_auto_is_no_reason_to_refuse_a_machine_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("search.preflight.checks.this_machine", lambda: Node(8, 0))
    assert check_all(digits_space(resources={"gpu": "auto"}), (), None)
    kind = {"backbone": "test_resnet", "batch_size": 64, "precision": "auto"}
    measured = Footprint(**kind, memory=10**9, views_per_second=1, cpu=1, gpu=0.5)
    with pytest.raises(UserError, match=r"wants 0.5 GPU, .* \(--gpus-per-trial auto\)"):
        check_all(digits_space(resources={"gpu": "auto"}), (measured,), None)  # measured elsewhere


@pytest.mark.parametrize("name", sorted(path.stem for path in SPACES.glob("*.yaml")))
def test_every_shipped_space_runs_on_a_machine_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("search.preflight.checks.this_machine", lambda: Node(2, 0))
    space = settle_gpus(load_space(SPACES / f"{name}.yaml", {}), [Node(2, 0)])
    check_machine(Shares(space.resources))
    assert {space.arm_config(arm).run.device for arm in space.arms} == {"cpu"}


def test_a_driver_that_is_too_old_is_said_where_a_gpu_would_be_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for gpu in ("auto", 0.25):
        with pytest.raises(UserError, match=r"^GPU: there is 1, but the driver"):
            check_all(digits_space(resources={"gpu": gpu}), (), None)
    assert check_all(digits_space(resources={"gpu": 0}), (), None)


@pytest.mark.parametrize(
    ("resources", "gpus", "part"),
    [
        ({"cpu": 2}, 0, 1 / 4),
        ({"cpu": 2, "concurrency": 3}, 0, 1 / 3),
        ({"gpu": 0.25}, 1, 0.25),
        ({"gpu": 0.25}, 0, None),  # on a cluster, say
        ({"cpu": "auto"}, 0, None),  # each kind is measured
    ],
)
def test_memory_of_fixed_shares_is_settled_for_the_largest_batch_of_each_backbone(
    digits: Splits,
    monkeypatch: pytest.MonkeyPatch,
    resources: dict[str, Any],
    gpus: int,
    part: float | None,
) -> None:
    asked: list[Any] = []

    def settle_memory(configs: list[Config], data: Splits, part: float) -> dict[str, str]:
        asked.append(({(c.model.backbone, c.data.batch_size) for c in configs}, part))
        return {"run.memory": "checkpoint"}

    monkeypatch.setattr("search.preflight.checks.settle_memory", settle_memory)
    monkeypatch.setattr("search.preflight.checks.usable_gpus", lambda: gpus)
    monkeypatch.setattr("search.preflight.checks.this_machine", lambda: Node(8, gpus))
    params = {
        "data.batch_size": {"pow2": [32, 128]},
        "model.backbone": {"choice": ["test_resnet", "test_vit"]},
    }
    base = DIGITS | {"run": {"epochs": 9, "precision": "fp32"}}
    space = settle_space(digits_space(base=base, params=params, resources=resources), digits)
    if part is None:
        assert asked == []
        assert space.config.run.memory == ("auto" if "cpu" in resources else "plain")
        return
    assert asked == [({("test_resnet", 128), ("test_vit", 128)}, part)]
    assert space.config.run.memory == "checkpoint"


def test_loaders_of_all_trials_at_once_must_have_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.preflight.checks.this_machine", lambda: Node(8, 0))
    changes: dict[str, Any] = {
        "base": DIGITS | {"data": {"name": "digits", "pipeline": "streaming", "workers": 3}},
        "params": {"data.batch_size": {"pow2": [32, 128]}},
        "resources": {"cpu": 2},
    }
    needed = 4 * (2 * 3 + 1) * 128 * 2 * 16 * 16  # 4 trials, 2 views of 16 x 16 grey pixels
    for free, is_enough in ((needed, True), (needed - 1, False)):
        monkeypatch.setattr("supcon.images.batches.free_to_share", lambda free=free: free)
        with nullcontext() if is_enough else pytest.raises(UserError, match="4 x 3 workers"):
            check_all(digits_space(**changes), (), None)


def test_a_cluster_must_answer_unless_ray_looks_for_it_itself() -> None:
    check_address("auto")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        check_address(address)
    for nothing in (address, "127.0.0.1:99999"):
        with pytest.raises(UserError, match=f"--address {nothing}: nothing answers there"):
            check_address(nothing)


def test_what_is_wrong_with_data_and_machine_is_told_at_once() -> None:
    space = digits_space(
        base=DIGITS | {"data": {"name": "digits", "batch_size": 512}}, resources={"cpu": 999}
    )
    with pytest.raises(UserError) as error:
        check_all(space, (), None)
    data, machine = str(error.value).splitlines()
    assert data.startswith("data.batch_size must be at most a quarter of the")
    assert machine.startswith("resources.cpu: a trial wants 999 CPUs")


def test_a_broken_folder_of_unknown_images_is_found_before_a_search(tmp_path: Path) -> None:
    config = DataConfig(hold_out=2, unknown=tmp_path)
    with pytest.raises(UserError, match=f"data.unknown: {tmp_path} holds no images"):
        load_images(config)
    (tmp_path / "0.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"0.png: not a readable image"):
        load_images(config)
    photo(9, 9).save(tmp_path / "1.png")
    found = load_images(config.model_copy(update={"broken": "skip"}))
    assert len(found.classes) == 8
    held = ", ".join(str(digit) for digit in range(10) if str(digit) not in found.classes)
    assert found.unknown[0].endswith(f" test images of the held-out classes {held}")
    assert found.unknown[1:] == (f"1 images under {tmp_path}",)
    assert found.left_out.broken == (str(tmp_path / "0.png"),)


def test_a_cluster_is_not_held_to_this_machine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        data = check_all(digits_space(resources={"cpu": 999}), (), address)
    assert len(data.classes) == 10


def test_each_backbone_that_may_be_drawn_is_built_under_its_conditions() -> None:
    params = {"model.backbone": {"choice": ["test_resnet", "resnet81"]}}
    with pytest.raises(UserError, match="similar: resnet18"):
        load_checked_data(digits_space(params=params))
    # test_convnext takes such small images with a small stem alone.
    stem = {"choice": ["small", "full"], "when": {"model.backbone": "test_resnet"}}
    fine = {"model.backbone": {"choice": ["test_convnext", "test_resnet"]}, "model.stem": stem}
    base = DIGITS | {"model": {"backbone": "test_convnext", "stem": "small"}}
    assert len(load_checked_data(digits_space(base=base, params=fine)).train) > 0


def with_few_of_class_0(data: Splits, one_in: int) -> Splits:
    labels = data.train.labels
    kept = np.flatnonzero((labels != 0) | (np.arange(len(labels)) % one_in == 0))
    return replace(data, train=data.train.take(kept))


@pytest.mark.parametrize(
    ("selection", "one_in", "settled"),
    [
        ("auto", 1, "top1"),
        ("auto", 4, "balanced"),
        ("top1", 4, "top1"),
        ("balanced", 1, "balanced"),
    ],
)
def test_what_selects_is_settled_once_by_how_unequal_the_training_images_are(
    digits: Splits, selection: str, one_in: int, settled: str
) -> None:
    base = {**DIGITS, "run": {"epochs": 9, "precision": "fp32"}}
    space = digits_space(selection=selection, base=base)
    found = settle_space(space, with_few_of_class_0(digits, one_in))
    assert found.selection == settled
    assert parse_space(found.dump(), "x").selection == settled
