"""What a run leaves behind: its config, a line of text for every record, TensorBoard scalars."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter

from supcon.config import Config, dump_config
from supcon.train import Record


class RunLog:
    """Writes `config.yaml` and `log.txt` into `folder`, and event files into `tensorboard`."""

    def __init__(self, config: Config, folder: Path, tensorboard: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(dump_config(config), encoding="utf-8")
        self.text = (folder / "log.txt").open("a", encoding="utf-8")
        self.writer = SummaryWriter(str(tensorboard))
        self.epochs = config.run.epochs

    def write(self, record: Record) -> str:
        """Log a record, and return its line of text."""
        line = describe(record, self.epochs)
        self.text.write(line + "\n")
        self.text.flush()
        for name, value in record.metrics.items():
            self.writer.add_scalar(name, value, record.epoch)
        self.writer.flush()
        return line

    def close(self) -> None:
        """Close the files; writing again is an error."""
        self.text.close()
        self.writer.close()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def describe(record: Record, epochs: int) -> str:
    """A record as a line: `epoch  12/100  loss 2.713  lr 0.191  probe_top1 93.10  ...`."""
    scores = [
        f"{name.removeprefix('val/')} {value:.2%}"
        for name, value in record.metrics.items()
        if name.startswith("val/")
    ]
    return "  ".join(
        [
            f"epoch {record.epoch:3d}/{epochs}",
            f"loss {record.metrics['train/loss']:.4f}",
            f"lr {record.metrics['train/lr']:.2e}",
            *scores,
            f"{record.seconds:.0f} s",
        ]
    )
