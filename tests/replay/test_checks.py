"""What a search says of itself is compared with what is so."""

from __future__ import annotations

import re

import pytest

from search.strategy.early_stopping import decide
from search.strategy.search_order import SearchOrder
from tests.benchmarks.efficiency.checks import audited, final_scores, tie
from tests.benchmarks.efficiency.simulated import simulate
from tests.benchmarks.efficiency.surrogate import World
from tests.replay.planted import space

PAUSING = {"asha": {"grace": 1, "sentinels": 0.3}}


def test_of_two_equal_arms_neither_is_favoured(planted: dict[str, World]) -> None:
    spaces = [
        space(
            arms={"first": {"loss.name": "ce"}, "second": {"loss.name": "ce"}}, baseline="second",
            budget={"total_epochs": 30}, scheduler=PAUSING, seed=seed,
        )
        for seed in range(16)
    ]  # fmt: skip
    said = tie(spaces, planted["ce"], 4, 1)
    found = re.match(r"the first of two equal arms finds better in ([\d.]+)% of 16", said)
    assert found
    assert 20 < float(found[1]) < 80


@pytest.mark.slow
def test_audits_are_compared_with_the_final_scores_of_all_trials(planted: dict[str, World]) -> None:
    spaces = [space(scheduler=PAUSING, seed=seed) for seed in range(3)]
    lines = list(audited(spaces, planted, 1))
    assert re.match(r"\d of 6 audits say something", lines[0])
    assert lines[1].startswith("epoch 1: tau is 0.")
    assert lines[-1].startswith("the best was left behind in ")


def test_a_trial_that_waits_has_the_final_score_that_it_would_have(
    planted: dict[str, World],
) -> None:
    study = simulate(space(scheduler=PAUSING), planted, SearchOrder, decide)
    whole = final_scores(study, "ce", planted["ce"])
    assert len(whole) == len(study.log.of("ce"))
    for trial in study.log.of("ce"):
        assert trial.is_completed <= (trial.score == whole[trial.ask.number])
