"""Searches on clusters: nodes that come and go, code and images that go along, shared folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from search.engine.nodes import unseen
from search.log.journal import Journal
from tests.benchmarks.cluster import TOKEN, Cluster, chaos, cluster
from tests.benchmarks.reliability import SPACE
from tests.benchmarks.search import ROOT, own_home, start_search

DECLARED: dict[str, Any] = {
    **SPACE,
    "base": {**SPACE["base"], "run": {"epochs": 3, "precision": "fp32"}},
    "arms": {"ce": {"loss.name": "ce"}},
    "budget": {"trials": 2},
    "confirm": {"top": 1, "seeds": 1, "references": False},
    "resources": {"cpu": 0.25, "gpu": "auto"},
}


def test_what_a_node_does_not_see_is_named(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    needed = {"--results": tmp_path / "there", "data.root": tmp_path / "elsewhere"}
    (problem,) = unseen(needed)
    assert f"cannot use {tmp_path}/elsewhere (data.root)" in problem


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """A cluster of one node that says it has a GPU."""
    with own_home() as home, cluster(home) as found:
        found.add(cpus=2, gpus=1)
        yield found


@pytest.mark.slow
@pytest.mark.usefixtures("_quick")
def test_a_cluster_that_loses_and_gets_nodes_loses_and_repeats_no_trial() -> None:
    confirm = "confirm={top: 1, seeds: 1, references: false}"
    # In an order in which trials are left at each turn.
    found = chaos(1, 3, 3, "--epochs", "6", "--set", confirm)
    assert [found[what] for what in ("removed", "joined", "driver")] == [1, 1, 1]
    assert found["late nodes used"] == 1
    assert (found["failed"], found["lost"], found["repeated"]) == (0, 0, 0)
    assert found["trials"] == 2 * (3 + 1)


@pytest.mark.slow
@pytest.mark.usefixtures("_quick")
def test_shares_are_measured_on_the_cluster_and_kept_in_the_log(nodes: Cluster) -> None:
    running = start_search(nodes.home, DECLARED, "--address", nodes.address)
    try:
        assert running.process.wait(timeout=900) == 0, running.said
    finally:
        running.kill()
    journal = Journal.open(running.log)
    assert {f.batch_size for f in journal.measured} == {32, 64}
    assert all(0 < f.gpu < 1 and f.memory > 2**27 for f in journal.measured)
    assert {trial.outcome for trial in journal.trials.values()} <= {"completed", "stopped"}
    assert "share     test_resnet, batch 32, fp32: " in running.said


@pytest.mark.slow
def test_nodes_run_the_code_of_the_driver_and_hold_the_images_once(nodes: Cluster) -> None:
    code = f"""
import json, os
import numpy as np, ray
from pathlib import Path
from unittest.mock import patch
from search.engine.nodes import check_nodes
from search.engine.session import ray_session
from search.engine.shared_images import SharedImages
from search.log.folder import StudyFolder
from supcon.parsing import UserError
from tests.benchmarks.sleeping import noise

def look(data):
    import search.engine.trial_actor as actor, supcon.train
    return actor.__file__, supcon.train.__file__, data.train.images.flags.writeable

images = SharedImages(noise())
with ray_session({nodes.address!r}, ""), images.shared() as data:
    files = ray.get([ray.remote(num_cpus=1)(look).remote(data) for _ in range(2)])
    there = ray.nodes()
    left = dict(there[-1], NodeID="ab" * 28)  # a node that has died since
    with patch("ray.nodes", lambda: [*there, left]):
        try:
            check_nodes(StudyFolder(Path("/nowhere")), images.splits)
            refused = ""
        except UserError as error:
            refused = str(error)
print(json.dumps([files, refused]))
"""
    own = dict.fromkeys(("HOME", "RAY_TMPDIR", "TMPDIR"), str(nodes.home))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True,
        env={**os.environ, **own, **TOKEN},
    )  # fmt: skip
    files, refused = json.loads(done.stdout.splitlines()[-1])
    for trainable, train, is_writeable in files:
        assert "working_dir_files" in trainable
        assert "working_dir_files" in train
        assert not is_writeable  # a view of the node's one copy
    assert "cannot use /nowhere/events.jsonl (--results)" in refused
