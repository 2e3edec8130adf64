"""A study: its space, its log, and the config of each of its trials."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.log.events import Started
from search.log.study import Study
from search.space.resources import ConfigKind, Footprint, Share
from supcon.parsing import UserError
from tests.written import WrittenStudy

ONE_VIEW = {"augment.views": 1, "run.epochs": 18, "run.eval_at": [18]}


def test_a_study_is_opened_with_the_space_that_its_log_goes_by_now(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path)
    study.trial("ce", 0, 0.5)
    study.restart(budget={"trials": 99})
    found = Study.open(study.folder.path)
    assert (found.space, found.log.events) == (study.space, study.log.events)
    assert (found.name, found.arms, found.folder) == ("x", ["supcon", "ce"], study.folder)


def test_where_no_study_is_none_is_opened(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such study"):
        Study.open(tmp_path)


def test_a_trial_has_its_params_its_settings_and_its_seed(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path)
    params = {"optim.lr_per_256": 0.3}
    study.ask("ce", 7, params=params)
    study.ask("ce", 0, "one_view", of=7, params=params, settings=ONE_VIEW)
    (drawn,), (one_view,) = study.log.of("ce"), study.log.of("ce", "one_view")
    config = study.config_of(drawn.ask)
    assert (config.optim.lr_per_256, config.loss.name, config.run.seed) == (0.3, "ce", 7)
    assert (study.length_of(drawn.ask), study.evaluated_at(drawn.ask)) == (9, (1, 3, 9))
    other = study.config_of(one_view.ask)
    assert (other.optim, other.augment.views, other.run.epochs) == (config.optim, 1, 18)
    assert (study.length_of(one_view.ask), study.evaluated_at(one_view.ask)) == (18, [18])


def test_a_trial_starts_from_the_weights_that_were_found_when_the_study_began(
    tmp_path: Path,
) -> None:
    pinned = {"model.weights": "/data/a.pth", "model.weights_hash": 64 * "a"}
    study = WrittenStudy(tmp_path, base={"run": {"epochs": 9}, "model": {"weights": "a.pth"}})
    study.ask("ce", 0)
    (trial,) = study.log.of("ce")
    assert study.config_of(trial.ask).model.weights == "a.pth"
    started = study.log.started.model_copy(update={"weights": {"a.pth": pinned}})
    study.log.path.write_text(
        "".join(f"{e.model_dump_json()}\n" for e in [started, *study.log.events[1:]])
    )
    model = Study.open(study.folder.path).config_of(trial.ask).model
    assert (model.weights, model.weights_hash) == ("/data/a.pth", 64 * "a")


def test_a_trial_has_as_many_threads_as_its_share_has_cores(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, resources={"cpu": "auto"})
    study.ask("ce", 0)
    (trial,) = study.log.of("ce")
    assert study.config_of(trial.ask).run.threads == 0  # nothing is known yet
    config = study.config_of(trial.ask)
    measured = Footprint(
        backbone=config.model.backbone, batch_size=config.data.batch_size,
        precision=config.run.precision, memory=10**9, views_per_second=9, cpu=3.5, gpu=0,
    )  # fmt: skip
    study.add(Started, study="x", space=study.tree, commit="", versions={}, measured=(measured,))
    assert study.config_of(trial.ask).run.threads == 3
    assert study.shares.of(config) == Share(3.5, 0)


def test_a_trial_gets_by_with_memory_as_its_kind_was_measured(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path, resources={"cpu": "auto"})
    study.ask("ce", 0)
    (trial,) = study.log.of("ce")
    config = study.config_of(trial.ask)
    assert config.run.memory == "auto"  # nothing is known yet
    kind = ConfigKind.of(config)._replace(memory_mode="cached")
    measured = Footprint(**kind._asdict(), memory=10**9, views_per_second=9, cpu=2, gpu=0)
    study.add(Started, study="x", space=study.tree, commit="", versions={}, measured=(measured,))
    assert study.config_of(trial.ask).run.memory == "cached"
