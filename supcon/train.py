"""The two-stage recipe (arXiv:2004.11362): `fit` trains the encoder, evaluation trains the probe.

Stage one trains encoder and head with SupCon or cross entropy. Stage two freezes the encoder, drops
the head and trains a linear classifier; it runs at every evaluated epoch, since it is what scores
an encoder. Randomness of an epoch is a function of (run.seed, epoch) alone, so evaluation, stopping
and resuming leave no trace in the numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from supcon.config import TOP1, Config, flatten, override
from supcon.evaluation.scores import NonFinite, score
from supcon.evaluation.trained import Trained
from supcon.images.batches import Batches
from supcon.images.loading import check_batch_size
from supcon.images.split import Splits
from supcon.machine import cores
from supcon.network.device import compiled, pick_device, precision_tools, settled_precision
from supcon.network.models import Network, network_for
from supcon.parsing import UserError
from supcon.recipe.averaging import Averages
from supcon.recipe.checkpoint import Checkpoints, check_same_config, load_state, save_atomic
from supcon.recipe.cuda_graph import graphed
from supcon.recipe.loss_share import loss_range, loss_share
from supcon.recipe.objective import objective
from supcon.recipe.optim import build_optimizer, lr_factor, set_lr
from supcon.recipe.recomputation import in_micro_batches, unchanged_buffers
from supcon.seeds import derive_seed


class Diverged(Exception):
    """The loss or the features became non-finite; more epochs would change nothing."""


@dataclass(frozen=True)
class Record:
    """What is known after an epoch."""

    epoch: int
    metrics: dict[str, float]
    """train/loss, train/lr and, see `supcon.recipe.loss_share`, train/loss_share; on evaluated
    epochs those of `supcon.evaluation.scores.Scores`, and at the end val/probe_top1_raw, _ema and
    _swa, or of what else selects."""
    views: int
    """Views trained on since the start."""
    seconds: float = field(compare=False)
    """Time spent training since the start, without evaluation."""
    is_last: bool = False
    """Whether it is the run's last record."""
    trained: Trained | None = field(default=None, compare=False, repr=False)
    """On evaluated epochs: the weights that were scored. At the last epoch: the result."""
    evaluation_seconds: float = field(default=0, compare=False)
    """Time that this process has spent on evaluation."""
    first_step: float | None = field(default=None, compare=False)
    """When this process began its first step, in seconds since 1970."""
    checkpoint_seconds: float = field(default=0, compare=False)
    """Time for which training in this process has waited for checkpoints."""

    @property
    def is_evaluated(self) -> bool:
        """Whether there are scores on val."""
        return TOP1 in self.metrics


def fit(config: Config, data: Splits, checkpoint: Path | None = None) -> Iterator[Record]:
    """Train, and yield a record after every epoch; ask for no more records to stop.

    Args:
        config: the complete config.
        data: train and val.
        checkpoint: a file that the run keeps its state in. If it exists, the run goes on from
            there: it yields the record of the checkpoint's epoch again, and then those an
            uninterrupted run would have yielded.

    Raises:
        Diverged: the loss became non-finite.
        UserError: the config does not fit the data, or the checkpoint is of another config.
    """
    run = Run(config, data)
    if checkpoint is not None and checkpoint.exists():
        run.load(checkpoint)
        yield run.record()
    elif config.run.epochs == 0:
        yield run.record()
    with Checkpoints(checkpoint, config.run.checkpoint_minutes) as checkpoints:
        while run.epoch < config.run.epochs:
            run.train_epoch()
            checkpoints.offer(run.state_dict, at_once=run.is_evaluation_due())
            record = run.record()
            if record.is_evaluated:  # it may be acted upon
                checkpoints.wait()
            yield replace(record, checkpoint_seconds=checkpoints.seconds)


class Run:
    """The state of a training run between two epochs, and the two things to do with it."""

    def __init__(self, config: Config, data: Splits) -> None:
        """A run that has not begun: epoch 0, fresh weights.

        Raises:
            UserError: the config does not fit the data, or this machine.
        """
        check_batch_size(config.data.batch_size, len(data.train))
        # torch's choice counts the cores that it may run on, and knows no quota.
        torch.set_num_threads(config.run.threads or min(torch.get_num_threads(), cores()))
        self.device, self.data = pick_device(config.run.device), data
        self.config, self.is_precision_open = config, config.run.precision == "auto"
        self._compute_in(settled_precision(config.run.precision, self.device))
        torch.backends.cudnn.allow_tf32 = config.run.tf32
        self.steps_per_epoch = len(data.train) // config.data.batch_size
        torch.manual_seed(derive_seed(config.run.seed, "weights"))
        self.network = network_for(config, data).to(self.device)
        self.batches = Batches(config, data.train, len(data.classes), self.device)
        self.forward = self._make_forward()
        counts = np.bincount(data.train.labels, minlength=len(data.classes))
        self.loss = objective(config, torch.tensor(counts / counts.sum()).to(self.device))
        self.loss_range = loss_range(config, counts.tolist())
        self.optimizer = build_optimizer(self.network, config.optim, config.data.batch_size)
        self.peak_lr: float = self.optimizer.param_groups[0]["lr"]
        self.averages = Averages(self.network, config.average, self.steps_per_epoch)
        self.epoch, self.steps = 0, 0
        self.seconds, self.metrics = 0.0, dict[str, float]()
        self.evaluation_seconds = 0.0
        self.first_step: float | None = None

    def _compute_in(self, precision: str) -> None:
        self.config = override(self.config, {"run.precision": precision})
        self.autocast, self.scaler = precision_tools(precision, self.device)

    def _make_forward(self) -> Callable[[Tensor], Tensor]:
        """The network as a step calls it."""
        config = self.config.run
        if config.cuda_graph and self.device.type == "cuda":
            return graphed(self.network.train(), self.batches.blank(), self.autocast)
        forward = compiled(self.network) if config.compile else self.network
        is_cut = config.memory == "cached"
        return in_micro_batches(forward, config.micro_batch) if is_cut else forward

    def train_epoch(self) -> None:
        """One pass over the training images in augmented views."""
        started = time.perf_counter()
        self.epoch += 1
        torch.manual_seed(derive_seed(self.config.run.seed, "dropout", self.epoch))
        self._set_training()
        losses = []
        name = f"epoch {self.epoch}"
        for images, labels in tqdm(self.loader(self.epoch), name, leave=False, disable=None):
            self.first_step = self.first_step or time.time()
            lr = set_lr(self.optimizer, self.peak_lr, self._lr_factor())
            losses.append(self.step(images, labels))
        self.averages.after_epoch(self.network, self.epoch / self.config.run.epochs)
        loss = self._mean_finite(torch.stack(losses))
        self.metrics = {"train/loss": loss, "train/lr": lr} | loss_share(self.loss_range, loss)
        self.seconds += time.perf_counter() - started

    def _set_training(self) -> None:
        """The network as this epoch trains it; a frozen encoder's BatchNorm stays as it is, too."""
        is_frozen = self.epoch <= self.config.optim.freeze_epochs
        self.network.train()
        self.network.encoder.train(not is_frozen).requires_grad_(not is_frozen)

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One step of optimiser and EMA on a batch of views; its loss."""
        with self.autocast():
            outputs = self.forward(images)
        loss = self.loss(outputs, labels)
        self._take_step(loss)
        self.steps += 1
        self.averages.after_step(self.network)
        return loss.detach()

    def _lr_factor(self) -> float:
        """The schedule at the middle of the coming step."""
        optim = self.config.optim
        progress = (self.steps + 0.5) / (self.config.run.epochs * self.steps_per_epoch)
        return lr_factor(progress, schedule=optim.schedule, warmup=optim.warmup, decay=optim.decay)

    def _take_step(self, loss: Tensor) -> None:
        """Change the weights, unless fp16's scaled gradients overflowed, as the first few do.

        Such a step counts as one: to leave it out of the schedule, the CPU had to wait for it.
        """
        with unchanged_buffers(self.network) if self.config.run.recomputes else nullcontext():
            self.scaler.scale(loss).backward()
        if (clip_norm := self.config.optim.clip_norm) is not None:
            self.scaler.unscale_(self.optimizer)  # the norm is that of the true gradient
            clip_grad_norm_(self.network.parameters(), clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()

    def record(self) -> Record:
        """The record of the current epoch, evaluated if its turn has come."""
        started = time.perf_counter()
        trained = self.evaluate() if self.is_evaluation_due() else None
        self.evaluation_seconds += time.perf_counter() - started
        metrics = self.metrics | (trained.metrics if trained is not None else {})
        views = self.epoch * self.steps_per_epoch * self.config.data.batch_size
        views *= self.config.augment.views
        known = self.epoch, metrics, views, self.seconds, self.is_last, trained
        return Record(*known, self.evaluation_seconds, self.first_step)

    @property
    def is_last(self) -> bool:
        """Whether the current epoch is the last one."""
        return self.epoch == self.config.run.epochs

    def evaluate(self) -> Trained:
        """The EMA weights and their scores on val; at the end the best of raw, EMA and SWA."""
        choose_from = self.averages.final if self.is_last else self.averages.running
        # Evaluation may draw random numbers (dropout while BatchNorm is re-estimated); training
        # must not see that it happened.
        devices = [torch.cuda.current_device()] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            networks = choose_from(self.network)
            scored = {name: self._score(net, name) for name, net in networks.items()}
        metric = self.config.selection_metric
        found = {name: trained.metrics[metric] for name, trained in scored.items()}
        best = scored[max(found, key=lambda name: found[name])]
        if self.is_last:
            for name, score_of_it in found.items():
                best.metrics[f"{metric}_{name}"] = score_of_it
        return best

    def result(self, weights: str) -> Trained:
        """Those of the final weights (raw, ema or swa) that were chosen elsewhere."""
        return self._score(self.averages.final(self.network)[weights], weights)

    def _score(self, network: nn.Module, weights: str) -> Trained:
        assert isinstance(network, Network)
        try:
            scores = score(network, self.config, self.data, self.device)
        except NonFinite:
            raise Diverged(f"non-finite features after epoch {self.epoch}") from None
        precision = self.config.run.precision
        return Trained(network, scores.probe, weights, self.epoch, scores.metrics, precision)

    def loader(self, epoch: int) -> Iterable[tuple[Tensor, Tensor]]:
        """The batches of an epoch: (V * B, C, H, W) views and their labels, on device."""
        return self.batches.epoch(derive_seed(self.config.run.seed, "order", epoch))

    def _mean_finite(self, losses: Tensor) -> float:
        """The epoch's mean loss; looked at once an epoch, so that steps need not wait for it."""
        if not losses.isfinite().all():
            step = int(losses.isfinite().logical_not().nonzero()[0])
            raise Diverged(f"non-finite loss in epoch {self.epoch}, step {step + 1}")
        return losses.mean().item()

    def is_evaluation_due(self) -> bool:
        """Whether the current epoch is one to evaluate; the last one always is."""
        run = self.config.run
        is_in_turn = run.eval_every > 0 and self.epoch % run.eval_every == 0
        return is_in_turn or self.epoch in run.eval_at or self.epoch == run.epochs

    def state_dict(self) -> dict[str, Any]:
        """Everything that the remaining epochs depend on."""
        return {
            "config": flatten(self.config),
            "epoch": self.epoch,
            "steps": self.steps,
            "seconds": self.seconds,
            "metrics": self.metrics,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "averages": self.averages.state_dict(),
        }

    def save(self, path: Path) -> None:
        """Write it."""
        save_atomic(self.state_dict(), path)

    def load(self, path: Path) -> None:
        """Go back to what `save` wrote.

        Raises:
            UserError: the file is damaged, or of a run with another config.
        """
        try:
            state = load_state(path)
        except UserError as error:
            raise UserError(f"{error}; remove its folder to start anew") from error
        precision = state["config"]["run.precision"]  # what auto was where the run began
        if self.is_precision_open and precision != self.config.run.precision:
            self._compute_in(precision)
            self.forward = self._make_forward()
        check_same_config(state["config"], flatten(self.config), path)
        self.epoch, self.steps = state["epoch"], state["steps"]
        self.seconds, self.metrics = state["seconds"], state["metrics"]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.averages.load_state_dict(state["averages"])
