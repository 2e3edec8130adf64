"""What a Ray of one's own is started with, and what a cluster is told when a search joins it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from search.engine.session import (
    STORE_BESIDE,
    _init,
    _of_a_cluster,
    _of_a_local_ray,
    copy_of_our_code,
    store_bytes,
)
from search.preflight.packing import Node


def test_our_code_goes_to_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    code = Path(copy_of_our_code())
    assert {path.name for path in code.iterdir()} == {"search", "supcon"}
    assert list(code.rglob("__pycache__")) == []
    given = _of_a_cluster("a:1", str(code))
    assert given == {"address": "a:1", "runtime_env": {"working_dir": str(code)}}


def test_a_job_that_came_with_its_own_checkout_runs_that(monkeypatch: pytest.MonkeyPatch) -> None:
    job = {"runtime_env": {"working_dir": "gcs://x.zip"}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(job))
    assert _of_a_cluster("auto", "/x") == {"address": "auto"}


GIB = 2**30


@pytest.mark.parametrize(
    ("free", "shared", "images", "size"),
    [
        (20 * GIB, 40 * GIB, GIB, 6 * GIB),  # as Ray would, of a machine that is not shared
        (20 * GIB, 4 * GIB, GIB, int(3.8 * GIB)),  # within /dev/shm, where images have room there
        (20 * GIB, GIB // 16, GIB, 6 * GIB),  # of Docker: in /tmp
        (20 * GIB, None, GIB, 6 * GIB),  # without /dev/shm
        (200 * GIB, GIB // 16, GIB, 10**10),  # larger, Ray refuses to go to /tmp
        (4 * GIB, 10 * GIB, 2 * GIB, 2 * GIB + STORE_BESIDE),  # images always fit
        (GIB // 4, GIB // 2, 0, STORE_BESIDE),  # Ray wants 75 MiB
    ],
)
def test_the_object_store_has_room_for_the_images_and_lies_in_memory_if_it_can(
    monkeypatch: pytest.MonkeyPatch, free: int, shared: int | None, images: int, size: int
) -> None:
    monkeypatch.setattr("search.engine.session.free_memory", lambda: free)
    monkeypatch.setattr("search.engine.session.free_to_share", lambda: shared)
    assert store_bytes(images) == size


def test_a_ray_of_ones_own_is_told_what_the_process_may_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("search.engine.session.this_machine", lambda: Node(3, 0))
    monkeypatch.setenv("PYTHONPATH", "")
    told = _of_a_local_ray("127.0.0.1", 2**20)
    assert (told["num_cpus"], told["num_gpus"]) == (3, 0)
    assert told["object_store_memory"] >= 2**20 + STORE_BESIDE


@pytest.mark.parametrize(
    ("said", "is_local", "starts"),
    [("the end of dashboard.log: no build", True, 2), ("no raylet", True, 1),
     ("dashboard", False, 1)],
)  # fmt: skip
def test_a_dashboard_that_does_not_start_takes_no_search_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: str,
    is_local: bool, starts: int,
) -> None:  # fmt: skip
    asked = list[Any]()

    def init(**options: Any) -> str:
        asked.append(options.get("include_dashboard"))
        if asked[-1] is not False:
            raise Exception(said)  # as Ray does, of no type of its own
        return "started"

    monkeypatch.setattr("ray.init", init)
    options = {"address": "local", "include_dashboard": True} if is_local else {"address": "a:1"}
    if starts == 2:
        assert _init(options) == "started"
        assert capsys.readouterr().out == f"dashboard not started: {said}\n"
    else:
        with pytest.raises(Exception, match=said):
            _init(options)
    assert len(asked) == starts
