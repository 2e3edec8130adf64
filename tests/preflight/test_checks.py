"""What is known to be wrong with a search before Ray starts."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from search.preflight.checks import check_address, check_all, check_machine, load_checked_data
from search.preflight.packing import Node
from search.space.loading import parse_space
from search.space.resources import Footprint, Resources, Shares
from search.space.space import Space
from supcon.parsing import UserError
from tests.written import TREE

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


@pytest.mark.parametrize(
    ("gpu", "there", "message"),
    [
        ("auto", 0, "auto needs one GPU, this machine has no GPU; set it to 0"),
        (0.5, 0, "a trial wants 0.5 GPU, this machine has no GPU; set it to 0"),
        (4, 2, "a trial wants 4 GPU, this machine has 2 GPUs; set it to 0"),
    ],
)
def test_a_gpu_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, gpu: Any, there: int, message: str
) -> None:
    monkeypatch.setattr("search.preflight.checks.this_machine", lambda: Node(8, there))
    with pytest.raises(UserError, match=f"resources.gpu: {message}"):
        check_machine(Shares(Resources(gpu=gpu)))


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
