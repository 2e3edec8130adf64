"""Lines of a log, and those of logs that earlier versions wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from search.log.events import ADAPTER, Ask, Promoted, Started
from search.log.study import Study
from search.space.resources import ConfigKind, Footprint, Share
from tests.written import TREE

ASK: dict[str, Any] = {
    "event": "ask", "arm": "ce", "phase": "one_view", "number": 0, "seed": 3, "of": 1,
    "params": {"optim.lr_per_256": 0.3}, "time": 1010,
}  # fmt: skip
ONE_VIEW = {"augment.views": 1, "run.epochs": 18, "run.eval_at": [18]}
FOOTPRINT = {
    "backbone": "resnet18", "batch_size": 256, "precision": "fp32", "memory": 10**9,
    "views_per_second": 900.0, "cpu": 4.0, "gpu": 0.25,
}  # fmt: skip


def read(event: dict[str, Any]) -> Any:
    return ADAPTER.validate_json(json.dumps(event))


def test_settings_beside_the_params_of_an_older_log_are_told_from_what_was_drawn() -> None:
    found = read(ASK | {"params": ASK["params"] | ONE_VIEW})
    assert found == read(ASK | {"settings": ONE_VIEW})
    assert found.params == {"optim.lr_per_256": 0.3}
    assert found.changes == ASK["params"] | ONE_VIEW


def test_an_event_is_read_as_it_was_written() -> None:
    for event in (read(ASK), read(ASK | {"settings": ONE_VIEW})):
        assert ADAPTER.validate_json(event.model_dump_json()) == event
        assert ("settings" in event.model_dump()) == bool(event.settings)  # no empty one


def test_an_arm_is_named_like_a_folder_of_its_study() -> None:
    with pytest.raises(ValidationError, match=r"letters, digits and _, got '\.\./ce'"):
        read(ASK | {"arm": "../ce"})


def test_a_study_that_an_earlier_version_wrote_keeps_its_shares_and_references(
    tmp_path: Path,
) -> None:
    resources = {"cpu": "auto", "gpu": "auto", "measured": [FOOTPRINT]}
    space = TREE | {"resources": resources, "base": {"run": {"epochs": 9, "precision": "fp32"}}}
    started = {
        "event": "opened", "study": "x", "space": space, "commit": "", "versions": {}, "time": 1000,
    }  # fmt: skip
    lines = [started, ASK | {"params": ASK["params"] | ONE_VIEW}]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    study = Study.open(tmp_path)
    assert study.log.measured == (Footprint(**FOOTPRINT),)
    (run,) = study.log.of("ce", "one_view")
    config = study.config_of(run.ask)
    assert (config.augment.views, config.run.epochs, config.run.eval_at) == (1, 18, (18,))
    assert ConfigKind.of(config) == study.log.measured[0].kind
    assert study.shares.of(config) == Share(4, 0.25)
    assert study.length_of(run.ask) == 18


def test_a_log_that_drew_pretrained_is_read_as_if_it_had_drawn_weights(tmp_path: Path) -> None:
    drawn = {"model.pretrained": {"choice": [True, False]}}
    space = TREE | {"params": drawn | TREE["params"]}
    started = {
        "event": "opened", "study": "x", "space": space, "commit": "", "versions": {}, "time": 1000,
    }  # fmt: skip
    ask = ASK | {"phase": "search", "params": {"model.pretrained": True} | ASK["params"]}
    lines = [started, ask]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    study = Study.open(tmp_path)
    assert study.space.params["model.weights"].values == ("timm", "none")
    (run,) = study.log.of("ce")
    assert run.ask.params["model.weights"] == "timm"
    assert study.config_of(run.ask).model.weights == "timm"


def test_what_was_measured_is_written_beside_the_space_once() -> None:
    started = Started(study="x", space=TREE, commit="", versions={})
    assert "measured" not in started.model_dump()
    measured = (Footprint(**FOOTPRINT),)
    again = ADAPTER.validate_json(
        started.model_copy(update={"measured": measured}).model_dump_json()
    )
    assert isinstance(again, Started)
    assert again.measured == measured
    assert again.space == TREE


def test_an_ask_has_no_settings_unless_it_says_so() -> None:
    ask = Ask(arm="ce", phase="search", number=0, params={"optim.lr_per_256": 0.3}, seed=0)
    assert ask.changes == ask.params


def test_a_log_of_a_version_that_kept_a_last_part_for_the_end_can_be_read() -> None:
    line = {"event": "promoted", "time": 1.0, "arm": "ce", "phase": "search", "number": 0}
    assert Promoted.model_validate(line | {"why": "end"}).why == "end"
