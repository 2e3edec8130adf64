"""One trial: a config and `fit`, as a Ray Trainable that can be reused for the next trial.

Nothing of one trial outlives it in the actor: `fit` seeds everything it uses, and this class holds
the generator and the log of the current trial only.
"""

from __future__ import annotations

import gc
import traceback
from collections.abc import Iterator
from typing import Any

from supcon.imports import that_last

with that_last():
    import torch
    from ray import tune

    from supcon.train import Diverged, Record, fit

from search.engine.actor_label import ActorRow
from search.log.events import FINAL
from search.log.folder import StudyFolder
from search.preflight.packing import CONTEXT
from supcon.config import Config, is_used
from supcon.evaluation.trained import save_trained
from supcon.images.split import Splits
from supcon.network.device import check_gpu
from supcon.parsing import UserError, one_line
from supcon.runlog import RunLog

# How torch and its libraries say it, on the CPU and on GPUs; torch.OutOfMemoryError says it too.
# cuDNN finds no way to convolve where none has room for its workspace.
OUT_OF_MEMORY = (
    *("can't allocate memory", "Cannot allocate memory", "out of memory", "ALLOC_FAILED"),
    *("unable to find an engine", "Unable to find a valid cuDNN algorithm"),
)

# What leaves a process whose every further call to the GPU fails; older versions of torch, and its
# compiler, have no type for it.
LOST_GPU = ("CUDA error", "CUDA driver error", "[CUDA]", "EXECUTION_FAILED")


class LostGpu(OSError):
    """The GPU failed this process, for good: another process may do better."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether there was too little memory, of the machine or of a GPU, in whoever's words."""
    return isinstance(error, MemoryError) or any(hint in str(error) for hint in OUT_OF_MEMORY)


def has_lost_gpu(error: Exception) -> bool:
    """Whether this process can compute no more on its GPU: illegal access, ECC, an assertion."""
    hints = any(hint in str(error) for hint in LOST_GPU)
    return isinstance(error, torch.AcceleratorError) or (isinstance(error, RuntimeError) and hints)


def peak_memory() -> int | None:
    """Bytes of a GPU that this process has had reserved at most; None while it uses none."""
    return torch.cuda.max_memory_reserved() if torch.cuda.is_initialized() else None


def cap_memory(part: float) -> None:
    """Let this process reserve its part of its GPU's memory and no more.

    Ray counts shares and enforces none: a trial that takes more would make its neighbours run out
    of memory. Under the cap, it runs out itself.

    Args:
        part: of all memory; 1 is no limit.
    """
    total = torch.cuda.get_device_properties(0).total_memory
    own = part - CONTEXT / total if part < 1 else 1.0
    if own <= 0:
        raise UserError(
            f"resources.gpu: {part:.3g} of this GPU's {total / 2**30:.1f} GiB leave nothing beside "
            f"what CUDA itself takes; give more (--gpus-per-trial)"
        )
    torch.cuda.set_per_process_memory_fraction(own)


class SupConTrial(tune.Trainable):
    """Advances `fit` to the next evaluated record in each step."""

    def setup(self, config: dict[str, Any], data: Splits, study: StudyFolder) -> None:
        """Called by Ray once an actor, with the first trial."""
        self.data, self.study, self.row = data, study, ActorRow()
        gc.collect()
        gc.freeze()  # what the imports made stays: a trial's collection takes 7 ms and not 0.24 s
        self._start(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Called by Ray when the actor takes its next trial."""
        self.cleanup()
        self._start(new_config)
        return True

    def _start(self, trial: dict[str, Any]) -> None:
        self.has_lost_gpu = False
        self.name, self.phase = trial["name"], trial["phase"]
        self.training = Config.model_validate_json(trial["config"])
        self.folder = self.study.trial(self.name)
        self.log = RunLog(self.training, self.folder, self.study.tensorboard / self.name)
        self.records: Iterator[Record] = self._train(trial["gpu"], trial["gpu_memory"])
        self.epoch = 0
        self.row.show(repr(self), at_once=True)

    def _train(self, gpu: float, memory: float) -> Iterator[Record]:
        """What `fit` yields, on the share of a GPU, and of its memory, that the trial was given."""
        if gpu > 0:
            check_gpu()
            cap_memory(memory)
            torch.cuda.reset_peak_memory_stats()
        yield from fit(self.training, self.data, self.study.checkpoint(self.name))

    def step(self) -> dict[str, Any]:
        """The next evaluated record as a result for Ray; `done` with an outcome when it is over."""
        result = self._step()
        if result["done"]:
            self._free()  # Ray may keep this process idle, beside trials that need the memory
        return result

    def _step(self) -> dict[str, Any]:
        try:
            return self._report(self._next_evaluated())
        except Diverged as error:
            return self._over("diverged", str(error))
        except Exception as error:
            if is_out_of_memory(error):
                return self._over("infeasible", one_line(error))
            if isinstance(error, OSError):  # a disk, a network: it goes on in another process
                raise
            if has_lost_gpu(error):  # so does this, and Ray ends this process with it
                self.has_lost_gpu = True
                raise LostGpu(one_line(error)) from error
            trace = "".join(traceback.format_exception(error))
            (self.folder / "error.txt").write_text(trace, encoding="utf-8")
            return self._over("failed", f"{type(error).__name__}: {one_line(error)}")

    def _next_evaluated(self) -> Record:
        for record in self.records:
            self.epoch = record.epoch
            self.row.show(repr(self))
            self.log.write(record)
            if record.is_evaluated:
                return record
        raise RuntimeError("asked for a record after the last one")

    def _report(self, record: Record) -> dict[str, Any]:
        if record.is_last and record.trained is not None and self.phase in FINAL:
            save_trained(record.trained, self.training, self.data, self.study.model(self.name))
        return {  # metrics as pairs: Ray would flatten a dict into its own keys
            "epoch": record.epoch,
            "metrics": list(record.metrics.items()),
            "views": record.views,
            "seconds": record.seconds,
            "evaluation_seconds": record.evaluation_seconds,
            "first_step": record.first_step,
            "checkpoint_seconds": record.checkpoint_seconds,
            "memory": peak_memory(),
            "done": record.is_last,
            "outcome": "completed" if record.is_last else "",
        }

    def _over(self, outcome: str, detail: str) -> dict[str, Any]:
        return {"epoch": self.epoch, "done": True, "outcome": outcome, "detail": detail}

    def cleanup(self) -> None:
        """Close this trial's files and free its memory."""
        self.log.close()
        self._free()

    def _free(self) -> None:
        self.records = iter(())
        gc.collect()
        if torch.cuda.is_initialized() and not self.has_lost_gpu:
            torch.cuda.empty_cache()  # a reused actor would sit on memory that its neighbours need

    def __repr__(self) -> str:
        """What Ray's dashboard and logs show: `supcon-12 resnet18 τ=0.1 epoch 7/200`."""
        parts = [self.name, self.training.model.backbone]
        if is_used("loss.temperature", self.training):
            parts.append(f"τ={self.training.loss.temperature:.3g}")
        return " ".join([*parts, f"epoch {self.epoch}/{self.training.run.epochs}"])
