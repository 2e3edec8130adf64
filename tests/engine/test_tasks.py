"""Models asked as tasks of Ray; on a cluster that is one, in tests/whole/test_cluster.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.exceptions import RayTaskError, WorkerCrashedError

from search.engine.tasks import Tasks
from supcon.parsing import UserError
from tests.written import WrittenStudy


class Ray:
    """Runs a task at once, and remembers what it was given."""

    def __init__(self) -> None:
        self.shares: list[tuple[float, float]] = []
        self.lent: list[Any] = []
        self.error: Exception | None = None

    def remote(self, *, num_cpus: float, num_gpus: float) -> Callable[..., Any]:
        self.shares.append((num_cpus, num_gpus))

        def task(look: Callable[..., Any]) -> Any:
            return SimpleNamespace(remote=lambda *given: (look, given))

        return task

    def put(self, value: Any) -> str:
        self.lent.append(value)
        return f"reference {len(self.lent)}"

    def get(self, given: Any) -> Any:
        if self.error is not None:
            raise self.error
        look, values = given
        return look(*values)


def tell(*given: Any) -> tuple[Any, ...]:
    return given


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Ray:
    found = Ray()
    monkeypatch.setattr("search.engine.tasks.ray", found)
    there = {"Alive": True, "Resources": {"CPU": 4, "GPU": 1}}
    monkeypatch.setattr("ray.nodes", lambda: [there])
    return found


def tasks(path: Path, gpu: float, joined: list[str] | None = None) -> tuple[Tasks, Any]:
    study = WrittenStudy(path, resources={"cpu": 2, "gpu": gpu})
    join = None if joined is None else lambda: joined.append("joined")
    return Tasks(study, join), study.space.arm_config("ce")


def test_a_task_takes_what_a_trial_takes_and_images_are_lent_once(
    tmp_path: Path, ray: Ray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.engine.tasks.check_gpu", lambda: None)
    joined: list[str] = []
    place, config = tasks(tmp_path, 0.5, joined)
    assert joined == []
    images = np.zeros((2, 8, 8, 1), dtype=np.uint8)
    assert place(config, tell, "model", images) == ("model", "reference 1")
    assert place(config, tell, "other", images) == ("other", "reference 1")
    assert ray.shares == [(2, 0.5), (2, 0.5)]
    assert joined == ["joined"]


def test_a_task_whose_node_has_no_gpu_for_it_does_not_compute_on_the_cpu(
    tmp_path: Path, ray: Ray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise UserError("GPU: this process was given one")

    monkeypatch.setattr("search.engine.tasks.check_gpu", refuse)
    place, config = tasks(tmp_path / "gpu", 0.5)
    with pytest.raises(UserError, match="this process was given one"):
        place(config, tell)
    place, config = tasks(tmp_path / "cpu", 0)
    assert place(config, tell, 1) == (1,)


def test_what_fails_in_a_task_fails_as_if_it_had_been_here(tmp_path: Path, ray: Ray) -> None:
    place, config = tasks(tmp_path, 0)
    ray.error = RayTaskError("look", "long trace", UserError("model.pt: there is no such file"))
    with pytest.raises(UserError, match=r"^model\.pt: there is no such file$"):
        place(config, tell)
    ray.error = WorkerCrashedError()
    with pytest.raises(UserError, match=r"^--address: a model could not be asked .*--resume$"):
        place(config, tell)


def test_a_task_that_no_node_has_room_for_is_refused(tmp_path: Path, ray: Ray) -> None:
    place, config = tasks(tmp_path, 1)
    place.study.space.resources.__dict__["cpu"] = 8
    with pytest.raises(UserError, match=r"a trial wants cpu 8 and gpu 1, but Ray's nodes have"):
        place(config, tell)
    assert ray.shares == []
