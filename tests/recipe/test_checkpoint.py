"""Files of tensors: written whole or not at all, read without running code."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from supcon.config import Config, flatten, override
from supcon.evaluation.trained import load_trained
from supcon.images.split import Splits
from supcon.parsing import UserError
from supcon.recipe.checkpoint import Checkpoints, check_same_config, load_state, save_atomic
from supcon.train import fit

STATE = {
    "config": flatten(Config()),
    "epoch": 3,
    "metrics": {"train/loss": 0.5},
    "weights": torch.arange(5000.0),
    "ema": None,
}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save_atomic(STATE, tmp_path / "last.pt")
    loaded = load_state(tmp_path / "last.pt")
    assert torch.equal(loaded.pop("weights"), torch.arange(5000.0))
    assert loaded == {key: value for key, value in STATE.items() if key != "weights"}
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_a_write_that_fails_half_way_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.pt"
    save_atomic(STATE, path)

    def disk_full(fd: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="no space"):
        save_atomic(STATE | {"epoch": 4}, path)
    assert load_state(path)["epoch"] == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, as Linux has it")
def test_a_full_disk_is_an_error_of_the_disk_as_others_are(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_atomic(STATE, path)
    (tmp_path / "last.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"last\.partial: cannot be written|No space left"):
        save_atomic(STATE | {"epoch": 4}, path)
    assert load_state(path)["epoch"] == 3


def test_saving_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(b"half a checkpoint")
    (tmp_path / "last.partial").write_bytes(b"what a killed run left")
    save_atomic(STATE, path)
    assert load_state(path)["epoch"] == 3


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, share: float) -> None:
    path = tmp_path / "last.pt"
    save_atomic(STATE, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError) as error:
        load_state(path)
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{path}: damaged, or no file of this program (")


@pytest.mark.parametrize("where", [0.3, 0.5, 0.7])
def test_a_file_with_a_wrong_byte_is_refused_by_name(tmp_path: Path, where: float) -> None:
    path = tmp_path / "last.pt"
    save_atomic(STATE, path)
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"last\.pt: damaged, or no file of this program \("):
        load_state(path)


@pytest.mark.parametrize("content", [b"half", b"not a checkpoint", b"\x80\x02)R.", bytes(1000)])
def test_a_file_of_something_else_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"last\.pt: damaged, or no file of this program \("):
        load_state(path)


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": torch.ones(3)}])
def test_a_file_of_another_program_is_refused_by_name(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "last.pt")
    with pytest.raises(UserError, match=r"last\.pt: was not written by this program"):
        load_state(tmp_path / "last.pt")


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"last\.pt: there is no such file$"):
        load_state(tmp_path / "last.pt")


class Intruder:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)

    def __init__(self, path: Path) -> None:
        self.path = path


def save_old(state: object, path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


def save_plain(state: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(state))


@pytest.mark.parametrize("save", [torch.save, save_old, save_plain])
def test_loading_runs_no_code_from_the_file(
    tmp_path: Path, save: Callable[[object, Path], None]
) -> None:
    save({"config": Intruder(tmp_path / "was_here")}, tmp_path / "last.pt")
    with pytest.raises(UserError, match=r"last\.pt: damaged, or no file of this program \("):
        load_state(tmp_path / "last.pt")
    assert not (tmp_path / "was_here").exists()


@pytest.mark.parametrize("name", ["last.pt", "model.pt"])
def test_a_run_with_a_malicious_file_is_refused_without_running_it(
    tmp_path: Path, tiny: Config, digits: Splits, name: str
) -> None:
    torch.save({"config": {}, "network": Intruder(tmp_path / "was_here")}, tmp_path / name)

    def use() -> None:
        if name == "last.pt":
            next(fit(tiny, digits, tmp_path / name))
        else:
            load_trained(tmp_path / name, torch.device("cpu"))

    with pytest.raises(UserError, match="damaged, or no file of this program"):
        use()
    assert not (tmp_path / "was_here").exists()


def test_nothing_of_ours_unpickles_what_it_finds_in_a_file() -> None:
    loads = re.compile(r"(pickle|marshal|joblib|shelve|dill)\.(load|open)|allow_pickle|torch\.load")
    lines = [
        line
        for folder in ("supcon", "search")
        for file in (Path(__file__).parents[2] / folder).rglob("*.py")
        for line in file.read_text().splitlines()
        if loads.search(line) and "allow_pickle=False" not in line
    ]
    assert len(lines) == 1
    assert "weights_only=True" in lines[0]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"run.epochs": 7}, "run.epochs = 100, not 7"),
        ({"loss.temperature": 0.3}, "loss.temperature = 0.1, not 0.3"),
        ({"run.eval_at": [1, 2]}, "run.eval_at = [], not [1, 2]"),
        ({"augment.flip": 0.5}, "augment.flip = None, not 0.5"),
    ],
)
def test_a_checkpoint_of_another_config_names_the_difference(
    changes: dict[str, object], named: str
) -> None:
    current = override(Config(), changes)
    with pytest.raises(UserError) as error:
        check_same_config(flatten(Config()), flatten(current), Path("x/last.pt"))
    assert str(error.value).startswith(f"x/last.pt: is of a run with {named}; use another output")


def test_a_checkpoint_of_a_version_with_other_keys_names_the_key() -> None:
    older = {key: value for key, value in flatten(Config()).items() if key != "model.stem"}
    with pytest.raises(UserError, match=r"model\.stem = None, not auto"):
        check_same_config(older, flatten(Config()), Path("last.pt"))


def test_a_checkpoint_fits_a_config_that_differs_in_nothing_that_counts(tmp_path: Path) -> None:
    changes = {"data.root": "/elsewhere", "data.workers": 4, "run.checkpoint_minutes": 9}
    moved = flatten(override(Config(), changes))
    save_atomic({"config": flatten(Config())}, tmp_path / "last.pt")
    saved = load_state(tmp_path / "last.pt")["config"]
    assert saved["data.root"] != moved["data.root"]
    check_same_config(saved, moved, Path("last.pt"))


def test_a_state_is_written_as_it_was_while_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write, weights = threading.Event(), torch.zeros(5)
    fsync = os.fsync
    state = {"config": {}, "nested": {"list": [weights, ("text", weights)]}}
    with Checkpoints(tmp_path / "last.pt", minutes=60) as checkpoints:
        checkpoints.offer(lambda: state, at_once=True)
        weights += 1
        monkeypatch.setattr(os, "fsync", lambda fd: (may_write.wait(10), fsync(fd)))
        checkpoints.offer(lambda: state, at_once=True)
        weights += 1
        assert load_state(tmp_path / "last.pt")["nested"]["list"][0].tolist() == [0] * 5
        may_write.set()
    first, (_, second) = load_state(tmp_path / "last.pt")["nested"]["list"]
    assert first.tolist() == second.tolist() == [1] * 5


@pytest.mark.parametrize(("minutes", "n"), [(0.0, 3), (60.0, 1)])
def test_a_state_is_asked_for_when_it_is_time(tmp_path: Path, minutes: float, n: int) -> None:
    asked = []

    def state() -> dict[str, Any]:
        asked.append(1)
        return STATE

    with Checkpoints(tmp_path / "last.pt", minutes) as checkpoints:
        for _ in range(3):
            checkpoints.offer(state, at_once=False)
        assert len(asked) == n
        checkpoints.offer(state, at_once=True)
        checkpoints.wait()
        assert load_state(tmp_path / "last.pt")["epoch"] == 3
        assert checkpoints.seconds > 0
    with Checkpoints(None, minutes) as nowhere:
        nowhere.offer(state, at_once=True)
    assert len(asked) == n + 1


@pytest.mark.parametrize(
    "then",
    [
        lambda checkpoints: checkpoints.wait(),
        lambda checkpoints: checkpoints.offer(lambda: STATE, at_once=True),
        lambda checkpoints: checkpoints.__exit__(),
    ],
    ids=["wait", "offer", "end"],
)
def test_what_the_thread_could_not_write_is_an_error_of_training(
    tmp_path: Path, then: Callable[[Checkpoints], None]
) -> None:
    (tmp_path / "folder").mkdir()
    checkpoints = Checkpoints(tmp_path / "folder" / "last.pt", minutes=0)
    checkpoints.offer(lambda: STATE, at_once=True)
    shutil.rmtree(tmp_path / "folder")
    checkpoints.offer(lambda: STATE, at_once=True)
    with pytest.raises(OSError, match="folder/last"):
        then(checkpoints)


def test_a_gpu_that_fails_while_a_file_is_read_is_no_damage_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    save_atomic(STATE, tmp_path / "last.pt")
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(torch.AcceleratorError, match="illegal memory access"):
        load_state(tmp_path / "last.pt")
