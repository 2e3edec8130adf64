"""What several commands share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

CPU = torch.device("cpu")

# The weights grow by a factor of 125,000 a step.
EXPLODING = {"optim.lr_per_256": 1000.0, "optim.weight_decay": 1000.0}


from tests.cli.running import run


@pytest.mark.parametrize("command", ["evaluate", "tsne"])
@pytest.mark.parametrize("change", ["data.val_size=0.5", "loss.name=ce", "data.image_size=32"])
def test_what_makes_a_model_cannot_be_changed_afterwards(
    finished: Path, capsys: pytest.CaptureFixture[str], command: str, change: str
) -> None:
    assert run(command, finished, "--set", change) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: --set {change.split('=')[0]}: is part of what the model is")
