"""A run that takes a second, its data, and what it yields."""

from __future__ import annotations

import gc
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

# Here and in all that tests start: threads that spin while they wait keep others from a core.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # read when torch is loaded
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 # else what takes longest comes last
gc.disable()  # until all is loaded: a quarter of that was looking for garbage among what stays

import pytest
import torch
from _pytest.nodeid import coerce_node_id

from supcon.config import Config, override
from supcon.images.loading import load_splits
from supcon.images.split import Splits

if TYPE_CHECKING:
    from supcon.evaluation.trained import Trained
    from supcon.train import Record
    from tests.bundled import Used

TINY = {
    "data.image_size": 16,
    "data.val_size": 0.2,
    "data.train_size": 200,
    "data.batch_size": 32,
    "model.backbone": "test_resnet",
    "model.stem": "full",
    "average.bn_images": 256,
    "probe.l2": [0.1, 0.001],
    "probe.max_iter": 30,
    "run.epochs": 3,
    "run.threads": 1,
    "run.device": "cpu",
    "run.checkpoint_minutes": 0,
}


WHOLE = "tests/whole/"
# Fixtures that take long to make, and where: all tests that use one run in the same process.
SHARED = dict.fromkeys(("whole", "running", "nodes"), WHOLE) | {"imported": "tests/training/"}
# What takes longest, by its group: it starts first, or one process would end long after the others.
LONGEST = (
    "whole",
    "test_a_cluster_that_loses_and_gets_nodes_loses_and_repeats_no_trial",
    "test_a_search_that_is_killed_and_resumed_has_the_log_of_one_without_ray",
    "test_a_job_goes_back_into_the_queue_and_ends_with_a_verdict",
    "nodes",
    "test_every_command_of_the_page_runs_and_predictions_are_those_that_were_confirmed",
    "running",
    "test_signals_to_every_process_of_a_job_lose_nothing",
    "test_ctrl_c_in_a_terminal_stops_cleanly_with_a_report_and_can_be_resumed",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """For several processes: what runs in one of them, and what takes long first.

    The tests of a file share its fixtures and go to one process, but slow ones go each by itself,
    so that one search trains while another waits for Ray. Whole searches come first, files of few
    tests last: they level.
    pytest-xdist takes the group from the end of a name. That it would write there itself, of the
    mark `xdist_group`, gets lost in pytest 9.2.
    """
    if not hasattr(config, "workerinput"):  # a process by itself
        return
    sizes = Counter(item.location[0] for item in items)

    def late(item: pytest.Item) -> tuple[bool, int, bool, int]:
        file, group = item.location[0], group_of(item)
        place = LONGEST.index(group) if group in LONGEST else len(LONGEST)
        return not is_slow(item), place, not file.startswith(WHOLE), -sizes[file]

    items.sort(key=late)
    for item in items:
        group = re.sub(r"[^a-zA-Z0-9_]", "", group_of(item))
        item._id = coerce_node_id(f"{item.nodeid}@{group}")


def is_slow(item: pytest.Item) -> bool:
    return item.get_closest_marker("slow") is not None


def group_of(item: pytest.Item) -> str:
    """What runs in one process."""
    file, fixtures = item.location[0], getattr(item, "fixturenames", ())
    shared = [name for name, room in SHARED.items() if name in fixtures and file.startswith(room)]
    return shared[0] if shared else item.name if is_slow(item) else Path(file).stem


def pytest_collection_finish() -> None:
    """Modules and tests are never looked at again: a whole collection takes 7 ms and not 0.4 s."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_disks() -> Iterator[None]:
    """Most of the time of an event is that of its fsync; no log here need outlive the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is left in the cache folder of who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny() -> Config:
    return override(Config(), TINY)


@pytest.fixture(scope="session")
def digits(tiny: Config) -> Splits:
    return load_splits(tiny.data)


@pytest.fixture(scope="session")
def trained_run(tiny: Config, digits: Splits) -> list[Record]:
    """The records of SupCon on digits, the last with its result: to be looked at, not changed."""
    from supcon.train import fit  # loads timm, which most tests of the search do without

    return list(fit(tiny, digits))


@pytest.fixture(scope="session")
def trained(trained_run: list[Record]) -> Trained:
    """The result of `trained_run`: to be looked at, not changed."""
    result = trained_run[-1].trained
    assert result is not None
    return result


@pytest.fixture(scope="session")
def models(tiny: Config, digits: Splits) -> dict[str, Trained]:
    """Loss -> what an epoch makes of it: to be looked at, not changed."""
    from supcon.train import fit

    found = {}
    for loss in ("supcon", "ce"):
        (record,) = fit(override(tiny, {"loss.name": loss, "run.epochs": 1}), digits)
        assert record.trained is not None
        found[loss] = record.trained
    return found


@pytest.fixture(scope="session")
def digit_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/ and test/ with a folder for each digit, and others/ with those of 3 and 7."""
    from tests.intake.digit_files import write_digits

    root = tmp_path_factory.mktemp("digits")
    write_digits(root, but=("3", "7"))
    return root


@pytest.fixture(scope="session")
def contrastive(tiny: Config, digit_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Used:
    """A bundle of SupCon."""
    from tests.bundled import used

    return used(tiny, tmp_path_factory.mktemp("supcon") / "model", digit_images, "supcon")


@pytest.fixture(scope="session")
def plain(tiny: Config, digit_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Used:
    """One of cross entropy."""
    from tests.bundled import used

    return used(tiny, tmp_path_factory.mktemp("ce") / "model", digit_images, "ce")


@pytest.fixture
def own(contrastive: Used, tmp_path: Path) -> Used:
    """A copy of the first that may be changed."""
    folder = tmp_path / "model"
    shutil.copytree(contrastive.folder, folder)
    return replace(contrastive, folder=folder, images=tmp_path)
