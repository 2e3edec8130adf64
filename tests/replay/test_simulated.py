"""A replay is a search of the product, but for its clock and its scores."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.log.events import Ask, End, Promoted
from search.log.study import Study
from search.strategy.early_stopping import decide
from search.strategy.search_order import SearchOrder
from tests.benchmarks.efficiency.simulated import simulate
from tests.benchmarks.efficiency.surrogate import World
from tests.replay.planted import TREE, space
from tests.written import WrittenStudy


def test_one_worker_trains_what_the_product_would(
    planted: dict[str, World], tmp_path: Path
) -> None:
    study = simulate(space(), planted, SearchOrder, decide)
    real = WrittenStudy(tmp_path, **TREE)
    order = SearchOrder(real)
    while (ask := order()) is not None:
        assert isinstance(ask, Ask)
        real.log.append(ask)
        scores = planted["ce"].scores(ask.params, ask.seed, real.space.rungs)
        for epoch, score in scores.items():
            is_last = epoch == 9
            decision = "done" if is_last else decide(real, ask.key, epoch, score)
            real.report(ask.arm, ask.number, epoch, score, decision=decision)
            if decision != "continue":
                break
        real.end(ask.arm, ask.number, "completed" if is_last else "stopped", epochs=epoch)
    assert [(*key, t.ask.params, t.scores, t.outcome) for key, t in study.log.trials.items()] == [
        (*key, t.ask.params, t.scores, t.outcome) for key, t in real.log.trials.items()
    ]
    assert {t.outcome for t in study.log.trials.values()} == {"completed", "stopped"}


def last_end(study: Study) -> float:
    return max(event.time for event in study.log.events if isinstance(event, End))


def test_the_clock_runs_for_all_workers_and_each_epoch_takes_its_seconds(
    planted: dict[str, World],
) -> None:
    whole = space(scheduler="none", budget={"trials": 4})
    alone = simulate(whole, planted, SearchOrder, decide, workers=1)
    four = simulate(whole, planted, SearchOrder, decide, workers=4)
    assert last_end(alone) == pytest.approx(8 * 9 * 2.0)
    assert last_end(four) == pytest.approx(2 * 9 * 2.0)
    assert len(four.log.trials) == 8


def test_a_paused_trial_goes_on_where_it_was_and_ends_stopped_if_it_never_does(
    planted: dict[str, World],
) -> None:
    asha = {"asha": {"grace": 1, "reduction": 3, "promotion": True}}
    study = simulate(space(scheduler=asha), planted, SearchOrder, decide)
    promoted = [event.number for event in study.log.events if isinstance(event, Promoted)]
    assert promoted
    for trial in study.log.trials.values():
        reached = list(trial.scores)
        assert reached == [1, 3, 9][: len(reached)]
        assert trial.outcome == ("completed" if reached[-1] == 9 else "stopped")
    assert study.log.totals("ce").epochs == sum(max(t.scores) for t in study.log.of("ce"))
