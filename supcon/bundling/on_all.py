"""A configuration trained once more, on train and val together: more images, and no score.

What val decided stays as it was decided: the weights (raw, EMA or SWA) and the probe's penalty.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from supcon.config import Config, override
from supcon.evaluation.trained import Trained
from supcon.images.files import ImageFiles
from supcon.images.split import Split, Splits
from supcon.recipe.checkpoint import Checkpoints
from supcon.train import Run


def together(data: Splits) -> Split:
    """Train and val as one."""
    parts = [data.train, data.val]
    groups = [part.groups for part in parts if part.groups is not None]
    return Split(
        _images(data),
        np.concatenate([part.labels for part in parts]),
        np.concatenate(groups) if len(groups) == len(parts) else None,
    )


def train_on_all(
    trained: Trained, config: Config, data: Splits, checkpoint: Path, tell: Callable[[Run], None]
) -> Trained:
    """Train and fit the probe on all of train and val.

    Args:
        trained: the result of the same configuration on train, validated on val.
        config: its config.
        data: train and val.
        checkpoint: what an interrupted run goes on from; removed at the end.
        tell: is told of each epoch.

    Returns:
        The result, without scores.

    Raises:
        Diverged: the loss became non-finite.
        UserError: the checkpoint is of another configuration, or damaged.
    """
    changes: dict[str, object] = {"run.precision": trained.precision}
    if config.probe.method == "lbfgs":
        changes["probe.l2"] = [float(trained.probe.candidate)]
    run = Run(override(config, changes, "--on all"), replace(data, train=together(data)))
    if checkpoint.exists():
        run.load(checkpoint)
    with Checkpoints(checkpoint, config.run.checkpoint_minutes) as checkpoints:
        while not run.is_last:
            run.train_epoch()
            checkpoints.offer(run.state_dict, at_once=False)
            tell(run)
    found = run.result(trained.weights)
    checkpoint.unlink(missing_ok=True)
    return replace(found, metrics={})


def _images(data: Splits) -> ImageFiles | np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    train, val = data.train.images, data.val.images
    if not isinstance(train, ImageFiles) or not isinstance(val, ImageFiles):
        return np.concatenate([train[:], val[:]])
    names = [os.fsencode(path.relative_to("/")) for part in (train, val) for path in part.paths()]
    return ImageFiles(Path("/"), np.array(names, dtype=np.bytes_), train.reading, train.reader)
