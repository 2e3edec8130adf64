"""The batches of an epoch, in augmented views: from memory, or streamed by worker processes."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from supcon.config import Config
from supcon.images.files import ImageFiles, Pixels
from supcon.images.policy import resolve
from supcon.images.split import Split
from supcon.images.views_by_batch import ResidentViews
from supcon.images.views_by_image import ViewBatches, load_views

GPU_SHARE = 16  # images lie on a GPU that has so many times their size; trials may share it


class Batches:
    """Makes an epoch's batches out of training images, in the way that the config asks for."""

    def __init__(self, config: Config, train: Split, device: torch.device) -> None:
        """`train` are the training images, `device` is where the batches will be used."""
        self.config, self.train, self.device = config, train, device
        self.policy = resolve(config.augment, config.data.name)
        self.resident: tuple[Tensor, Tensor] | None = None
        if not isinstance(train.images, ImageFiles) and config.data.pipeline != "streaming":
            self.resident = _resident(train.images, device), torch.tensor(train.labels).to(device)

    def epoch(self, seed: int) -> DataLoader[tuple[Tensor, Tensor]]:
        """Batches of (V * B, C, H, W) views and their (V * B,) labels, a function of `seed`."""
        batch_size, views = self.config.data.batch_size, self.config.augment.views
        if self.resident is not None:
            resident = ResidentViews(
                *self.resident, self.policy, batch_size=batch_size, views=views, seed=seed
            )
            return DataLoader(resident, batch_size=None)
        streamed = ViewBatches(
            self.train, self.policy, batch_size=batch_size, views=views, seed=seed
        )
        return load_views(streamed, self.workers, pin_memory=self.device.type == "cuda")

    @property
    def workers(self) -> int:
        """Processes that make views, if they are streamed."""
        if self.config.data.workers is not None:
            return self.config.data.workers
        return torch.get_num_threads() if isinstance(self.train.images, ImageFiles) else 0


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
