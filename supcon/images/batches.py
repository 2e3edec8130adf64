"""The batches of an epoch, in augmented views: from memory, or streamed by worker processes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from supcon.config import Config
from supcon.images.decoding import Pixels
from supcon.images.files import ImageFiles
from supcon.images.mixing import Epoch, MixedViews, draw
from supcon.images.policy import resolve
from supcon.images.split import Split
from supcon.images.views_by_batch import Augmentation, ResidentViews
from supcon.images.views_by_image import PREFETCH, StreamedViews, ViewBatches
from supcon.machine import free_to_share
from supcon.parsing import UserError
from supcon.seeds import derive_seed

GPU_SHARE = 16  # images lie on a GPU that has so many times their size; trials may share it


def check_room_to_share(config: Config, train: Split, *, threads: int, runs: int = 1) -> None:
    """Whether /dev/shm has room for the batches that loaders' workers hand over.

    Without it the kernel kills a worker in the middle of training (SIGBUS).

    Args:
        config: of a run, with the largest batch of all.
        train: its training images.
        threads: CPU threads of each run.
        runs: that train at once.

    Raises:
        UserError: there is too little.
    """
    workers, free = n_workers(config, train, threads), free_to_share()
    if workers == 0 or free is None:
        return
    batch = config.data.batch_size * config.augment.views * math.prod(train.images.shape[1:])
    needed = runs * (PREFETCH * workers + 1) * batch
    if needed > free:
        raise UserError(
            f"/dev/shm: {free / 2**20:,.0f} MiB are free, but {runs} x {workers} workers that make "
            f"batches of {batch / 2**20:,.1f} MiB may fill {needed / 2**20:,.0f} MiB; enlarge it "
            f"(docker run --shm-size={2 * needed / 2**20:.0f}m), or set data.workers to 0, or "
            f"data.pipeline to resident"
        )


def balanced_order(labels: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.intp]:
    """As many images as there are, each class equally often, in a random order.

    A class's images come in turn: none a time more before each of its others came as often. What
    is left of N / K goes to classes that are drawn anew.

    Args:
        labels: (N,) class ids.
        seed: of the order, a function of which it is.

    Returns:
        (N,) indices of images.
    """
    rng, n = np.random.default_rng(seed), len(labels)
    classes = rng.permutation(np.unique(labels))
    chosen = []
    for place, label in enumerate(classes):
        own, wanted = np.flatnonzero(labels == label), (n + place) // len(classes)
        turns = [rng.permutation(own) for _ in range(math.ceil(wanted / len(own)))]
        chosen.append(np.concatenate([*turns, own[:0]])[:wanted])
    return rng.permutation(np.concatenate(chosen))


def n_workers(config: Config, train: Split, threads: int) -> int:
    """Processes that make the views of a run on so many CPU threads; 0: its own does."""
    is_in_files = isinstance(train.images, ImageFiles)
    if not is_in_files and config.data.pipeline != "streaming":
        return 0
    if config.data.workers is not None:
        return config.data.workers
    return threads if is_in_files else 0


class Batches:
    """Makes an epoch's batches out of training images, in the way that the config asks for."""

    def __init__(self, config: Config, train: Split, classes: int, device: torch.device) -> None:
        """`train` are training images of so many classes, on `device` batches will be used."""
        self.config, self.labels, self.device = config, train.labels, device
        self.classes = classes
        _, height, width, channels = train.images.shape
        self.shape = channels, height, width
        policy = resolve(config.augment, config.data.name)
        self.resident: tuple[Tensor, Tensor, Augmentation] | None = None
        if isinstance(train.images, ImageFiles) or config.data.pipeline == "streaming":
            self.streamed = StreamedViews(
                ViewBatches(train, policy, config.augment.views),
                n_workers(config, train, torch.get_num_threads()),
                pin_memory=device.type == "cuda",
            )
        else:
            images = _resident(train.images, device)
            augmentation = Augmentation(policy, images.shape[1:], device)
            if config.run.compile:
                augmentation.compile()
            self.resident = images, torch.tensor(train.labels).to(device), augmentation

    def epoch(self, seed: int) -> Iterable[tuple[Tensor, Tensor]]:
        """Batches of (V * B, C, H, W) views and their (V * B,) labels, on the device.

        Where views are mixed, labels are soft, (V * B, K). Batches are a function of `seed`, and as
        many as there are whole ones.
        """
        order_SB, augment = self._order(seed), self.config.augment
        batches = self._plain(order_SB, seed)
        if not augment.is_mixed:
            return batches
        steps, n = order_SB.shape
        drawn = draw(augment, steps, augment.views * n, derive_seed(seed, "mixing"))
        return MixedViews(batches, drawn.to(self.device), self.classes)

    def _plain(self, order_SB: npt.NDArray[np.intp], seed: int) -> Epoch:
        if self.resident is not None:
            views = self.config.augment.views
            return ResidentViews(*self.resident, order_SB, views=views, seed=seed)
        batches = self.streamed.epoch(order_SB, seed)
        return CopiedAhead(batches, self.device) if self.device.type == "cuda" else batches

    def blank(self) -> Tensor:
        """Black views, like a batch in shape, type and layout."""
        n = self.config.data.batch_size * self.config.augment.views
        is_whole = self.resident is None and not self.config.augment.is_mixed
        dtype = torch.uint8 if is_whole else torch.float32
        views = torch.zeros(n, *self.shape, dtype=dtype, device=self.device)
        return views.contiguous(memory_format=torch.channels_last)

    def _order(self, seed: int) -> npt.NDArray[np.intp]:
        """(S, B) places of images; the incomplete last batch is dropped."""
        n, batch_size = len(self.labels), self.config.data.batch_size
        if self.config.data.sampler == "balanced":
            order = balanced_order(self.labels, derive_seed(seed, "balanced"))
        else:
            order = np.random.default_rng(seed).permutation(n)
        return order[: n // batch_size * batch_size].reshape(-1, batch_size)


class CopiedAhead:
    """Batches on a GPU, where each is copied to while the step before it still computes."""

    def __init__(self, batches: DataLoader[tuple[Tensor, Tensor]], device: torch.device) -> None:
        """`batches` lie in pinned memory."""
        self.batches, self.device = batches, device

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Copies have a queue of their own, which the one of the steps waits for, not the CPU."""
        copying, computing = torch.cuda.Stream(self.device), torch.cuda.current_stream(self.device)
        for batch in self.batches:
            with torch.cuda.stream(copying):
                images, labels = (part.to(self.device, non_blocking=True) for part in batch)
            computing.wait_stream(copying)
            for part in (images, labels):
                part.record_stream(computing)  # or its memory might be given away before
            yield images, labels


def _resident(images: Pixels, device: torch.device) -> Tensor:
    """(N, C, H, W) uint8 on `device`, if there is room; on the CPU it is no copy."""
    with warnings.catch_warnings():  # shared images are read-only, and nobody writes to them
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    if device.type == "cuda" and tensor.nbytes > _gpu_memory(device) // GPU_SHARE:
        return tensor
    return tensor.to(device)


def _gpu_memory(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).total_memory
