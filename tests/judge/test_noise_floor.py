"""What the noise floor trains, and what it says of differences that can be shown."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest

from search.judge.noise_floor import check_noise_floor, describe_noise, next_of_noise_floor
from search.space.loading import parse_space
from search.strategy.confirmation import next_run
from supcon.parsing import UserError
from tests.trained_study import TrainedStudy
from tests.written import TREE


@pytest.fixture
def study(study: TrainedStudy) -> TrainedStudy:
    """With reference rows."""
    study.restart(confirm={"top": 1, "seeds": 3})
    return study


def test_the_noise_floor_is_read_off_val_and_leaves_test_sealed(study: TrainedStudy) -> None:
    study.follow(partial(next_of_noise_floor, study), lambda ask: 0.5 + ask.number / 100)
    text = "\n".join(describe_noise(study, study.data))
    assert "51.00 +- 1.00: 50.00, 51.00, 52.00" in text
    assert "3 seeds and 360 test images will probably show differences from" in text
    assert study.log.openings == []
    assert not study.log.is_searched  # the search is still to come


def test_the_noise_floor_without_two_runs_says_what_it_takes(study: TrainedStudy) -> None:
    text = "\n".join(describe_noise(study, study.data))
    assert "takes 2 seeds of 2 losses" in text


@pytest.mark.parametrize("confirm", [{"seeds": 2}, {"references": False}])
def test_the_noise_floor_needs_reference_rows_of_three_seeds(confirm: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"--noise-floor: .*confirm\.seeds at least 3"):
        check_noise_floor(parse_space(TREE | {"confirm": confirm}, "x"))


def test_noise_runs_are_those_of_the_reference_rows(study: TrainedStudy) -> None:
    ask = next_of_noise_floor(study)
    assert ask is not None
    assert (ask.phase, ask.number, ask.of) == ("published", 0, None)
    assert next_run(study, []) is None


def test_of_several_comparisons_the_level_of_the_first_is_planned_for(study: TrainedStudy) -> None:
    study.follow(partial(next_of_noise_floor, study), lambda ask: 0.5 + ask.number / 100)
    alone = describe_noise(study, study.data)[-2]
    more = {"b": {"loss.name": "ce", "augment.cutout": 0.5}}
    study.restart(arms=study.tree["arms"] | more, baseline="ce")
    text = describe_noise(study, study.data)[-2]
    assert text.endswith("(in 4 of 5 cases, adjusted for 2 comparisons)")
    points = [float(re.findall(r"from ([0-9.]+) points", said)[0]) for said in (alone, text)]
    assert points[0] < points[1]
