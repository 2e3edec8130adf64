"""A search whose classes are unequal, from its command line to its report; without Ray."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from search.log.journal import Journal
from search.report import main as report
from supcon.config import DataConfig
from supcon.evaluation.trained import load_trained
from supcon.images.sources import load_published
from supcon.images.split import Split
from supcon.network.device import pick_device
from tests.without_ray import Search


def few_of_the_last_three(config: DataConfig, part: str) -> tuple[Split, tuple[str, ...]]:
    """Digits, of 7, 8 and 9 one in four."""
    split, classes = load_published(config, part)
    kept = np.flatnonzero((split.labels < 7) | (np.arange(len(split)) % 4 == 0))
    return split.take(kept), classes


@pytest.mark.slow
def test_a_search_of_unequal_classes_goes_by_balanced_accuracy_throughout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supcon.images.loading.load_published", few_of_the_last_three)
    search = Search(tmp_path)
    assert search.run() == (0, [])
    assert "what decides is balanced accuracy (val/probe_balanced)" in search.said
    assert "| always the largest class" in search.said
    folder = search.results / "x"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["metric"] == "val/probe_balanced"
    assert "points of balanced test accuracy" in summary["verdict"]["text"]
    log = Journal.open(folder / "events.jsonl")
    assert log.started.space["selection"] == "balanced"
    for arm in ("supcon", "ce"):
        runs = log.of(arm, "confirm")
        for run in runs:
            assert run.last is not None
            assert run.score == run.last.metrics["val/probe_balanced"]
            file = folder / "trials" / run.name / "model.pt"
            trained, config = load_trained(file, pick_device("cpu"))
            assert config.probe.selection == "balanced"
            metric = f"val/probe_balanced_{trained.weights}"
            assert run.score == trained.metrics[metric] == run.last.metrics[metric]
    with (folder / "trials.csv").open() as trials:
        row = next(csv.DictReader(trials))
    assert {"val/probe_top1", "val/probe_balanced"} < row.keys()
    for name in ("suspects.csv", "report.html", "report.md"):
        (folder / name).unlink()
    assert report([str(folder)]) == 0
    rows = (folder / "suspects.csv").read_text().splitlines()[1:]
    assert summary["suspects"]["listed"] == len(rows)
