"""One trial as Ray runs it: an actor that had other trials before gives the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search.engine.trial_actor import SupConTrial
from supcon.config import Config, override
from supcon.images.split import Splits
from supcon.recipe.checkpoint import load_state

EVERY_EPOCH = {"run.eval_every": 1}
OTHER = {
    **EVERY_EPOCH, "loss.name": "ce", "data.batch_size": 50, "optim.name": "adamw",
    "optim.lr_per_256": 0.01, "run.precision": "bf16", "data.pipeline": "resident", "run.seed": 7,
}  # fmt: skip
EXPLODING = {"optim.lr_per_256": 1000.0, "optim.weight_decay": 1000.0}
IMPOSSIBLE = {"data.batch_size": 128}  # more than a quarter of the images
Start = Callable[[dict[str, Any]], SupConTrial]
Outcome = tuple[list[dict[str, Any]], dict[str, Any]]


@pytest.fixture(scope="module")
def start(digits: Splits, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Starts an actor with its first trial, in this process and without a cluster."""
    study = tmp_path_factory.mktemp("study")

    class Actor(SupConTrial):
        def setup(self, config: dict[str, Any]) -> None:  # type: ignore[override]
            super().setup(config, digits, study)

    return Actor


@pytest.fixture(scope="module")
def expected(start: Start, tiny: Config) -> Outcome:
    """What an actor that had no other trial makes of the config below."""
    actor = start(trial(tiny, "fresh", EVERY_EPOCH))
    found = results(actor)
    assert [result["epoch"] for result in found] == [1, 2, 3]
    return found, weights(actor)


def trial(tiny: Config, name: str, changes: dict[str, Any]) -> dict[str, Any]:
    config = override(tiny, changes).model_dump_json()
    return {"name": name, "phase": "search", "config": config, "gpu": 0}


def results(actor: SupConTrial, limit: int = 99) -> list[dict[str, Any]]:
    """What the current trial reports, at most `limit` times, without times."""
    found: list[dict[str, Any]] = []
    while len(found) < limit and not (found and found[-1]["done"]):
        result = actor.step()
        found.append({k: v for k, v in result.items() if "seconds" not in k and k != "first_step"})
    return found


@pytest.mark.parametrize(
    ("before", "limit", "outcome"),
    [
        (OTHER, 99, "completed"),
        (OTHER, 1, ""),  # as one that ASHA stops
        (EVERY_EPOCH, 2, ""),  # its very own config, another seed
        (EXPLODING, 99, "diverged"),
        (IMPOSSIBLE, 99, "failed"),
    ],
)
def test_a_trial_does_not_depend_on_what_its_actor_ran_before(
    start: Start, expected: Outcome, tiny: Config, tmp_path: Path,
    before: dict[str, Any], limit: int, outcome: str,
) -> None:  # fmt: skip
    actor = start(trial(tiny, f"{tmp_path.name}-before", {"run.seed": 1, **before}))
    assert results(actor, limit)[-1]["outcome"] == outcome
    assert actor.reset(trial(tiny, f"{tmp_path.name}-after", EVERY_EPOCH))
    assert (results(actor), weights(actor)) == expected
    actor.stop()


def weights(actor: SupConTrial) -> dict[str, Any]:
    state = load_state(actor.folder / "last.pt")
    return {name: tensor.tolist() for name, tensor in state["network"].items()}


def test_a_trial_says_when_it_began_to_train_and_what_evaluation_took(
    start: Start, tiny: Config
) -> None:
    result = start(trial(tiny, "x", EVERY_EPOCH)).step()
    assert result["evaluation_seconds"] > 0
    assert result["first_step"] > 1.7e9


def test_an_actor_says_which_trial_it_trains_and_how_far_it_is(start: Start, tiny: Config) -> None:
    changes = {**EVERY_EPOCH, "loss.temperature": 0.0712345, "model.backbone": "test_resnet"}
    actor = start(trial(tiny, "supcon-12", changes))
    assert repr(actor) == "supcon-12 test_resnet τ=0.0712 epoch 0/3"
    actor.step()
    assert repr(actor) == "supcon-12 test_resnet τ=0.0712 epoch 1/3"
    actor.reset_config(trial(tiny, "ce-3", {**EVERY_EPOCH, "loss.name": "ce"}))
    assert repr(actor) == "ce-3 test_resnet epoch 0/3"
