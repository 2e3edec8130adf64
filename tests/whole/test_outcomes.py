"""How trials end, and what is learnt from it: memory that runs out, above all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search.engine.scheduler import LoggedAsha
from search.engine.trial_source import TrialSource
from search.log.events import Ask, End, Opened, Report, Retry
from search.log.journal import Journal
from search.space.loading import parse_space
from search.space.space import Space
from search.strategy.search_order import SearchPlan
from supcon.config import Config, override
from tests.benchmarks.cliff import wasted_by_rays_own, wasted_by_us

ROOT = Path(__file__).resolve().parents[2]
TREE: dict[str, Any] = {
    "name": "x",
    "base": {"run": {"epochs": 9}},
    "params": {"optim.momentum": {"uniform": [0, 0.999]}},
    "arms": {"ce": {"loss.name": "ce"}},
    "budget": {"trials": 60},
    "scheduler": "none",
}
OOM = {"epoch": 0, "done": True, "outcome": "infeasible", "detail": "out of memory"}


@pytest.fixture
def study(tmp_path: Path) -> tuple[Space, Journal]:
    return new_study(tmp_path / "s")


def new_study(folder: Path, **changes: Any) -> tuple[Space, Journal]:
    tree = TREE | changes
    opened = Opened(study="x", space=tree, commit="", versions={})
    return parse_space(tree, "x"), Journal.create(folder / "events.jsonl", opened)


def finish(journal: Journal, ask: Ask, score: float) -> None:
    key: dict[str, Any] = {"arm": ask.arm, "phase": ask.phase, "number": ask.number}
    metrics = {"val/probe_top1": score}
    journal.append(Report(**key, epoch=9, metrics=metrics, views=1, seconds=1, decision="done"))
    journal.append(End(**key, outcome="completed"))


# A cliff of memory


def test_half_as_many_trials_fall_off_a_cliff_of_memory_as_with_rays_own_search(
    tmp_path: Path,
) -> None:
    ours = [wasted_by_us(tmp_path / str(seed), seed) for seed in range(4)]
    rays = [wasted_by_rays_own(seed) for seed in range(4)]
    assert 2 * sum(ours) <= sum(rays), (ours, rays)


# A second chance


def source(space: Space, journal: Journal, trials: int = 4) -> TrialSource:
    plan = SearchPlan(space, journal)
    return TrialSource(
        space, journal, ["search"], lambda: plan() if trials > len(journal.of("ce")) else None
    )


def ran_out(space: Space, journal: Journal, number: int) -> None:
    """A trial says that its memory ran out."""
    trial = SimpleNamespace(config={"arm": "ce", "phase": "search", "number": number})
    LoggedAsha(space, journal).on_trial_complete(None, trial, OOM)


def number_of(config: Any) -> Any:
    return config["number"] if isinstance(config, dict) else config


def test_a_trial_without_memory_is_run_once_more_without_neighbours(
    study: tuple[Space, Journal],
) -> None:
    space, journal = study
    trials = source(space, journal)
    assert [number_of(trials.suggest(f"ray-{i}")) for i in range(2)] == [0, 1]
    ran_out(space, journal, 0)
    assert journal.trials["ce", "search", 0].retry is not None
    assert trials.suggest("ray-2") is None  # trial 1 still runs
    finish(journal, journal.trials["ce", "search", 1].ask, 0.5)
    assert number_of(trials.suggest("ray-3")) == 0
    assert trials.suggest("ray-4") is None  # while it runs alone
    ran_out(space, journal, 0)
    assert journal.trials["ce", "search", 0].outcome == "infeasible"
    assert [number_of(trials.suggest(f"ray-{i}")) for i in range(5, 7)] == [2, 3]
    assert trials.suggest("ray-7") is None  # one of them may need another try
    for number in (2, 3):
        finish(journal, journal.trials["ce", "search", number].ask, 0.5)
    assert trials.suggest("ray-8") == "FINISHED"
    assert sum(isinstance(event, Retry) for event in journal.events) == 1


def test_a_second_try_survives_a_restart(study: tuple[Space, Journal]) -> None:
    space, journal = study
    trials = source(space, journal)
    for i in range(2):
        trials.suggest(f"ray-{i}")
    ran_out(space, journal, 0)
    trials = source(space, Journal.open(journal.path))
    assert number_of(trials.suggest("ray-0")) == 0
    assert trials.suggest("ray-1") is None
    ran_out(space, trials.journal, 0)
    assert trials.journal.trials["ce", "search", 0].outcome == "infeasible"
    assert number_of(trials.suggest("ray-2")) == 1  # unfinished too


def test_a_worker_that_dies_in_a_second_try_is_replaced(study: tuple[Space, Journal]) -> None:
    space, journal = study
    trials = source(space, journal)
    trials.suggest("ray-0")
    ran_out(space, journal, 0)
    assert number_of(trials.suggest("ray-1")) == 0
    trials.on_trial_complete("ray-1", error=True)
    assert number_of(trials.suggest("ray-2")) == 0
    assert trials.suggest("ray-3") is None


@pytest.mark.slow
def test_an_allocation_beyond_a_memory_cap_ends_as_infeasible(tiny: Config, tmp_path: Path) -> None:
    large = override(tiny, {"data.image_size": 256, "data.batch_size": 50})
    code = f"""
import resource
from pathlib import Path
from search.trainable import SupConTrial
from supcon.config import Config
from supcon.data import load_splits

config = Config.model_validate_json({large.model_dump_json()!r})
data = load_splits(config.data)

class Trial(SupConTrial):
    def setup(self, config):
        super().setup(config, data, Path({str(tmp_path)!r}))

trial = {{"name": "x", "phase": "search", "config": config.model_dump_json(), "gpu": 0}}
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
    params = {"model.backbone": {"choice": ["test_resnet", "resnet10t"]}}
    space, journal = new_study(tmp_path / "s", params=params, budget={"trials": 8})
    plan, asks = SearchPlan(space, journal), []
    while (ask := plan()) is not None:
        journal.append(ask)
        is_lucky = ask.number == 7
        finish(
            journal,
            ask,
            {"test_resnet": 0.5, "resnet10t": 0.6}[ask.params["model.backbone"]] + 0.3 * is_lucky,
        )
        asks.append(ask)
    first: dict[str, int] = {}
    for ask in asks:
        name = ask.params["model.backbone"]
        assert ask.of == first.get(name)
        first.setdefault(name, ask.number)
    assert len({ask.seed for ask in asks}) == 8
    plan()
    told = [trial.state.name for trial in plan.suggesters["ce"].study.trials]
    assert told[:7] == ["COMPLETE" if ask.of is None else "FAIL" for ask in asks[:7]]
    best = journal.best("ce")
    assert best is not None
    scores = {
        name: [t.score for t in journal.of("ce") if t.ask.params["model.backbone"] == name]
        for name in first
    }
    assert best.ask.params["model.backbone"] == max(
        scores, key=lambda n: sum(scores[n]) / len(scores[n])
    )
    assert best.ask.of is None
