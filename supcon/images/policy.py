"""The augmentation policy as plain numbers; what draws views by it is in `views_by_*`.

`resolve` fills in what suits the data set (a mirrored 3 is not a 3) and scales all of it by
`strength`. At strength 1 photos get the recipe of SupContrast and of SimCLR at s=0.5
(arXiv:2004.11362, arXiv:2002.05709): crops from 20 % of the area, flip, colour jitter 0.4,
grey 0.2.

RandAugment (arXiv:1909.13719) and TrivialAugmentWide (arXiv:2103.10158) draw operations for each
view in place of rotation, jitter and grey, with torchvision's magnitudes at strength 1. Strength
scales magnitudes; solarize, autocontrast and equalize, of which there is no small amount, happen
that often instead.
"""

from __future__ import annotations

from dataclasses import dataclass

from supcon.config import AugmentConfig
from supcon.images.operations.magnitudes import Operations

JITTER_PROBABILITY = 0.8  # as in SimCLR
BLUR_SIGMA = (0.1, 2.0)  # in pixels, as in SimCLR
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601

OFF = {"flip": 0.0, "rotation": 0.0, "jitter": 0.0, "grey": 0.0, "blur": 0.0, "cutout": 0.0}
DEFAULTS = {  # at strength 1
    "digits": OFF | {"crop": 0.6, "rotation": 15.0},
    "photos": OFF | {"crop": 0.2, "flip": 0.5, "jitter": 0.4, "grey": 0.2},
}


@dataclass(frozen=True)
class Policy:
    """What happens to a view, strength already applied."""

    crop: float
    """Smallest area of a crop, a fraction of the image."""
    aspect: float
    """A crop's aspect ratio lies between 1 / aspect and aspect."""
    flip: float
    """Probability."""
    rotation: float
    """Largest angle in degrees."""
    jitter: float
    """Brightness, contrast and saturation factors lie in 1 +- jitter; hue moves by jitter / 4."""
    jitter_probability: float
    """Of all four together."""
    grey: float
    """Probability."""
    blur: float
    """Probability; the Gaussian's standard deviation lies in BLUR_SIGMA."""
    cutout: float
    """Side of the black square, a fraction of the image's."""
    operations: Operations | None
    """Drawn after crop and flip."""


def resolve(config: AugmentConfig, data_name: str) -> Policy:
    """The policy for a data set: its defaults, what the config says instead, times strength.

    Args:
        config: strength, and settings that are not null.
        data_name: `data.name` of the config: digits, or else photos.
    """
    full = dict(DEFAULTS["digits" if data_name == "digits" else "photos"])
    for name in full:
        chosen: float | None = getattr(config, name)
        full[name] = full[name] if chosen is None else chosen
    s, operations = config.strength, None
    if config.policy != "crop_jitter":
        full |= {"rotation": 0.0, "jitter": 0.0, "grey": 0.0}
        operations = Operations(config.policy, s) if s else None
    return Policy(
        crop=1 - s * (1 - full["crop"]),
        aspect=(4 / 3) ** s,
        flip=s * full["flip"],
        rotation=s * full["rotation"],
        jitter=s * full["jitter"],
        jitter_probability=JITTER_PROBABILITY,
        grey=s * full["grey"],
        blur=s * full["blur"],
        cutout=s * full["cutout"],
        operations=operations,
    )
