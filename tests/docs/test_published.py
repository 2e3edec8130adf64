"""Figures on the front page are those of the studies in results/."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CIFAR = {  # the row of README -> arm and phase in results/cifar10-10k
    "CIFAR-10 as JPEG, 10,000 to train: SupCon": ("supcon", "confirm"),
    "SupCon and CE on one encoder": ("supcon_ce", "confirm"),
    "CE, with label smoothing, MixUp, CutMix to choose from": ("ce", "confirm"),
    "SupCon, published settings": ("supcon", "published"),
    "CE, published settings": ("ce", "published"),
    "CE, 1 view, twice the epochs": ("ce", "one_view"),
}


@pytest.mark.parametrize("label", CIFAR)
def test_a_row_of_cifar_10_is_that_of_the_study(label: str) -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("| CIFAR-10 as JPEG"))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[first : first + 6]]
    shown = next(row for row in rows if row[0] == label)
    summary = json.loads((ROOT / "results/cifar10-10k/summary.json").read_text(encoding="utf-8"))
    arm, phase = CIFAR[label]
    found = next(r for r in summary["rows"] if (r["arm"], r["phase"]) == (arm, phase))["test"]
    for cell, name in zip(shown[1:4], ("probe_top1", "knn_top1", "head_top1"), strict=True):
        runs = [100 * score for score in found.get(name, [])]
        expected = f"{statistics.mean(runs):.2f} ± {statistics.stdev(runs):.2f}" if runs else ""
        assert cell == expected


def test_the_sentences_of_cifar_10_are_those_of_the_study() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    report = (ROOT / "results/cifar10-10k/report.md").read_text(encoding="utf-8")
    for words in (
        "ce beats supcon (-1.89 points of test accuracy, 97.5 % interval -2.94 to -0.83",
        "-0.08 points",
        "95 % interval -0.72 to +0.56",
    ):
        assert words in readme
        assert words in report
