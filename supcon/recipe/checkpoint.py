"""Files of tensors and plain values: written atomically, read without unpickling code.

A run continues from one of them, under the config that it began with.
"""

from __future__ import annotations

import math
import os
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from supcon.parsing import UserError, one_line

WITHOUT_EFFECT = {"data.root", "data.workers", "run.checkpoint_minutes", "run.checkpoint_every"}
"""What may differ between a run and its continuation, since no number depends on it; the last one
is an earlier version's."""


class Checkpoints:
    """Keeps a run's state in a file, written by a thread while training goes on."""

    def __init__(self, path: Path | None, minutes: float) -> None:
        """The state is written to `path`, if not None, every so many `minutes`."""
        self.path, self.minutes = path, minutes
        self.seconds = 0.0
        """Time that training has waited."""
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None
        self._due = -math.inf

    def offer(self, state: Callable[[], dict[str, Any]], *, at_once: bool) -> None:
        """Begin to write what `state` gives, if it is time, or `at_once`.

        The first one is waited for: from then on the run can be continued.

        Raises:
            OSError: what was begun before could not be written.
        """
        if self.path is None:
            return
        if not at_once and time.monotonic() < self._due:
            return
        self.wait()
        started, is_first = time.perf_counter(), self._due == -math.inf
        self._due = time.monotonic() + 60 * self.minutes
        copied, uses_gpu = _copied(state()), torch.cuda.is_initialized()
        arrived = torch.cuda.current_stream().record_event() if uses_gpu else None
        self._writing = self._thread.submit(_write, copied, arrived, self.path)
        self.seconds += time.perf_counter() - started
        if is_first:
            self.wait()

    def wait(self) -> None:
        """Until what was begun is on the disk.

        Raises:
            OSError: it cannot be written.
        """
        if self._writing is not None:
            started, writing = time.perf_counter(), self._writing
            self._writing = None
            writing.result()
            self.seconds += time.perf_counter() - started

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()  # ends what it has begun
        self.wait()


def _copied(value: Any) -> Any:
    """What training does not change; tensors of a GPU are on their way to pinned memory."""
    if isinstance(value, Tensor):
        copied = torch.empty_like(value, device="cpu", pin_memory=value.is_cuda)
        return copied.copy_(value.detach(), non_blocking=True)
    if isinstance(value, dict):
        return type(value)((key, _copied(each)) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return type(value)(_copied(each) for each in value)
    return value


def _write(state: dict[str, Any], arrived: torch.cuda.Event | None, path: Path) -> None:
    if arrived is not None:
        arrived.synchronize()
    save_atomic(state, path)


def save_atomic(state: dict[str, Any], path: Path) -> None:
    """Write `state` so that `path` holds either the old or the new content, never half of it.

    Args:
        state: tensors and plain values; `load_state` asks for a key `config`.
        path: the file; beside it there is one with the suffix .partial meanwhile.

    Raises:
        OSError: it cannot be written.
    """
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            if "inline_container" not in str(error):
                raise
            # How torch says that the file did not take what it wrote.
            raise OSError(f"{partial}: cannot be written ({one_line(error)[:100]})") from error
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load_state(path: Path, device: torch.device | None = None) -> dict[str, Any]:
    """Read what `save_atomic` wrote, its tensors onto `device` (default: the CPU).

    Raises:
        UserError: there is no such file, it is damaged, or another program's.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch itself does not look at the checksums
            if (bad := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"checksum of {bad}")
        state = torch.load(path, map_location=device or "cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except (PermissionError, torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except Exception as error:  # a damaged pickle makes torch raise almost anything
        raise UserError(
            f"{path}: damaged, or no file of this program ({one_line(error)[:100]})"
        ) from error
    if not isinstance(state, dict) or "config" not in state:
        raise UserError(f"{path}: was not written by this program")
    return state


def check_same_config(saved: dict[str, object], current: dict[str, object], path: Path) -> None:
    """Refuse to go on with another config than that of the checkpoint.

    Args:
        saved: of the checkpoint, by dotted key.
        current: of the run, by dotted key.
        path: of the checkpoint; opens the message.

    Raises:
        UserError: it names the first difference that matters.
    """
    for key in sorted((saved.keys() | current.keys()) - WITHOUT_EFFECT):
        if saved.get(key) != current.get(key):
            raise UserError(
                f"{path}: is of a run with {key} = {saved.get(key)}, not {current.get(key)}; use "
                f"another output folder, or that config"
            )
