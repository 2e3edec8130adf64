"""The usual two-stage SupCon recipe, written from its description, to be measured against.

Images are augmented one by one by albumentations in a DataLoader; the network runs in NCHW and
fp32; torch-ema averages; every step waits for its loss; after every epoch train and val are
embedded twice, for the encoder's features and for the projections; and the linear probe runs the
frozen encoder again in each of its epochs. Policy, network, objective, optimiser, schedule and
lengths are those of the run it is compared with.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import albumentations as A
import timm
import torch
import torch.nn.functional as F
from albumentations.pytorch import ToTensorV2
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch_ema import ExponentialMovingAverage

from supcon.config import Config
from supcon.evaluation.accuracy import accuracy
from supcon.evaluation.knn import knn_predict
from supcon.images.policy import resolve
from supcon.images.split import Split, Splits, channel_statistics
from supcon.images.views_by_image import compose
from supcon.recipe.optim import lr_factor, peak_lr, set_lr

PROBE_EPOCHS = 100  # SupContrast's
PROBE_LR = 0.01  # of six from 0.001 to 5 among the two that are best on val


class Images(Dataset[tuple[Tensor, int]]):
    """One transformed tensor an image: its views stacked, (V, C, H, W)."""

    def __init__(self, split: Split, transform: A.Compose, views: int) -> None:
        self.split, self.transform, self.views = split, transform, views

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        (image,) = self.split.images[i : i + 1]
        views = [self.transform(image=image)["image"] for _ in range(self.views)]
        return torch.stack(views), int(self.split.labels[i])


class Model(nn.Module):
    """A timm ResNet, if wanted with the stem usual for CIFAR, and a projection head."""

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        self.encoder = timm.create_model(config.model.backbone, num_classes=0, in_chans=channels)
        if config.model.stem == "small":
            self.encoder.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
            self.encoder.maxpool = nn.Identity()
        dim, out = self.encoder.num_features, config.model.head_dim
        self.head = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(inplace=True), nn.Linear(dim, out))

    def forward(self, images: Tensor) -> Tensor:
        """Normalised projections."""
        return F.normalize(self.head(self.encoder(images)), dim=1)


@dataclass(frozen=True)
class Spent:
    """Seconds, and what came out."""

    stage_one: float
    evaluations: list[float]
    stage_two: float
    trial: float
    predict: Callable[[Split], Tensor]
    """Class ids of images by the trained probe."""


class UsualRun:
    """Stage one, evaluation and stage two, in the usual way."""

    def __init__(self, config: Config, data: Splits, device: torch.device, workers: int) -> None:
        self.config, self.data, self.device, self.workers = config, data, device, workers
        mean, std = channel_statistics(data.train)
        to_tensor = [A.Normalize(mean, std), ToTensorV2()]
        size = data.train.images.shape[1]
        self.plain = A.Compose(to_tensor)
        self.augmented = A.Compose(
            [*compose(resolve(config.augment, config.data.name), size).transforms, *to_tensor]
        )
        torch.manual_seed(config.run.seed)
        self.model = Model(config, len(mean)).to(device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), weight_decay=config.optim.weight_decay
        )
        steps = len(data.train) // config.data.batch_size
        decay = 0.5 ** (1 / (config.average.ema_half_life * steps))
        self.ema = ExponentialMovingAverage(self.model.parameters(), decay=decay)
        self.total_steps, self.step = steps * config.run.epochs, 0
        self.train_loader = self.loader(data.train, self.augmented, views=2, shuffle=True)

    def loader(
        self, split: Split, transform: A.Compose, *, views: int = 1, shuffle: bool = False
    ) -> DataLoader[tuple[Tensor, int]]:
        """Batches of (B, V, C, H, W) views and (B,) labels."""
        return DataLoader(
            Images(split, transform, views),
            batch_size=self.config.data.batch_size,
            shuffle=shuffle,
            drop_last=shuffle,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=self.device.type == "cuda",
        )

    def run(self) -> Spent:
        """A whole trial."""
        started = time.perf_counter()
        stage_one, evaluations = 0.0, []
        loaders = [self.loader(split, self.plain) for split in (self.data.train, self.data.val)]
        for _ in range(self.config.run.epochs):
            begun = time.perf_counter()
            self.train_epoch()
            trained = time.perf_counter()
            self.evaluate(loaders)
            stage_one += trained - begun
            evaluations.append(time.perf_counter() - trained)
        begun = time.perf_counter()
        predict = self.stage_two()
        ended = time.perf_counter()
        return Spent(stage_one, evaluations, ended - begun, ended - started, predict)

    def train_epoch(self, max_steps: int | None = None) -> float:
        """Mean loss of an epoch, or of its first steps."""
        self.model.train()
        total = 0.0
        peak = peak_lr(self.config.optim, self.config.data.batch_size)
        for n, (views, labels) in enumerate(self.train_loader, start=1):
            self.step += 1
            progress = min(1.0, (self.step - 0.5) / self.total_steps)
            warmup = self.config.optim.warmup
            set_lr(
                self.optimizer, peak, lr_factor(progress, schedule="cosine", warmup=warmup, decay=0)
            )
            images = torch.cat(views.to(self.device).unbind(1))
            loss = supcon(self.model(images), labels.to(self.device).repeat(2), self.config)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.ema.update(self.model.parameters())
            total += loss.item()
            if n == max_steps:
                break
        return total / n

    @torch.no_grad()
    def evaluate(self, loaders: list[DataLoader[tuple[Tensor, int]]]) -> list[float]:
        """kNN accuracy on val of features and of projections: a pass over all images for each."""
        self.model.eval()
        found = []
        with self.ema.average_parameters():
            for network in (self.model.encoder, self.model):
                (bank, bank_y), (x, y) = (self.embed(network, loader) for loader in loaders)
                classes = len(self.data.classes)
                (ids,) = knn_predict(bank, bank_y, x, classes=classes, ks=[20], temperature=0.07)
                found.append(accuracy(ids, y))
        return found

    @torch.no_grad()
    def embed(
        self, network: nn.Module, loader: DataLoader[tuple[Tensor, int]]
    ) -> tuple[Tensor, Tensor]:
        """(N, D) outputs and (N,) labels."""
        outputs, labels = [], []
        for views, y in loader:
            outputs.append(network(views[:, 0].to(self.device)))
            labels.append(y)
        return torch.cat(outputs), torch.cat(labels).to(self.device)

    def stage_two(self) -> Callable[[Split], Tensor]:
        """Train a linear classifier by SGD on the frozen encoder's output for plain images."""
        encoder = self.model.encoder.eval()
        self.ema.copy_to(self.model.parameters())
        classes = len(self.data.classes)
        linear = nn.Linear(self.model.encoder.num_features, classes).to(self.device)
        optimizer = torch.optim.SGD(linear.parameters(), lr=PROBE_LR, momentum=0.9)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, PROBE_EPOCHS)
        loader = self.loader(self.data.train, self.plain, shuffle=True)
        for _ in range(PROBE_EPOCHS):
            for views, labels in loader:
                with torch.no_grad():
                    features = encoder(views[:, 0].to(self.device))
                loss = F.cross_entropy(linear(features), labels.to(self.device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            schedule.step()

        @torch.no_grad()
        def predict(split: Split) -> Tensor:
            features, _ = self.embed(encoder, self.loader(split, self.plain))
            ids: Tensor = linear(features).argmax(1).cpu()
            return ids

        return predict


def supcon(embeddings: Tensor, labels: Tensor, config: Config) -> Tensor:
    """L_out (arXiv:2004.11362, equation 2) of normalised embeddings, with the usual masks."""
    same = (labels[:, None] == labels).float()
    others = 1 - torch.eye(len(labels), device=labels.device)
    logits = embeddings @ embeddings.T / config.loss.temperature
    logits = logits - logits.amax(1, keepdim=True).detach()
    log_prob = logits - (logits.exp() * others).sum(1, keepdim=True).log()
    positives = same * others
    loss: Tensor = -((positives * log_prob).sum(1) / positives.sum(1)).mean()
    return loss * config.loss.temperature / config.loss.base_temperature
