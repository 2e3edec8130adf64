"""docs/use.md as it stands: every command of it and its script, on digits as image files."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

import search.export
import search.report
from search import init
from search.preflight.trial_cost import TrialCost
from supcon.__main__ import main as supcon_main
from supcon.config import Config
from tests.intake.digit_files import write_digits
from tests.without_ray import searched

PAGE = Path(__file__).resolve().parents[2] / "docs" / "use.md"
SMALL = [
    "--trials", "2", "--epochs", "3", "--concurrency", "1", "--gpus-per-trial", "0",
    "--set", "model.backbone=test_resnet", "--set", "model.stem=full",
    "--set", "data.batch_size=64", "--set", "data.train_size=400", "--set", "run.threads=1",
    "--set", "points={}", "--set", "scheduler=none", "--set", "probe.max_iter=30",
    "--set", "confirm={top: 1, seeds: 3, references: false}", "--set", "average.bn_images=256",
]  # fmt: skip


def cost(config: Config) -> TrialCost:
    """What a trial of the smallest network might take."""
    seconds = 2.0 if config.model.backbone == "test_resnet" else 900.0
    return TrialCost(config, seconds, 1.0, 100.0, 2**28, 2**32, 2**20)


def blocks(language: str) -> list[str]:
    """The code of the page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.S | re.M)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def run(words: list[str]) -> int:
    """A command of the page, in this process; a search is a small one."""
    match words:
        case ["python", "search/run.py", "--space", *_]:
            return searched(*words[2:], *SMALL)[0]
        case ["python", "search/run.py", *_]:
            return searched(*words[2:])[0]
        case ["python", "search/report.py", *rest]:
            return search.report.main(rest)
        case ["python", "search/export.py", *rest]:
            return search.export.main(rest)
        case ["python", "-m", "supcon", *rest]:
            return supcon_main(rest)
    raise AssertionError(f"nobody knows how to run {words}")


@pytest.mark.slow
def test_every_command_of_the_page_runs_and_predictions_are_those_that_were_confirmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    # To time networks takes most of a minute; tests/commands/test_init.py looks at that.
    monkeypatch.setattr(init, "cost_here", lambda _: cost)
    monkeypatch.setattr(init, "settle_space", lambda space, _: space)
    write_digits(Path("photos"))
    shutil.copytree("photos/train/3", "new/extra")
    for name in ("3", "7"):
        shutil.copytree(f"photos/train/{name}", f"others/of {name}")
    said = {}
    for words in commands():
        capsys.readouterr()
        assert run(words) == 0, (words, capsys.readouterr())
        said[" ".join(words)] = capsys.readouterr().out
    for block in blocks("python"):
        exec(compile(block, str(PAGE), "exec"), {})  # noqa: S102
    told = capsys.readouterr().out.splitlines()
    assert any(line.startswith("These two configurations on this split: ") for line in told)

    manifest = json.loads(Path("exported/bundle.json").read_text())
    assert manifest["source"]["run"] == "supcon"
    summary = json.loads(Path("results/photos/summary.json").read_text())
    source = json.loads(Path("model/bundle.json").read_text())["source"]
    confirmed = summary["arms"][source["arm"]]["confirm"]
    score = confirmed["test_probe_top1"][confirmed["runs"].index(source["run"])]
    rows = [*csv.DictReader(Path("predictions.csv").read_text().splitlines())]
    assert sum(row["label"] == row["class"] for row in rows) == round(score * len(rows))
    assert len(rows) == 360
    card = Path("model/MODEL_CARD.md").read_text()
    assert "| probe_top1 | " in card
    assert f"{100 * score:.2f} %" in card
    for page in ("explore.html", "neighbours.html"):
        assert "<html" in Path(page).read_text()[:2000]
