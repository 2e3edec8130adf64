"""What a run leaves behind: its config, a line of text for every record, and for TensorBoard
scalars, hyper-parameters and pictures.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TextIO

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from supcon.collapse import PROJECTED, SPREAD, describe_collapse
from supcon.config import Config, dump_config, flatten
from supcon.train import Record


class RunLog:
    """Writes `config.yaml` and `log.txt` into `folder`, and event files into `tensorboard`."""

    def __init__(self, config: Config, folder: Path, tensorboard: Path) -> None:
        """`tensorboard` may be a folder of its own.

        `folder` is made now, the files with the first record: a run that cannot start, or would
        continue another one, leaves none.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.config, self.folder, self.tensorboard = config, folder, tensorboard
        self.files: tuple[TextIO, SummaryWriter] | None = None
        self.logged = 0
        self.evaluated: Record | None = None

    def _open(self) -> tuple[TextIO, SummaryWriter]:
        (self.folder / "config.yaml").write_text(dump_config(self.config), encoding="utf-8")
        text = (self.folder / "log.txt").open("a+", encoding="utf-8")
        text.seek(0)
        self.logged = sum(1 for _ in text)  # a line an epoch
        return text, SummaryWriter(str(self.tensorboard))

    def write(self, record: Record) -> str:
        """Log a record that is not there yet (a resumed run repeats some); return its line."""
        self.files = self.files or self._open()
        text, writer = self.files
        line = describe(record, self.config.run.epochs)
        self.evaluated = record if record.is_evaluated else self.evaluated
        if record.epoch > self.logged:
            self.logged = record.epoch
            text.write(line + "\n")
            text.flush()
            for name, value in record.metrics.items():
                writer.add_scalar(name, value, record.epoch)
            writer.flush()
        return line

    def close(self) -> None:
        """Write hyper-parameters next to the last scores, and close the files."""
        if self.files is None:
            return
        text, writer = self.files
        if self.evaluated is not None:
            metric = self.config.selection_metric
            # TensorBoard's HPARAMS tab shows runs, or a search's trials, side by side.
            writer.add_hparams(
                {key: _plain(value) for key, value in flatten(self.config).items()},
                {f"hparam/{metric}": self.evaluated.metrics[metric]},
                run_name=".",
                global_step=self.evaluated.epoch,
            )
        writer.close()
        text.close()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def add_image(tensorboard: Path, tag: str, image: Path, epoch: int) -> None:
    """Show a picture file in TensorBoard.

    Args:
        tensorboard: the folder of event files.
        tag: what the picture is called there.
        image: the file.
        epoch: after which it was made.
    """
    with SummaryWriter(str(tensorboard)) as writer, Image.open(image) as picture:
        writer.add_image(tag, np.asarray(picture.convert("RGB")), epoch, dataformats="HWC")


def describe(record: Record, epochs: int) -> str:
    """A record as a line: `epoch  12/100  loss 2.7130  lr 1.91e-01  probe_top1 93.10%  ...`.

    Args:
        record: of an epoch; its scores on val are shown if there are any.
        epochs: of the whole run.
    """
    loss = record.metrics.get("train/loss")  # none before the first epoch
    scores = [
        f"{name.removeprefix('val/')} {value:.2%}"
        for name, value in record.metrics.items()
        if name.startswith("val/") and name not in SPREAD + PROJECTED
    ]
    if (rank := record.metrics.get("val/effective_rank")) is not None:
        scores.append(f"effective_rank {rank:.1f}")
    if collapse := describe_collapse(record.metrics):
        scores.append(collapse)
    return "  ".join(
        [
            f"epoch {record.epoch:3d}/{epochs}",
            *([] if loss is None else [f"loss {loss:.4f}", f"lr {record.metrics['train/lr']:.2e}"]),
            *scores,
            f"{record.seconds:.0f} s",
        ]
    )


def _plain(value: object) -> bool | str | float | int:
    """What TensorBoard takes as a hyper-parameter."""
    return value if isinstance(value, bool | str | float | int) else str(value)
