"""How much is searched in the hours that there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search.preflight.forecast import search_seconds
from search.preflight.packing import Node
from search.preflight.trial_cost import TrialCost
from search.proposal.choices import Network
from search.proposal.hours import MOST_EPOCHS, MOST_TRIALS, PLANS, SAFETY, Plan, fit_plan
from search.proposal.survey import Survey, survey
from search.proposal.text import space_text
from search.space.loading import parse_space
from supcon.config import Config
from supcon.plain_yaml import read
from tests.proposal.conftest import Folder

NETWORK = Network(("resnet18",), 32)


@pytest.fixture
def found(folder: Folder) -> Survey:
    return survey(folder({"cat": 60, "dog": 60}))[0]


def cost(epoch_seconds: float) -> TrialCost:
    return TrialCost(Config(), epoch_seconds, 1.0, 100.0, 2**20, 2**30, 2**20)


def fitted(found: Survey, plan: Plan, hours: float, seconds: float, cores: int = 2) -> Plan | None:
    def space_of(wanted: Plan) -> dict[str, Any]:
        text = space_text(found, NETWORK, wanted, Path("mine.yaml"), hours, on_gpu=False)
        return dict(read(text))

    return fit_plan(plan, hours, cost(seconds), space_of, [Node(cores, 0)])


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_takes_the_hours_less_what_is_kept_in_hand(found: Survey, plan: Plan) -> None:
    for hours in (1.0, 4.0, 24.0):
        fit = fitted(found, plan, hours, seconds=10.0)
        if fit is None or (fit.epochs, fit.trials) == (MOST_EPOCHS, MOST_TRIALS):
            continue
        text = space_text(found, NETWORK, fit, Path("mine.yaml"), hours, on_gpu=False)
        seconds = search_seconds(parse_space(read(text), "x"), cost(10.0)) / 2
        assert seconds == pytest.approx(3600 * fit.hours)
        assert 0.85 * SAFETY * hours <= fit.hours <= SAFETY * hours


def test_more_hours_are_more_epochs_and_then_more_trials(found: Survey) -> None:
    plans = [fitted(found, PLANS[1], hours, seconds=10.0) for hours in (4, 8, 40, 400)]
    sizes = [(plan.epochs, plan.trials) for plan in plans if plan is not None]
    assert len(sizes) == 4
    assert sizes == sorted(sizes)
    assert sizes[-1] == (MOST_EPOCHS, MOST_TRIALS)


def test_too_few_hours_fit_no_plan(found: Survey) -> None:
    assert fitted(found, PLANS[-1], 0.1, seconds=100.0) is None
