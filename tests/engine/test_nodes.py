"""Nodes that come and go, and what they have room for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import RayTaskError

from search.engine.nodes import (
    NODES_SECONDS,
    Room,
    alive_nodes,
    cause_of,
    check_room,
    slots_to_confirm,
)
from search.log.events import Started
from search.preflight.packing import Node
from search.space.resources import Footprint, Resources, Share, Shares
from supcon.parsing import UserError
from tests.written import WrittenStudy

Nodes = list[dict[str, Any]]


def node(cpus: float = 0, gpus: float = 0, *, alive: bool = True) -> dict[str, Any]:
    """As Ray tells of it."""
    resources = {key: n for key, n in (("CPU", cpus), ("GPU", gpus), ("memory", 1e9)) if n}
    return {"Alive": alive, "Resources": resources}


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """Those of a cluster, which tests change."""
    found: Nodes = []
    monkeypatch.setattr("ray.nodes", lambda: found)
    return found


def test_nodes_that_have_left_do_not_count(nodes: Nodes) -> None:
    nodes += [node(4, 1), node(8, alive=False), node()]
    assert alive_nodes() == [Node(4, 1), Node(0, 0)]


def test_there_is_room_on_nodes_that_join_and_none_on_those_that_leave(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("search.engine.nodes.time.monotonic", lambda: now[0])
    nodes.append(node(2))
    has_room, two = Room(Shares(Resources())), 2 * [Share(1, 0)]
    assert has_room(two[:1])
    assert not has_room(two)
    nodes.append(node(1))
    assert not has_room(two)  # Ray is not asked at every turn
    now[0] += NODES_SECONDS + 0.1
    assert has_room(two)
    del nodes[0]
    now[0] += NODES_SECONDS + 0.1
    assert not has_room(two[:1])


def test_no_more_trials_start_than_were_asked_for(nodes: Nodes) -> None:
    nodes.append(node(64))
    has_room = Room(Shares(Resources(concurrency=2)))
    assert has_room([Share(1, 0)])
    assert not has_room(2 * [Share(1, 0)])


def test_what_no_node_has_room_for_is_named(nodes: Nodes) -> None:
    nodes += [node(2), node(2), node(4, 1), node(64, alive=False)]
    check_room(Shares(Resources(cpu=4, gpu=0.5)))
    with pytest.raises(UserError) as error:
        check_room(Shares(Resources(cpu=8, gpu=0.5)))
    said = "a trial wants cpu 8 and gpu 0.5, but Ray's nodes have CPUs and GPUs 2 and 0, 4 and 1;"
    assert said in str(error.value)


def test_a_cluster_that_has_a_head_alone_is_told_from_one_that_is_too_small(nodes: Nodes) -> None:
    nodes.append(node())
    with pytest.raises(UserError, match="no node that can run trials has joined the cluster yet"):
        check_room(Shares(Resources()))


def test_an_error_on_a_node_is_told_by_its_cause() -> None:
    cause = ValueError("first line\nsecond line")
    assert "first line" in cause_of(RayTaskError("f", "long trace", cause))
    assert "long trace" not in cause_of(RayTaskError("f", "long trace", cause))


@pytest.mark.parametrize(("large", "slots"), [(False, 6), (True, 2)])
def test_the_confirmation_is_planned_for_the_largest_of_the_best(
    tmp_path: Path, nodes: Nodes, large: bool, slots: int
) -> None:
    nodes += [node(8, 2), node()]
    small, whole = (
        Footprint(
            backbone=name, batch_size=batch, precision="auto", memory=10**9,
            views_per_second=1000, cpu=1, gpu=gpu,
        )
        for name, batch, gpu in (("test_resnet", 64, 0.3333), ("resnet18", 256, 1))
    )  # fmt: skip
    study = WrittenStudy(tmp_path, resources={"cpu": 1, "gpu": "auto"})
    started = {"study": "x", "space": study.tree, "commit": "", "versions": {}}
    study.add(Started, **started, measured=(small, whole))
    for number, kind in enumerate([small, whole][: 1 + large]):
        params = {"model.backbone": kind.backbone, "data.batch_size": kind.batch_size}
        study.ask("ce", number, params=params)
        study.train(study.log.of("ce")[number].ask)
    assert slots_to_confirm(study) == slots
