"""What Ray draws trials from: which trial is next, when there is room, and second chances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search.engine.scheduler import LoggedAsha
from search.engine.trial_source import TrialSource
from search.log.events import Ask, Retry, Started
from search.log.study import Study
from search.log.trial import Trial
from search.preflight.packing import Node, room
from search.space.resources import Footprint, Share
from search.strategy.search_order import SearchOrder
from supcon.config import Config
from supcon.parsing import UserError
from tests.written import WrittenStudy

ONE_ARM: dict[str, Any] = {
    "params": {"optim.momentum": {"uniform": [0, 0.999]}},
    "arms": {"ce": {"loss.name": "ce"}},
    "budget": {"trials": 60},
    "scheduler": "none",
}
OOM = {"epoch": 0, "done": True, "outcome": "infeasible", "detail": "out of memory"}


@pytest.fixture
def study(tmp_path: Path) -> WrittenStudy:
    return WrittenStudy(tmp_path, **ONE_ARM)


def source(study: Study, trials: int = 4, **more: Any) -> TrialSource:
    """So many trials of the search."""
    order = SearchOrder(study)
    next_trial = lambda: order() if trials > len(study.log.of("ce")) else None  # noqa: E731
    return TrialSource(study, ["search"], next_trial, **more)


def ran_out(study: Study, number: int) -> None:
    """A trial says that its memory ran out."""
    trial = SimpleNamespace(config={"arm": "ce", "phase": "search", "number": number})
    LoggedAsha(study).on_trial_complete(None, trial, OOM)


def finish(study: WrittenStudy, number: int) -> None:
    study.train(trial(study, number).ask)


def trial(study: Study, number: int) -> Trial:
    return study.log.trials["ce", "search", number]


def number_of(given: Any) -> Any:
    return given["number"] if isinstance(given, dict) else given


def share_of(given: Any) -> tuple[float, float] | None:
    return (given["cpu"], given["gpu"]) if isinstance(given, dict) else None


def test_a_trial_is_in_the_log_before_ray_has_it_and_its_config_is_complete(
    study: WrittenStudy,
) -> None:
    given = source(study).suggest("ray-0")
    assert isinstance(given, dict)
    ask = trial(study, 0).ask
    assert Config.model_validate_json(given.pop("config")) == study.config_of(ask)
    assert given == {
        "arm": "ce", "phase": "search", "number": 0, "name": "ce-0", "cpu": 1, "gpu": 0,
        "gpu_memory": 0,
    }  # fmt: skip


def test_a_trial_that_has_no_valid_config_is_not_logged(study: WrittenStudy) -> None:
    bad = Ask(arm="ce", phase="search", number=0, params={"data.batch_size": 9.5}, seed=0)
    with pytest.raises(UserError):
        TrialSource(study, ["search"], lambda: bad).suggest("ray-1")
    assert len(study.log.events) == 1


def test_what_an_earlier_process_left_of_these_phases_comes_first(study: WrittenStudy) -> None:
    study.ask("ce", 0, params={"optim.momentum": 0.5})
    study.ask("ce", 0, "published", params={})
    study.ask("ce", 1, params={"optim.momentum": 0.6})
    n_events = len(study.log.events)
    trials = source(study, 3)
    assert [number_of(trials.suggest(f"ray-{i}")) for i in range(2)] == [0, 1]
    assert len(study.log.events) == n_events  # they were asked for before
    assert number_of(trials.suggest("ray-2")) == 2
    assert trials.suggest("ray-3") is None  # one of them may have to be run once more
    for number in range(3):
        finish(study, number)
    assert trials.suggest("ray-4") == "FINISHED"


# A second chance


def test_a_trial_without_memory_is_run_once_more_without_neighbours(study: WrittenStudy) -> None:
    trials = source(study)
    assert [number_of(trials.suggest(f"ray-{i}")) for i in range(2)] == [0, 1]
    ran_out(study, 0)
    assert trial(study, 0).retry is not None
    assert trials.suggest("ray-2") is None  # trial 1 still runs
    finish(study, 1)
    assert number_of(trials.suggest("ray-3")) == 0
    assert trials.suggest("ray-4") is None  # while it runs alone
    ran_out(study, 0)
    assert trial(study, 0).outcome == "infeasible"
    assert [number_of(trials.suggest(f"ray-{i}")) for i in range(5, 7)] == [2, 3]
    assert trials.suggest("ray-7") is None  # one of them may need another try
    for number in (2, 3):
        finish(study, number)
    assert trials.suggest("ray-8") == "FINISHED"
    assert sum(isinstance(event, Retry) for event in study.log.events) == 1


def test_a_second_try_survives_a_restart(study: WrittenStudy) -> None:
    trials = source(study)
    for i in range(2):
        trials.suggest(f"ray-{i}")
    ran_out(study, 0)
    again = Study.open(study.folder.path)
    trials = source(again)
    assert number_of(trials.suggest("ray-0")) == 0
    assert trials.suggest("ray-1") is None
    ran_out(again, 0)
    assert trial(again, 0).outcome == "infeasible"
    assert number_of(trials.suggest("ray-2")) == 1  # unfinished too


def test_a_worker_that_dies_in_a_second_try_is_replaced(study: WrittenStudy) -> None:
    trials = source(study)
    trials.suggest("ray-0")
    ran_out(study, 0)
    assert number_of(trials.suggest("ray-1")) == 0
    trials.on_trial_complete("ray-1", error=True)
    assert number_of(trials.suggest("ray-2")) == 0
    assert trials.suggest("ray-3") is None


def test_a_trial_whose_worker_keeps_dying_has_failed(study: WrittenStudy) -> None:
    trials = source(study, errors={("ce", "search", 0): "OSError: no such folder: /x"})
    for attempt in range(3):
        assert number_of(trials.suggest(f"ray-{attempt}")) == 0
        assert trial(study, 0).outcome is None
        trials.on_trial_complete(f"ray-{attempt}", error=True)
    end = trial(study, 0).end
    assert end is not None
    assert end.outcome == "failed"
    assert end.detail == "its worker process kept dying (OSError: no such folder: /x)"
    assert number_of(trials.suggest("ray-9")) == 1


# Shares


@pytest.fixture
def auto(tmp_path: Path) -> WrittenStudy:
    """Trials of batch sizes 64 and 128 in turn, of which three share a GPU, as was measured."""
    sizes = (64, 128)
    points = {"ce": [{"data.batch_size": size} for size in sizes * 30]}
    params = {"data.batch_size": {"choice": [*sizes]}}
    drawn = {"params": params, "sampler": "points", "points": points}
    resources = {"cpu": 1, "gpu": "auto"}
    study = WrittenStudy(tmp_path, **ONE_ARM | drawn, resources=resources)
    config = study.space.config
    measured = tuple(
        Footprint(
            backbone=config.model.backbone, batch_size=size, precision=config.run.precision,
            memory=19 * 2**30, views_per_second=1000, cpu=1, gpu=0.3333,
        )
        for size in sizes
    )  # fmt: skip
    study.add(Started, study="x", space=study.tree, commit="", versions={}, measured=measured)
    return study


def room_on(nodes: list[Node], study: Study) -> Callable[[Sequence[Share]], bool]:
    return lambda taken: room(nodes, taken, study.shares.all()[0]) > 0


def test_no_trial_is_asked_for_before_there_is_room(auto: WrittenStudy) -> None:
    nodes = [Node(8, 1)]
    trials = source(auto, 9, has_room=room_on(nodes, auto))
    given = [trials.suggest(f"ray-{i}") for i in range(4)]
    assert [share_of(each) for each in given] == [(1, 0.3333)] * 3 + [None]
    assert len(auto.log.of("ce")) == 3
    nodes.append(Node(8, 1))  # a node joins
    assert [isinstance(trials.suggest(f"ray-{i}"), dict) for i in range(4, 8)] == [
        True, True, True, False,
    ]  # fmt: skip


def test_a_search_waits_for_nodes_rather_than_give_up(auto: WrittenStudy) -> None:
    trials = source(auto, has_room=room_on([], auto))
    assert isinstance(trials.suggest("ray-0"), dict)  # Ray holds it until there is a node
    assert trials.suggest("ray-1") is None


def test_a_trial_that_ran_out_of_its_share_and_those_like_it_get_a_whole_gpu(
    auto: WrittenStudy,
) -> None:
    trials = source(auto)
    assert share_of(trials.suggest("ray-0")) == (1, 0.3333)
    ran_out(auto, 0)
    found = []
    for i in range(1, 4):
        given = trials.suggest(f"ray-{i}")
        found.append((number_of(given), share_of(given)))
        finish(auto, number_of(given))
    assert found == [(0, (1, 1)), (1, (1, 0.3333)), (2, (1, 1))]  # 1 is of another kind
