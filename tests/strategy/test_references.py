"""The published settings, inside of what is searched, and cross entropy of one view."""

from __future__ import annotations

from typing import Any

from search.space.loading import parse_space
from search.space.space import Space
from search.strategy.references import one_view, published, without_additions
from search.strategy.winners import published_runs
from tests.written import TREE


def space(params: dict[str, Any]) -> Space:
    return parse_space(TREE | {"params": params}, "x")


def test_published_settings_stay_inside_the_ranges_that_are_searched() -> None:
    params = {
        "loss.temperature": {"loguniform": [0.2, 0.5]},  # published: 0.1
        "data.batch_size": {"pow2": [64, 256]},  # 1024
        "model.backbone": {"choice": ["resnet18", "resnet34"]},  # resnet50
        "optim.lr_per_256": {"loguniform": [0.01, 1.0]},
    }
    this = space(params)
    assert published(this, "supcon") == {
        "loss.temperature": 0.2, "data.batch_size": 256, "model.backbone": "resnet18",
        "optim.lr_per_256": 0.125,
    }  # fmt: skip
    assert published(this, "ce")["optim.lr_per_256"] == 0.2
    assert "loss.temperature" not in published(this, "ce")
    for arm in this.arms:
        this.trial_config(arm, published(this, arm), seed=0)


def test_a_setting_that_is_off_by_default_has_a_reference_too() -> None:
    this = space(
        {"optim.clip_norm": {"uniform": [0.5, 2]}, "augment.blur": {"uniform": [0.1, 0.5]}}
    )
    for arm in this.arms:
        assert published(this, arm) == {"optim.clip_norm": 0.5, "augment.blur": 0.1}
        this.trial_config(arm, published(this, arm), seed=0)


def test_published_cross_entropy_is_plain_where_the_search_may_mix_views() -> None:
    params = {
        "augment.policy": {"choice": ["trivialaugment", "crop_jitter"]},
        "augment.cutmix": {"choice": [1.0, 0.0]},
        "augment.mixup": {"uniform": [0.0, 0.5]},
    }
    plain = {"augment.policy": "crop_jitter", "augment.cutmix": 0.0, "augment.mixup": 0.0}
    mixed = {"augment": {"policy": "trivialaugment", "cutmix": 1.0}}
    this = parse_space(TREE | {"params": params, "base": TREE["base"] | mixed}, "x")
    for arm in this.arms:
        assert published(this, arm) == plain


def test_what_an_arm_adds_to_its_loss_is_taken_back_for_its_reference() -> None:
    ce = {"loss.name": "ce", "augment.cutmix": 1.0, "loss.label_smoothing": 0.1}
    arms = {"supcon": {"loss.name": "supcon", "augment.strength": 0.5}, "ce": ce}
    this = parse_space(TREE | {"arms": arms}, "x")
    assert without_additions(this, "supcon") == {}
    assert without_additions(this, "ce") == {"augment.cutmix": 0.0, "loss.label_smoothing": 0.0}
    (_, runs) = published_runs(this, arms)
    config = this.trial_config("ce", runs.params | runs.settings, seed=0)
    assert (config.augment.is_mixed, config.loss.label_smoothing) == (False, 0.0)


def test_published_settings_keep_the_conditions_of_the_space() -> None:
    momentum = {"uniform": [0.5, 0.8], "when": {"optim.name": "sgd"}}
    decay = {"uniform": [0.01, 0.1], "when": {"optim.name": "adamw"}}
    params = {"optim.name": {"choice": ["adamw", "sgd"]}, "optim.momentum": momentum}
    assert published(space(params | {"optim.weight_decay": decay}), "ce") == {
        "optim.name": "sgd", "optim.momentum": 0.8,
    }  # fmt: skip


def test_one_view_of_twice_the_epochs_sees_as_many_views() -> None:
    this = space({"optim.lr_per_256": {"loguniform": [0.15, 1]}})
    drawn = {"optim.lr_per_256": 0.3}
    two = this.trial_config("ce", drawn, seed=0)
    one = this.trial_config("ce", drawn | one_view(this, "ce"), seed=0)
    assert one.optim == two.optim
    assert one.augment.views * one.run.epochs == two.augment.views * two.run.epochs == 18
