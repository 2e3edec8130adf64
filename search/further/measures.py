"""The measures beyond accuracy: what each means, and which of them are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from supcon.reliability.corruptions import KINDS

Theme = Literal["calibration", "classes", "corruptions", "unknown classes"]


@dataclass(frozen=True)
class Measure:
    """What is measured of a tested run."""

    name: str
    label: str
    """In a table."""
    meaning: str
    """Half a sentence."""
    theme: Theme
    is_higher_better: bool
    is_share: bool = True
    """Of 1, shown in %; else nats an image."""
    is_asked: bool = True
    """Whether arms are compared by it; all are in the tables."""

    @property
    def direction(self) -> str:
        """Which is better."""
        return "higher is better" if self.is_higher_better else "lower is better"

    @property
    def described(self) -> str:
        """What it is, and which direction is better."""
        return f"{self.meaning}; {self.direction}"

    @property
    def scale(self) -> float:
        """What it is multiplied by to be shown."""
        return 100.0 if self.is_share else 1.0

    @property
    def unit(self) -> str:
        """Of a difference."""
        return "points" if self.is_share else "nats"


SCALED = "after temperature scaling on val"
SCORES = {
    "knn": ("neighbours", "the distance to the training images"),
    "energy": ("energy", "the energy of the logits"),
    "softmax": ("softmax", "the largest probability"),
}
_SURE = "how far stated probabilities are from the shares that are right (ECE, 15 equal bins)"
_LIKELY = "minus the log of the probability that the right class got, mean over images"


def _unknown(score: str) -> list[Measure]:
    short, by = SCORES[score]
    return [
        Measure(
            f"auroc_{score}", f"AUROC, {short}",
            f"chance that {by} tells an unknown image from a known one; guessing has 50 %",
            "unknown classes", is_higher_better=True,
        ),
        Measure(
            f"fpr95_{score}", f"FPR95, {short}",
            f"share of unknown images that pass for known by {by}, where 95 % of known ones do",
            "unknown classes", is_higher_better=False,
        ),
    ]  # fmt: skip


MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure("ece", "calibration error", _SURE, "calibration", is_higher_better=False),
        Measure(
            "ece_scaled", "calibration error, scaled", f"the same {SCALED}",
            "calibration", is_higher_better=False,
        ),
        Measure(
            "nll", "NLL", _LIKELY, "calibration", is_higher_better=False, is_share=False,
        ),
        Measure(
            "nll_scaled", "NLL, scaled", f"the same {SCALED}",
            "calibration", is_higher_better=False, is_share=False,
        ),
        Measure(
            "macro_f1", "macro F1",
            "mean over classes of F1, which counts misses and false alarms of a class alike",
            "classes", is_higher_better=True,
        ),
        Measure(
            "worst_class", "worst class",
            "accuracy in the class where it is lowest, in each run",
            "classes", is_higher_better=True,
        ),
        Measure(
            "corrupted_top1", "corrupted",
            "accuracy on test images made worse in five ways (noise, blur, contrast, brightness, "
            "JPEG) at three levels each, mean over all",
            "corruptions", is_higher_better=True,
        ),
        *(
            Measure(
                f"corrupted_{kind}", label, f"the same of {label} alone", "corruptions",
                is_higher_better=True, is_asked=False,
            )
            for kind in KINDS
            for label in ["JPEG" if kind == "jpeg" else kind]
        ),
        *_unknown("knn"), *_unknown("energy"), *_unknown("softmax"),
    )
}  # fmt: skip
"""By name, in the order of the tables."""

ASKED = [measure for measure in MEASURES.values() if measure.is_asked]
