"""How trials end, and what the search learns from it."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from search.log.events import Ask
from search.log.journal import Journal
from search.strategy.search_order import SearchOrder
from supcon.config import Config, override
from tests.benchmarks.cliff import wasted_by_rays_own, wasted_by_us
from tests.whole.searching import DIGITS, ROOT, SMALL
from tests.without_ray import searched
from tests.written import WrittenStudy

# Memory that runs out


def test_half_as_many_trials_fall_off_a_cliff_of_memory_as_with_rays_own_search(
    tmp_path: Path,
) -> None:
    ours = [wasted_by_us(tmp_path / str(seed), seed) for seed in range(4)]
    rays = [wasted_by_rays_own(seed) for seed in range(4)]
    assert 2 * sum(ours) <= sum(rays), (ours, rays)


@pytest.mark.slow
def test_an_allocation_beyond_a_memory_cap_ends_as_infeasible(tiny: Config, tmp_path: Path) -> None:
    large = override(tiny, {"data.image_size": 256, "data.batch_size": 50})
    code = f"""
import resource
from pathlib import Path
from search.engine.trial_actor import SupConTrial
from search.log.folder import StudyFolder
from supcon.config import Config
from supcon.images.loading import load_splits

config = Config.model_validate_json({large.model_dump_json()!r})
data = load_splits(config.data)

class Trial(SupConTrial):
    def setup(self, config):
        super().setup(config, data, StudyFolder(Path({str(tmp_path)!r})))

trial = {{"name": "x", "phase": "search", "config": config.model_dump_json()}}
trial |= {{"gpu": 0, "gpu_memory": 1}}
actor = Trial(trial)
now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 150 * 2**20,) * 2)
result = actor.step()
print(result["outcome"], "|", result["detail"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    outcome, _, detail = done.stdout.strip().splitlines()[-1].partition(" | ")
    assert outcome == "infeasible"
    assert "memory" in detail


# Seeds of known params


def test_params_that_were_drawn_before_are_another_seed_and_no_new_evidence(tmp_path: Path) -> None:
    study = WrittenStudy(
        tmp_path,
        params={"model.backbone": {"choice": ["test_resnet", "resnet10t"]}},
        arms={"ce": {"loss.name": "ce"}},
        budget={"trials": 8},
        scheduler="none",
    )

    def score(ask: Ask) -> float:
        is_lucky = ask.number == 7
        return {"test_resnet": 0.5, "resnet10t": 0.6}[backbone(ask)] + 0.3 * is_lucky

    order = SearchOrder(study)
    asks = study.follow(order, score)
    first: dict[str, int] = {}
    for ask in asks:
        assert ask.of == first.get(backbone(ask))
        first.setdefault(backbone(ask), ask.number)
    assert len({ask.seed for ask in asks}) == 8
    told = [trial.state.name for trial in order.suggesters["ce"].told()]
    assert told[:7] == ["COMPLETE" if ask.of is None else "FAIL" for ask in asks[:7]]
    best = study.log.best("ce")
    assert best is not None
    scores = {
        name: [t.score for t in study.log.of("ce") if backbone(t.ask) == name] for name in first
    }
    assert backbone(best.ask) == max(scores, key=lambda n: sum(scores[n]) / len(scores[n]))
    assert best.ask.of is None


def backbone(ask: Ask) -> str:
    return str(ask.params["model.backbone"])


# Nothing can come of it


@pytest.mark.slow
def test_images_that_cannot_be_told_apart_have_a_report_which_says_so_first(tmp_path: Path) -> None:
    for part, name in itertools.product(("train", "test"), "abc"):
        folder = tmp_path / "black" / part / name
        folder.mkdir(parents=True)
        for number in range(40):
            Image.new("RGB", (16, 16)).save(folder / f"{number}.png")
    flags = ["--space", str(ROOT / "spaces" / "folder.yaml"), *SMALL, "--trials", "1"]
    flags += ["--epochs", "1", "--set", f"data.root={tmp_path / 'black'}"]
    flags += ["--set", "data.image_size=16", "--set", "model.backbone=test_resnet"]
    flags += ["--set", "params.data.batch_size={pow2: [8, 16]}", "--set", "data.train_size=null"]
    flags += ["--cpus-per-trial", "1", "--gpus-per-trial", "0"]
    code, output = searched(*flags, "--results", str(tmp_path), with_pictures=True)
    assert code == 0, output
    report = (tmp_path / "folder" / "report.md").read_text()
    first = report.split("\n\n")[1]
    assert "scores at chance" in first
    assert "No verdict" in first
    for what in ("supcon, encoder features", "supcon, after the projection head"):
        line = f"{what}: t-SNE not drawn: the features of all images are equal"
        assert line in report
        assert f"missing   {line}" in output


@pytest.mark.slow
def test_an_arm_of_which_every_trial_diverges_starts_a_handful(tmp_path: Path) -> None:
    flags = [
        "--space",
        DIGITS,
        *SMALL,
        "--trials",
        "100",
        "--set",
        "budget.give_up=3",
        "--set",
        "optim.warmup=0",
    ]
    flags += ["--set", "optim.lr_per_256=1000", "--set", "optim.weight_decay=1000"]
    code, output = searched(*flags, "--results", str(tmp_path))
    assert code == 1, output
    log = Journal.open(tmp_path / "digits" / "events.jsonl")
    assert [len(log.of(arm)) for arm in ("supcon", "ce")] == [3, 3]
    assert {trial.outcome for trial in log.trials.values()} == {"diverged"}
    assert "optim.lr_per_256" in output
    assert "1000" in output
    assert (tmp_path / "digits" / "report.html").exists()
