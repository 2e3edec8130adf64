"""What Prometheus is told about a search."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from search.engine.prometheus import GAUGES, Metrics
from search.log.events import Ask, End, Opened, Report, Scored
from search.log.journal import Journal
from search.space.loading import parse_space

TREE: dict[str, Any] = {
    "name": "x",
    "base": {"run": {"epochs": 9}},
    "params": {"optim.lr_per_256": {"loguniform": [0.01, 1]}},
    "budget": {"total_epochs": 90},
    "scheduler": {"asha": {"grace": 1}},
}
Values = dict[tuple[str, ...], float]


class Recorded:
    """A gauge that remembers what it was set to since it was last asked."""

    values: Values = {}

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        self.name, self.tag_keys = name, tag_keys

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert set(tags) == set(self.tag_keys)
        Recorded.values[(self.name, *(tags[key] for key in self.tag_keys if key != "study"))] = (
            value
        )


def taken() -> Values:
    """What was set since the last call: what Ray would export."""
    values, Recorded.values = Recorded.values, {}
    return {(name.removeprefix("supcon_"), *rest): v for (name, *rest), v in values.items()}


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    """Of a study whose metrics go to `Recorded`."""
    monkeypatch.setattr("search.engine.prometheus.Gauge", Recorded)
    Recorded.values = {}
    opened = Opened(study="x", space=TREE, commit="", versions={})
    journal = Journal.create(tmp_path / "x" / "events.jsonl", opened)
    journal.listeners.append(Metrics(parse_space(TREE, "x"), journal))
    return journal


def report(journal: Journal, number: int, epoch: int, **facts: Any) -> None:
    metrics = {"val/probe_top1": facts.pop("score", 0.5)}
    given = {"views": 100 * epoch, "seconds": 2.0 * epoch, "decision": "continue"} | facts
    journal.append(
        Report(arm="ce", phase="search", number=number, epoch=epoch, metrics=metrics, **given)
    )


def ask(journal: Journal, number: int) -> None:
    params = {"optim.lr_per_256": 0.1}
    journal.append(Ask(arm="ce", phase="search", number=number, params=params, seed=number))


def test_a_running_trial_has_its_score_epoch_speed_and_memory(journal: Journal) -> None:
    ask(journal, 0)
    report(journal, 0, 1)
    taken()
    report(journal, 0, 3, score=0.7, views=500, seconds=4.0, memory=123)
    values = taken()
    assert values["trial_score", "ce", "ce-0"] == 0.7
    assert values["trial_epoch", "ce", "ce-0"] == 3
    assert values["trial_views_per_second", "ce", "ce-0"] == (500 - 100) / (4 - 2)
    assert values["trial_gpu_memory_bytes", "ce", "ce-0"] == 123
    assert values["arm_epochs", "ce"] == 3
    assert values["arm_epochs_budget", "ce"] == 90
    assert values["arm_views", "ce"] == 500
    assert values["arm_trials", "ce", "running"] == 1


def test_on_the_cpu_there_is_no_memory_of_a_gpu(journal: Journal) -> None:
    ask(journal, 0)
    report(journal, 0, 1)
    assert ("trial_gpu_memory_bytes", "ce", "ce-0") not in taken()


def test_a_trial_that_has_ended_is_exported_no_more_and_its_arm_counts_it(journal: Journal) -> None:
    for number in (0, 1):
        ask(journal, number)
        report(journal, number, 9, score=0.8, decision="done")
    taken()
    journal.append(End(arm="ce", phase="search", number=0, outcome="completed", epochs=9))
    values = taken()
    assert ("trial_score", "ce", "ce-0") not in values
    assert ("trial_score", "ce", "ce-1") in values
    assert values["arm_best_score", "ce"] == 0.8
    counts = {key[2]: value for key, value in values.items() if key[:2] == ("arm_trials", "ce")}
    assert counts == {
        "running": 1, "completed": 1, "stopped": 0, "infeasible": 0, "diverged": 0, "failed": 0,
    }  # fmt: skip


def test_every_event_of_a_trial_sets_all_values_again(journal: Journal) -> None:
    for number in (0, 1):
        ask(journal, number)
        report(journal, number, 1)
    before = taken().keys()
    ask(journal, 2)
    assert taken().keys() >= before


def test_what_follows_when_ray_has_ended_sets_nothing(journal: Journal) -> None:
    ask(journal, 0)
    taken()
    key: dict[str, Any] = {"arm": "ce", "phase": "search", "number": 0}
    journal.append(Scored(**key, metrics={}, n_images=1, correct={}))
    assert taken() == {}


def test_metrics_can_be_pickled_with_their_journal(journal: Journal) -> None:
    (metrics,) = pickle.loads(pickle.dumps(journal)).listeners
    assert metrics.gauges == {}


def test_every_metric_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "watching.md").read_text()
    documented = {
        word for line in text.splitlines() for word in line.split("`") if word[:7] == "supcon_"
    }
    assert documented == set(GAUGES)
