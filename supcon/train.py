"""The two-stage recipe (arXiv:2004.11362): `fit` trains the encoder, evaluation trains the probe.

Stage one trains encoder and head with SupCon or cross entropy. Stage two freezes the encoder, drops
the head and trains a linear classifier; it runs at every evaluated epoch, since it is what scores
an encoder. Randomness of an epoch is a function of (run.seed, epoch) alone, so evaluation, stopping
and resuming leave no trace in the numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from supcon.augment import ViewBatches, load_views, resolve
from supcon.averaging import Averages, reestimate_batchnorm
from supcon.checkpoint import check_same_config, load_state, save_atomic
from supcon.config import SELECTION_METRIC, Config, LossConfig, flatten
from supcon.data import Split, Splits, channel_statistics, check_batch_size
from supcon.device import pick_device, precision_tools
from supcon.evaluate import accuracy, embed, knn_predict
from supcon.losses import cross_entropy, supcon_loss
from supcon.models import Network, build_network
from supcon.optim import build_optimizer, lr_factor, set_lr
from supcon.probe import fit_probe
from supcon.seeds import derive_seed
from supcon.trained import Trained

BN_BATCH = 256  # images a batch when BatchNorm is re-estimated


class Diverged(Exception):
    """The loss or the features became non-finite; more epochs would change nothing."""


@dataclass(frozen=True)
class Record:
    """What is known after an epoch."""

    epoch: int
    metrics: dict[str, float]
    """train/loss, train/lr, and on evaluated epochs val/probe_top1, val/knn_top1, and for cross
    entropy val/head_top1; accuracies in [0, 1]."""
    views: int
    """Views trained on since the start."""
    seconds: float = field(compare=False)
    """Time spent training since the start, without evaluation."""
    trained: Trained | None = field(default=None, compare=False, repr=False)
    """At the last epoch: the result."""

    @property
    def is_evaluated(self) -> bool:
        """Whether the selection metric is there."""
        return SELECTION_METRIC in self.metrics


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
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    run = Run(config, data)
    if checkpoint is not None and checkpoint.exists():
        run.load(checkpoint)
        yield run.record()
    while run.epoch < config.run.epochs:
        run.train_epoch()
        if checkpoint is not None and run.is_checkpoint_due():
            run.save(checkpoint)
        yield run.record()


class Run:
    """The state of a training run between two epochs, and the two things to do with it."""

    def __init__(self, config: Config, data: Splits) -> None:
        check_batch_size(config.data.batch_size, len(data.train))
        self.config, self.data = config, data
        self.device = pick_device(config.run.device)
        self.autocast, self.scaler = precision_tools(config.run.precision, self.device)
        self.policy = resolve(config.augment, config.data.name)
        self.steps_per_epoch = len(data.train) // config.data.batch_size
        torch.manual_seed(derive_seed(config.run.seed, "weights"))
        self.network = network_for(config, data).to(self.device)
        self.loss = _objective(config.loss)
        self.optimizer = build_optimizer(self.network, config.optim, config.data.batch_size)
        self.peak_lr: float = self.optimizer.param_groups[0]["lr"]
        self.averages = Averages(self.network, config.average, self.steps_per_epoch)
        self.epoch, self.seconds, self.metrics = 0, 0.0, dict[str, float]()

    def train_epoch(self) -> None:
        """One pass over the training images in augmented views."""
        started = time.perf_counter()
        self.epoch += 1
        torch.manual_seed(derive_seed(self.config.run.seed, "dropout", self.epoch))
        self.network.train()
        losses = []
        for step, (images, labels) in enumerate(self._batches()):
            step_in_run = (self.epoch - 1) * self.steps_per_epoch + step
            progress = (step_in_run + 0.5) / (self.config.run.epochs * self.steps_per_epoch)
            lr = set_lr(self.optimizer, self.peak_lr, lr_factor(progress, self.config.optim.warmup))
            with self.autocast():
                outputs = self.network(images.to(self.device, non_blocking=True))
            loss = self.loss(outputs, labels.to(self.device, non_blocking=True))
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad()
            self.averages.after_step(self.network)
            losses.append(loss.detach())
        self.averages.after_epoch(self.network, self.epoch / self.config.run.epochs)
        self.metrics = {"train/loss": self._mean_finite(torch.stack(losses)), "train/lr": lr}
        self.seconds += time.perf_counter() - started

    def record(self) -> Record:
        """The record of the current epoch, evaluated if its turn has come."""
        is_last = self.epoch == self.config.run.epochs
        metrics, trained = dict(self.metrics), None
        if self.is_evaluation_due():
            scores, trained = self.evaluate(is_last)
            metrics |= scores
        views = self.epoch * self.steps_per_epoch * self.config.data.batch_size
        views *= self.config.augment.views
        return Record(self.epoch, metrics, views, self.seconds, trained if is_last else None)

    def evaluate(self, is_last: bool) -> tuple[dict[str, float], Trained]:
        """Score the EMA weights on val; at the end raw, EMA and SWA weights, and keep the best."""
        # Evaluation may draw random numbers (dropout while BatchNorm is re-estimated); training
        # must not see that it happened.
        devices = [torch.cuda.current_device()] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            if is_last:
                candidates = self.averages.final(self.network)
            else:
                candidates = self.averages.running(self.network)
            scored = {name: self._score(net, name) for name, net in candidates.items()}
        best, trained = max(scored.values(), key=lambda scores: scores[0][SELECTION_METRIC])
        each = {f"val/probe_top1_{name}": s[SELECTION_METRIC] for name, (s, _) in scored.items()}
        return best | (each if is_last else {}), trained

    def _score(self, network: nn.Module, weights: str) -> tuple[dict[str, float], Trained]:
        assert isinstance(network, Network)
        config, data = self.config.probe, self.data
        reestimate_batchnorm(network, self._batchnorm_images(), self.device)
        train_x, val_x = self._embed(network, data.train), self._embed(network, data.val)
        if not (train_x.isfinite().all() and val_x.isfinite().all()):
            raise Diverged(f"non-finite features after epoch {self.epoch}")
        train_y = torch.tensor(data.train.labels, device=self.device)
        val_y = torch.tensor(data.val.labels, device=self.device)
        classes = len(data.classes)
        top1, probe = fit_probe(
            train_x,
            train_y,
            val_x,
            val_y,
            classes=classes,
            penalties=config.l2,
            max_iter=config.max_iter,
        )
        nearest = knn_predict(
            train_x,
            train_y,
            val_x,
            classes=classes,
            k=config.knn_k,
            temperature=config.knn_temperature,
        )
        scores = {SELECTION_METRIC: top1, "val/knn_top1": accuracy(nearest, val_y)}
        if self.config.loss.name == "ce":
            with torch.no_grad():
                scores["val/head_top1"] = accuracy(network.head(val_x).argmax(1), val_y)
        return scores, Trained(network, probe, weights)

    def _embed(self, network: Network, split: Split) -> Tensor:
        return embed(network.encoder, split.images, device=self.device, autocast=self.autocast)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        seed = derive_seed(self.config.run.seed, "order", self.epoch)
        views = self.config.augment.views
        batches = ViewBatches(
            self.data.train,
            self.policy,
            seed=seed,
            views=views,
            batch_size=self.config.data.batch_size,
        )
        is_cuda = self.device.type == "cuda"
        return iter(load_views(batches, self.config.data.workers, pin_memory=is_cuda))

    def _batchnorm_images(self) -> Iterator[Tensor]:
        """Training images as evaluation sees them, the same for all epochs and weights of a run.

        Augmented ones, which training's own statistics come from, cost accuracy: 6,000 CIFAR-10
        images, 8 epochs, val top-1 of CE's head 57.3 against 59.1 %, of its probe 59.2 against
        59.8 %, of SupCon's probe at full strength 41.3 against 42.1 %.
        """
        images = self.data.train.images
        seed = derive_seed(self.config.run.seed, "batchnorm")
        order = np.random.default_rng(seed).permutation(len(images))
        order = order[: self.config.average.bn_images]
        for chosen in np.array_split(order, max(1, len(order) // BN_BATCH)):
            yield torch.from_numpy(images[chosen]).permute(0, 3, 1, 2)

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

    def is_checkpoint_due(self) -> bool:
        """Evaluated epochs always have a checkpoint, since their record may be acted upon."""
        return self.epoch % self.config.run.checkpoint_every == 0 or self.is_evaluation_due()

    def save(self, path: Path) -> None:
        """Write everything that the remaining epochs depend on."""
        save_atomic(
            {
                "config": flatten(self.config),
                "epoch": self.epoch,
                "seconds": self.seconds,
                "metrics": self.metrics,
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "averages": self.averages.state_dict(),
            },
            path,
        )

    def load(self, path: Path) -> None:
        """Go back to what `save` wrote.

        Raises:
            UserError: the file is damaged, or of a run with another config.
        """
        state = load_state(path)
        check_same_config(state["config"], flatten(self.config), path)
        self.epoch, self.seconds, self.metrics = state["epoch"], state["seconds"], state["metrics"]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.averages.load_state_dict(state["averages"])


def network_for(config: Config, data: Splits) -> Network:
    """The network to train, with normalisation from the training images."""
    mean, std = (torch.tensor(values).float() for values in channel_statistics(data.train))
    return build_network(
        config.model,
        config.loss.name,
        image_size=data.train.images.shape[1],
        classes=len(data.classes),
        mean=mean,
        std=std,
    )


def _objective(config: LossConfig) -> Callable[[Tensor, Tensor], Tensor]:
    match config.name:
        case "supcon":
            return partial(
                supcon_loss,
                temperature=config.temperature,
                base_temperature=config.base_temperature,
            )
        case "ce":
            return partial(cross_entropy, label_smoothing=config.label_smoothing)
