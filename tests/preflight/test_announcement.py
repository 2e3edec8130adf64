"""What a person is told before a search starts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from search.preflight.announcement import describe, describe_machines
from search.preflight.packing import Node
from search.space.loading import parse_space
from search.space.resources import Footprint
from supcon.images.split import Splits
from supcon.listing.listing import LeftOut
from tests.written import TREE

SMALL = Footprint(
    backbone="test_resnet", batch_size=64, precision="auto", memory=3 * 2**29,
    views_per_second=1000, cpu=2.5, gpu=0.0333,
)  # fmt: skip


def said(data: Splits, label: str, measured: tuple[Footprint, ...] = (), **changes: Any) -> str:
    """The line with this label."""
    lines = describe(parse_space(TREE | changes, "x"), measured, data)
    (line,) = [line for line in lines if line.startswith(label)]
    return line


@pytest.mark.parametrize(
    ("nodes", "gpu", "words"),
    [
        ([Node(2, 0)], 0, "2 cores, no GPU; trials train on the CPU"),
        ([Node(8, 1)], 0, "8 cores, 1 GPU; trials train on the CPU"),
        ([Node(8, 1)], "auto", "8 cores, 1 GPU; trials train on GPUs"),
        ([Node(8, 0), Node(4, 2)], 0.5, "2 nodes, 12 cores, 2 GPUs; trials train on GPUs"),
    ],
)
def test_the_first_line_says_where_trials_train(nodes: list[Node], gpu: Any, words: str) -> None:
    space = parse_space(TREE | {"resources": {"gpu": gpu}}, "x")
    assert describe_machines(space, nodes) == f"machine   {words}"


@pytest.mark.parametrize(
    ("resources", "takes"),
    [
        ({"gpu": "auto"}, "0.0333 of a GPU"),
        ({"cpu": "auto"}, "2.5 cores"),
        ({"cpu": "auto", "gpu": "auto"}, "0.0333 of a GPU and 2.5 cores"),
    ],
)
def test_the_plan_says_what_each_kind_takes(
    digits: Splits, resources: dict[str, Any], takes: str
) -> None:
    line = said(digits, "share", (SMALL,), resources=resources)
    assert "test_resnet, batch 64, auto: 1.50 GiB, 1,000 views/s alone" in line
    assert line.endswith(f"a trial takes {takes}")


@pytest.mark.parametrize(
    ("busy", "words"),
    [
        (0.98, "views/s alone, GPU busy for 98 % of a step: one trial fills it; a trial takes"),
        (0.3, "views/s alone, GPU busy for 30 % of a step: 4 trials fill it; a trial takes"),
    ],
)
def test_the_plan_says_how_many_trials_fill_a_gpu(digits: Splits, busy: float, words: str) -> None:
    measured = (SMALL.model_copy(update={"busy": busy}),)
    assert words in said(digits, "share", measured, resources={"gpu": "auto"})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"budget": {"total_epochs": 36, "trials": 8}}, "36 epochs an arm, 8 trials an arm;"),
        ({"budget": {"time": "90m"}}, "budget    90 minutes in all;"),
        ({"budget": {}, "sampler": "points", "points": {"ce": [{}]}}, "the points alone;"),
        (
            {"arms": {arm: {"loss.name": arm} for arm in ("supcon", "ce", "sincere")}},
            "arms supcon, ce, sincere (each against ce); then 3 fresh seeds",
        ),
        ({}, "arms supcon, ce; then 3 fresh seeds for each winner, picked from the best 2"),
    ],
)
def test_the_plan_says_what_the_budget_is(
    digits: Splits, changes: dict[str, Any], words: str
) -> None:
    assert words in said(digits, "budget", **changes)


@pytest.mark.parametrize(
    ("scheduler", "words"),
    [
        (TREE["scheduler"], "ASHA lets all to 1, about 1 in 3 to 3, about 1 in 9 to 9"),
        (
            {"asha": {"grace": 3, "reduction": 2, "promotion": True}},
            "ASHA lets all to 3, about 1 in 2 to 6, about 1 in 4 to 9; others pause, and may go on "
            "or be confirmed",
        ),
        ("none", "none is stopped early"),
    ],
)
def test_the_plan_says_how_long_trials_train(digits: Splits, scheduler: Any, words: str) -> None:
    assert said(digits, "trials", scheduler=scheduler) == f"trials    9 epochs; {words}"


def test_the_plan_says_what_each_arm_draws(digits: Splits) -> None:
    params = {"loss.temperature": {"uniform": [0.1, 0.5]}, "data.batch_size": {"pow2": [16, 64]}}
    assert said(digits, "supcon", params=params) == (
        "supcon    draws loss.temperature uniform[0.1, 0.5], data.batch_size pow2[16, 64]"
    )
    assert said(digits, "ce", params=params) == "ce        draws data.batch_size pow2[16, 64]"


def test_what_is_left_out_of_the_images_is_said_and_nothing_otherwise(digits: Splits) -> None:
    counts = {("no image by its suffix", ".txt"): 3}
    some = replace(digits, left_out=LeftOut(counts, ("__MACOSX",), broken=("a/1.png",)))
    lines = describe(parse_space(TREE, "x"), (), some)
    assert [line for line in lines if line.startswith("left out")] == [
        "left out  3 .txt (no image by its suffix)",
        "left out  folders passed over (1): __MACOSX",
        "left out  broken files (1): a/1.png",
    ]
    assert not any("left out" in line for line in describe(parse_space(TREE, "x"), (), digits))


def test_where_unknown_images_come_from_is_said(digits: Splits) -> None:
    some = replace(digits, unknown=("7 test images of the held-out classes 3", "2 images under /x"))
    lines = describe(parse_space(TREE, "x"), (), some)
    assert [line for line in lines if line.startswith("unknown")] == [
        "unknown   7 test images of the held-out classes 3; sealed like test",
        "unknown   2 images under /x; sealed like test",
    ]


@pytest.mark.parametrize("selection", ["top1", "balanced"])
def test_of_unequal_classes_it_is_said_what_decides(digits: Splits, selection: str) -> None:
    assert not [
        line for line in describe(parse_space(TREE, "x"), (), digits) if line.startswith("classes")
    ]
    few = np.flatnonzero((digits.train.labels != 0) | (np.arange(len(digits.train)) % 4 == 0))
    unequal = replace(digits, train=digits.train.take(few))
    by = {
        "top1": "accuracy (val/probe_top1)",
        "balanced": "balanced accuracy (val/probe_balanced)",
    }[selection]
    line = said(unequal, "classes", selection=selection)
    smallest = np.bincount(unequal.train.labels).min()
    assert line.startswith(f"classes   of {smallest} to ")
    assert line.endswith(f"what decides is {by}")
