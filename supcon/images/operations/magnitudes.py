"""What RandAugment and TrivialAugmentWide draw, as plain numbers.

RandAugment is arXiv:1909.13719 with two operations of magnitude 9, TrivialAugmentWide is
arXiv:2103.10158; tests hold that operations and magnitudes at strength 1 are torchvision's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OPERATIONS = (
    *("identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate"),
    *("brightness", "saturation", "contrast", "sharpness"),
    *("posterize", "solarize", "autocontrast", "equalize"),
)
"""What RandAugment and TrivialAugmentWide draw from, each equally often."""
SIGNED = OPERATIONS[1:10]
"""Those whose magnitude is as often negative."""
ALL_OR_NOTHING = ("solarize", "autocontrast", "equalize")
N_LEVELS = 31  # of a magnitude, of which the last is the largest

_COLOURS = ("brightness", "saturation", "contrast", "sharpness")
_RANDAUGMENT = dict.fromkeys(_COLOURS, 0.9) | {"shear": 0.3, "rotate": 30.0, "posterize": 4.0}
_TRIVIALAUGMENT = dict.fromkeys(_COLOURS, 0.99) | {"shear": 0.99, "rotate": 135.0, "posterize": 6.0}


@dataclass(frozen=True)
class Operations:
    """Operations that are drawn for each view, one after the other."""

    policy: Literal["randaugment", "trivialaugment"]
    strength: float
    """Of ]0, 1]: what magnitudes are multiplied by, and how often `ALL_OR_NOTHING` happen."""

    @property
    def slots(self) -> int:
        """How many a view draws."""
        return 2 if self.policy == "randaugment" else 1

    @property
    def levels(self) -> range:
        """Levels of magnitude that are drawn, each equally often."""
        return range(9, 10) if self.policy == "randaugment" else range(N_LEVELS)

    def magnitudes(self, width: int, height: int) -> list[list[float]]:
        """What an image of a size in pixels draws from: a row for each of `OPERATIONS`.

        A row has a magnitude for each of `levels`: shear: pixels a pixel; translate: whole pixels;
        rotate: degrees; brightness, saturation, contrast, sharpness: the factor less 1; posterize:
        bits that are lost; solarize: from which of 0 to 255 on it inverts; others: 0.
        """
        sides = {"translate_x": width, "translate_y": height}
        return [
            [self._magnitude(name, i / (N_LEVELS - 1), sides.get(name, 0)) for i in self.levels]
            for name in OPERATIONS
        ]

    def _magnitude(self, name: str, share: float, side: int) -> float:
        """At a share of the largest, 0 to 1; `side` in pixels is along what is translated."""
        is_wide = self.policy == "trivialaugment"
        if name == "solarize":
            return 255 * (1 - share)
        share *= self.strength
        if name.startswith("translate"):  # torchvision's 32 are more than a small image has
            return int(share * (min(32, side) if is_wide else 150 / 331 * side))
        largest = _TRIVIALAUGMENT if is_wide else _RANDAUGMENT
        magnitude = share * largest.get(name.removesuffix("_x").removesuffix("_y"), 0)
        return round(magnitude) if name == "posterize" else magnitude
