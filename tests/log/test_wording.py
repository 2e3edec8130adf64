"""How numbers and times are put."""

from __future__ import annotations

from datetime import datetime

import pytest

from search.log.wording import mean_percent, show_clock, show_params, show_span, show_time


@pytest.mark.parametrize(
    ("values", "text"),
    [([], "-"), ([0.5], "50.00"), ([0.93, 0.94], "93.50 +- 0.71"), ([0.5, 0.5], "50.00 +- 0.00")],
)
def test_a_mean_has_its_spread_if_there_is_one(values: list[float], text: str) -> None:
    assert mean_percent(values) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (99, "99 s"), (101, "2 min"), (5900, "98 min"), (6100, "1 h 42 min"),
     (47 * 3600, "47 h 0 min"), (200_000, "2 d 7 h")],
)  # fmt: skip
def test_a_span_is_given_in_the_units_that_people_would_use(seconds: float, text: str) -> None:
    assert show_span(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00:00"), (59.9, "0:00:59"), (3723, "1:02:03"), (90000, "25:00:00")]
)
def test_a_clock_counts_hours_on(seconds: float, text: str) -> None:
    assert show_clock(seconds) == text


def test_params_are_shown_without_sections_and_with_three_digits() -> None:
    params = {"optim.lr_per_256": 0.123456, "data.batch_size": 1024, "run.eval_at": [1, 3]}
    assert show_params(params) == "lr_per_256=0.123  batch_size=1024"


def test_a_time_tells_its_zone() -> None:
    text = show_time(1.7e9)
    assert datetime.fromisoformat(text).timestamp() == 1.7e9
    assert datetime.fromisoformat(text).tzinfo is not None
