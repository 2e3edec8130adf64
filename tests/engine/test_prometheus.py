"""What Prometheus is told about a search."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from search.engine.prometheus import GAUGES, Metrics
from search.log import events
from tests.written import WrittenStudy

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
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WrittenStudy]:
    """One whose metrics go to `Recorded`."""
    monkeypatch.setattr("search.engine.prometheus.Gauge", Recorded)
    Recorded.values = {}
    study = WrittenStudy(tmp_path, budget={"total_epochs": 90})
    study.log.listeners.append(Metrics(study))
    yield study
    study.log.close()


def test_a_running_trial_has_its_score_epoch_speed_and_memory(study: WrittenStudy) -> None:
    study.ask("ce", 0)
    study.report("ce", 0, 1, 0.5, seconds=2.0)
    taken()
    study.report("ce", 0, 3, 0.7, views=500, seconds=4.0, memory=123)
    values = taken()
    assert values["trial_score", "ce", "ce-0"] == 0.7
    assert values["trial_epoch", "ce", "ce-0"] == 3
    assert values["trial_views_per_second", "ce", "ce-0"] == (500 - 100) / (4 - 2)
    assert values["trial_gpu_memory_bytes", "ce", "ce-0"] == 123
    assert values["arm_epochs", "ce"] == 3
    assert values["arm_epochs_budget", "ce"] == 90
    assert values["arm_views", "ce"] == 500
    assert values["arm_trials", "ce", "running"] == 1


def test_on_the_cpu_there_is_no_memory_of_a_gpu(study: WrittenStudy) -> None:
    study.ask("ce", 0)
    study.report("ce", 0, 1, 0.5, seconds=2.0)
    assert ("trial_gpu_memory_bytes", "ce", "ce-0") not in taken()


def test_a_trial_that_has_ended_is_exported_no_more_and_its_arm_counts_it(
    study: WrittenStudy,
) -> None:
    for number in (0, 1):
        study.ask("ce", number)
        study.report("ce", number, 9, 0.8, decision="done")
    taken()
    study.end("ce", 0, "completed", epochs=9)
    values = taken()
    assert ("trial_score", "ce", "ce-0") not in values
    assert ("trial_score", "ce", "ce-1") in values
    assert values["arm_best_score", "ce"] == 0.8
    counts = {key[2]: value for key, value in values.items() if key[:2] == ("arm_trials", "ce")}
    assert counts == {
        "running": 1, "paused": 0, "completed": 1, "stopped": 0, "infeasible": 0, "diverged": 0,
        "failed": 0,
    }  # fmt: skip


def test_every_event_of_a_trial_sets_all_values_again(study: WrittenStudy) -> None:
    for number in (0, 1):
        study.ask("ce", number)
        study.report("ce", number, 1, 0.5)
    before = taken().keys()
    study.ask("ce", 2)
    assert taken().keys() >= before


def test_what_follows_when_ray_has_ended_sets_nothing(study: WrittenStudy) -> None:
    study.ask("ce", 0)
    taken()
    study.add(events.Tested, arm="ce", phase="search", number=0, metrics={}, n_images=1, correct={})
    assert taken() == {}


def test_every_metric_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "watching.md").read_text()
    documented = {
        word for line in text.splitlines() for word in line.split("`") if word[:7] == "supcon_"
    }
    assert documented == set(GAUGES)
