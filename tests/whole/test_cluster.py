"""Searches on clusters: nodes that come and go, code and images that go along, shared folders."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from search.engine.nodes import unseen
from search.log.journal import Journal
from tests.benchmarks.cluster import TOKEN, Cluster, chaos, cluster
from tests.benchmarks.reliability import SPACE
from tests.benchmarks.search import ROOT, own_home, start_search
from tests.programs import Forked
from tests.whole.searching import QUICK_NODE, QUICK_RUN

SHARED_OUT: dict[str, Any] = {
    **SPACE,
    "base": {**SPACE["base"], "run": {"epochs": 3, "precision": "fp32"}},
    "arms": {"ce": {"loss.name": "ce"}},
    "budget": {"trials": 2},
    "confirm": {"top": 1, "seeds": 1, "references": False},
    "resources": {"cpu": "auto", "gpu": 0, "concurrency": 1},
}


def test_what_a_node_does_not_see_is_named(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    needed = {"--results": tmp_path / "there", "data.root": tmp_path / "elsewhere"}
    (problem,) = unseen(needed)
    assert f"cannot use {tmp_path}/elsewhere (data.root)" in problem


@pytest.fixture(scope="module", autouse=True)
def _quick_nodes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.benchmarks.search.PROGRAM", QUICK_RUN)
        patch.setattr("tests.benchmarks.search.LAUNCH", Forked)
        patch.setattr("tests.benchmarks.cluster.Fresh", Forked)
        patch.setattr("tests.benchmarks.cluster.RAY", str(QUICK_NODE))
        yield


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """A cluster of one node that says it has a GPU, and has none."""
    with own_home() as home, cluster(home) as found:
        found.add(cpus=2, gpus=1)
        yield found


def run_beside(nodes: Cluster, code: str) -> str:
    """The last line that a program says, which can join the cluster."""
    own = dict.fromkeys(("HOME", "RAY_TMPDIR", "TMPDIR"), str(nodes.home))
    own["PYTHONPATH"] = str(ROOT)  # of a program, its folder is on the path, not where it starts
    output, program = (Path(tempfile.mkstemp(end, dir=nodes.home)[1]) for end in (".txt", ".py"))
    program.write_text(code)
    done = Forked([str(program)], ROOT, {**os.environ, **own, **TOKEN}, output)
    assert done.wait(timeout=900) == 0, output.read_text()
    return output.read_text().splitlines()[-1]


@pytest.mark.slow
def test_a_cluster_that_loses_and_gets_nodes_loses_and_repeats_no_trial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRIALS_REST", "0.7")  # they take long enough to be disturbed
    flags = ["--epochs", "6", "--set", "confirm={top: 1, seeds: 1, references: false}"]
    flags += [
        "--set",
        "data.train_size=256",
        "--set",
        "data.val_size=0.1",
        "--set",
        "probe.l2=[0.01]",
        "--set",
        "scheduler.asha.promotion=false",  # else they are over too soon
    ]
    # In an order in which trials are left at each turn.
    found = chaos(1, 3, 3, *flags)
    assert [found[what] for what in ("removed", "joined", "driver")] == [1, 1, 1]
    assert found["late nodes used"] == 1
    assert (found["failed"], found["lost"], found["repeated"]) == (0, 0, 0)
    assert found["trials"] == 2 * (3 + 1)


@pytest.mark.slow
def test_shares_are_measured_on_the_cluster_and_kept_in_the_log(nodes: Cluster) -> None:
    running = start_search(nodes.home, SHARED_OUT, "--address", nodes.address)
    try:
        assert running.process.wait(timeout=900) == 0, running.said
    finally:
        running.kill()
    journal = Journal.open(running.log)
    assert {f.batch_size for f in journal.measured} == {32, 64}
    assert all(f.gpu == 0 and f.cpu >= 1 and f.memory > 2**27 for f in journal.measured)
    assert {trial.outcome for trial in journal.trials.values()} <= {"completed", "stopped"}
    assert "share     test_resnet, batch 32, fp32: " in running.said


@pytest.mark.slow
def test_nodes_run_the_code_of_the_driver_and_hold_the_images_once(nodes: Cluster) -> None:
    (nodes.home / "events.jsonl").touch()
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
            check_nodes(StudyFolder(Path("/nowhere")), images.splits, on_gpu=False)
            refused = ""
        except UserError as error:
            refused = str(error)
        try:
            check_nodes(StudyFolder(Path({str(nodes.home)!r})), images.splits, on_gpu=True)
            without = ""
        except UserError as error:
            without = str(error)
print(json.dumps([files, refused, without]))
"""
    files, refused, without = json.loads(run_beside(nodes, code))
    for trainable, train, is_writeable in files:
        assert "working_dir_files" in trainable
        assert "working_dir_files" in train
        assert not is_writeable  # a view of the node's one copy
    assert "cannot use /nowhere/events.jsonl (--results)" in refused
    assert without.startswith("--address: GPU: this process was given one on ")


@pytest.mark.slow
def test_models_are_asked_on_the_nodes_and_by_no_model_is_anything_opened_without_a_gpu(
    nodes: Cluster, tmp_path: Path
) -> None:
    code = f"""
import json
from pathlib import Path
from unittest.mock import patch
from search.course import where_models_are
from search.judge.sealed import open_test
from search.gallery.suspects import add_suspects
from supcon.config import Config, override
from supcon.images.loading import load_splits
from supcon.parsing import UserError
from supcon.train import fit
from tests.conftest import TINY
from tests.trained_study import both_searched

config = override(Config(), TINY | {{"run.epochs": 1}})
data = load_splits(config.data)
models = {{}}
for arm in ("supcon", "ce"):
    (record,) = fit(override(config, {{"loss.name": arm}}), data)
    models[arm] = record.trained
study = both_searched(Path({str(tmp_path)!r}), models, config, data)
for arm in models:
    study.confirm(arm, 0, 3)
refused = []
for resources in ({{"gpu": 0.5}}, {{"gpu": 0}}):
    study.space.resources.__dict__.update(resources)
    with (
        where_models_are(study, {nodes.address!r}) as place,
        # This process can load none; those of the nodes have code of their own.
        patch("search.judge.trained_models.load_trained", side_effect=SystemExit),
    ):
        try:
            open_test(study, data, place)
            refused.append(add_suspects(study, data, place))
        except UserError as error:
            refused.append(str(error))
    refused.append(len(study.log.openings))
tested = [trial.name for trial in study.log.trials.values() if trial.tested]
print(json.dumps([refused, tested, study.log.suspected is not None]))
"""
    (without, n_sealed, why, n_opened), tested, is_listed = json.loads(run_beside(nodes, code))
    assert "GPU: this process was given one on" in without
    assert (n_sealed, why, n_opened, is_listed) == (0, "", 2, True)
    assert tested == [f"{arm}-confirm-{n}" for arm in ("supcon", "ce") for n in range(3)]


@pytest.mark.slow
def test_a_trial_whose_gpu_is_lost_goes_on_in_another_process(
    nodes: Cluster, tmp_path: Path
) -> None:
    code = f"""
import json, os, torch
from pathlib import Path
from unittest.mock import patch
from search.engine.session import ray_session
from search.engine.shared_images import SharedImages
from search.engine.trial_actor import SupConTrial
from search.engine.tuner import run_trials
from search.strategy.search_order import SearchOrder
from supcon.config import Config, override
from supcon.images.loading import load_splits
from tests.conftest import TINY
from tests.written import WrittenStudy

class Trial(SupConTrial):
    '''Loses its GPU twice, after an epoch.'''

    def _train(self, gpu, memory):
        pids = self.study.path / self.name
        with pids.open("a") as file:
            print(os.getpid(), file=file)
        for record in SupConTrial._train(self, gpu, memory):
            yield record
            if len(pids.read_text().split()) <= 2:
                raise torch.AcceleratorError("CUDA error: an illegal memory access\\nand more")

config = override(Config(), TINY)
base = config.model_dump(mode="json")
del base["run"]["seed"], base["run"]["eval_at"], base["probe"]["selection"]
study = WrittenStudy(
    Path({str(tmp_path)!r}), base=base, arms={{"ce": {{"loss.name": "ce"}}}}, scheduler="none",
    budget={{"trials": 1}},
)
images = SharedImages(load_splits(config.data))
with (
    patch("search.engine.tuner.SupConTrial", Trial),
    ray_session({nodes.address!r}, ""), images.shared() as data,
):
    run_trials(study, data, ["search"], SearchOrder(study), lambda: False)
(trial,) = study.log.of("ce")
print(json.dumps([trial.outcome, (study.folder.path / "ce-0").read_text().split()]))
"""
    outcome, pids = json.loads(run_beside(nodes, code))
    assert outcome == "completed"
    assert len(pids) == len(set(pids)) == 3
