"""What suits the images: sizes, batches and networks to choose from, the costliest first."""

from __future__ import annotations

from dataclasses import dataclass

from search.proposal.survey import Survey

SMALL_IMAGES = 40  # pixels; up to it a size of its own, above it one that networks are used to
SIZES_ON_GPU = (224, 128, 96, 64, 48)
SIZES_ON_CPU = (64, 48, 32)
LARGEST_BATCH = 256
FEW_IMAGES = 5000
"""Below so many training images, pretrained weights are worth more than any setting here."""
PRETRAINED_SIDE = 64  # pixels; published weights know nothing of smaller pictures


@dataclass(frozen=True)
class Network:
    """What embeds the images, and at which size."""

    backbones: tuple[str, ...]
    """To draw from, the costliest last."""
    image_size: int
    stem: str = "auto"
    pretrained: bool = False


def networks(found: Survey, *, on_gpu: bool, can_pretrain: bool) -> list[Network]:
    """Networks that suit the images, the costliest first.

    Args:
        found: the images.
        on_gpu: whether a GPU trains.
        can_pretrain: whether published weights can be had here.
    """
    sizes = image_sizes(found.side, on_gpu=on_gpu)
    is_few = found.n_train < FEW_IMAGES
    choices = []
    if is_few and can_pretrain and found.side >= PRETRAINED_SIDE:
        choices += [Network(("resnet18",), size, "full", pretrained=True) for size in sizes]
    if on_gpu:
        backbones = ("resnet18",) if is_few else ("resnet18", "resnet50")
        return choices + [Network(backbones, size) for size in sizes]
    smallest = sizes[-1]
    choices += [Network(("resnet18",), size) for size in sizes]
    choices.append(Network(("resnet10t",), smallest))
    choices.append(Network(("test_resnet",), smallest))
    choices.append(Network(("test_resnet",), smallest, "full"))
    return choices


def image_sizes(side: int, *, on_gpu: bool) -> list[int]:
    """Sides of the square that images are fit into, the largest first.

    Args:
        side: median of the images' shorter sides, in pixels.
        on_gpu: whether a GPU trains.
    """
    if side <= SMALL_IMAGES:
        return [max(16, round(side / 8) * 8)]
    return [size for size in (SIZES_ON_GPU if on_gpu else SIZES_ON_CPU) if size <= side]


def batch_sizes(n_train: int) -> tuple[int, int]:
    """The smallest and the largest batch, powers of two where at least two of them suit.

    Args:
        n_train: training images; a batch holds at most a quarter of them.
    """
    most = min(LARGEST_BATCH, n_train // 4)
    largest = 2 ** (most.bit_length() - 1)
    return (largest // 4, largest) if largest >= 32 else (largest, largest)
