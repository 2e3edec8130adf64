"""What a search will cost, before it runs."""

from __future__ import annotations

from typing import Any

import pytest

from search.preflight.forecast import Expected, describe_forecast, describe_time, expected
from search.preflight.packing import Node
from search.preflight.trial_cost import CannotRun, TrialCost
from search.space.loading import parse_space
from search.space.resources import Shares
from supcon.config import Config, override
from supcon.images.split import Splits
from supcon.parsing import UserError
from tests.written import TREE

POINTS = {"points": {"ce": 2 * [{}], "supcon": 3 * [{}]}, "sampler": "points"}


@pytest.mark.parametrize(
    ("changes", "trials", "reach", "epochs"),
    [
        # A trial trains 1 + 2/3 + 6/9 epochs on average.
        ({"budget": {"total_epochs": 36}}, 16, (16, 5, 2), 16 * 1 + 5 * 2 + 2 * 6),
        ({"budget": {"total_epochs": 36, "trials": 9}}, 9, (9, 3, 1), 9 * 1 + 3 * 2 + 1 * 6),
        ({"budget": {"total_epochs": 36}, "scheduler": "none"}, 4, (4,), 4 * 9),
        ({"budget": {"trials": 1}}, 1, (1, 1, 1), 9),
        ({"budget": {}, **POINTS, "scheduler": "none"}, 3, (3,), 27),
    ],
)
def test_trials_are_as_many_as_the_budget_pays_if_asha_lets_its_share_pass(
    changes: dict[str, Any], trials: int, reach: tuple[int, ...], epochs: int
) -> None:
    evaluations = sum(reach) + 2 * reach[-1]
    space = parse_space(TREE | changes, "x")
    assert expected(space) == Expected(trials, reach, epochs, evaluations)


def test_time_alone_tells_nothing() -> None:
    with pytest.raises(UserError, match=r"--dry-run: needs budget.trials or budget.total_epochs"):
        expected(parse_space(TREE | {"budget": {"time": "1h"}}, "x"))


def test_the_forecast_adds_up_what_was_measured(digits: Splits) -> None:
    """Two arms of 4 trials of 9 epochs, and (2 * 2 + 2 * 3) runs of 9 epochs, two at once."""

    def cost(batch: int, seconds: float) -> TrialCost:
        config = override(Config(), {"data.batch_size": batch})
        takes = {"memory": 10**9, "capacity": 10**10, "checkpoint": 10**7}
        return TrialCost(config, seconds, 20.0, 100.0, **takes)

    space = parse_space(TREE | {"budget": {"trials": 4}, "scheduler": "none"}, "x")
    cannot = CannotRun(override(Config(), {"data.batch_size": 128}), "no memory")
    costs: list[TrialCost | CannotRun] = [cost(256, 10.0), cost(64, 30.0), cannot]
    lines = describe_forecast(space, Shares(space.resources), digits, costs, [Node(2, 0)])
    text = "\n".join(lines)
    views = 9 * len(digits.train) * 2
    assert f"each arm  4 trials, 36 epochs, {4 * views:,} views to search" in text
    assert f"10 runs on fresh seeds, each of {views:,} views: 4 to pick winners, 6 to c" in text
    fast, slow = ((2 * 36 + 10 * 9) * s + (2 * 12 + 3 * 10) * 20 for s in (10.0, 30.0))
    assert (fast, slow) == (2700, 5940)
    (time,) = [line for line in lines if line.startswith("time")]
    assert "0:36 h with kinds drawn evenly, 0:23 to 0:50 h if" in time  # two at once, rounded up
    assert f"disk      {10 * (2 + 10)} MB at most" in text
    rows = [line.split() for line in lines if line.startswith("resnet18, batch")]
    assert [row[-1] for row in rows] == ["2", "2", "memory"]
    assert rows[0][-4:-1] == ["10.00", "20.00", "1000"]


def test_a_forecast_counts_the_starts_of_workers_which_are_as_many_as_run_at_once() -> None:
    """One for the search, one for what follows: both arms' workers start side by side."""
    space = parse_space(TREE | {"budget": {"trials": 1}, "confirm": {"seeds": 1}}, "x")
    cost = TrialCost(Config(), 1.0, 1.0, 100.0, 10**9, 10**10, 10**6, start_seconds=3600.0)
    for nodes in ([Node(1, 0)], [Node(64, 0)]):
        (time, _) = describe_time(space, Shares(space.resources), [cost], nodes)
        assert time.startswith("time      2:0")


def test_several_trials_on_a_gpu_that_one_fills_are_no_faster() -> None:
    """Two arms of a trial of 9 epochs, and two runs of their winners, which are the same trials."""
    drawn = {"budget": {"trials": 1}, "confirm": {"top": 1, "seeds": 1, "references": False}}
    space = parse_space(TREE | drawn | {"resources": {"gpu": 0.125}}, "x")
    hours = {}
    for busy, gpus in ((1.0, 1), (0.5, 1), (0.01, 1), (1.0, 2)):
        cost = TrialCost(Config(), 3600.0, 0.0, 100.0, 10**9, 10**10, 10**6, busy=busy)
        (time, _) = describe_time(space, Shares(space.resources), [cost], [Node(64, gpus)])
        hours[busy, gpus] = time.split()[1]
    assert hours == {(1, 1): "36:00", (0.5, 1): "18:00", (0.01, 1): "4:30", (1, 2): "18:00"}


def test_where_nothing_can_run_there_is_no_time(digits: Splits) -> None:
    space = parse_space(TREE, "x")
    lines = describe_forecast(
        space, Shares(space.resources), digits, [CannotRun(Config(), "no memory")], [Node(2, 0)]
    )
    assert lines[-1] == "no kind of config can run here"
    assert "cannot run: no memory" in lines[-3]


def test_what_ends_in_no_lifetime_has_no_date(digits: Splits) -> None:
    space = parse_space(TREE | {"budget": {"total_epochs": 10**9}}, "x")
    costs = [TrialCost(Config(), 1000.0, 1.0, 100.0, 10**9, 10**10, 10**6)]
    lines = describe_forecast(space, Shares(space.resources), digits, costs, [Node(1, 0)])
    assert "ends      in no lifetime; lower the budget or run.epochs" in lines
