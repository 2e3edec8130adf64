"""Configs: what is accepted, what is refused and with which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from supcon.config import (
    SWITCHES,
    TEXT_KEYS,
    UNUSED_KEYS,
    Config,
    as_setting,
    dump_config,
    flatten,
    is_used,
    load_config,
    override,
    renamed,
)
from supcon.parsing import UserError, parse
from supcon.plain_yaml import read


def test_defaults_are_those_of_the_paper_where_it_has_some() -> None:
    config = Config()
    assert config.loss.name == "supcon"
    assert config.loss.temperature == config.loss.base_temperature == 0.1
    assert config.augment.views == 2
    assert config.model.head_dim == 128


def test_every_setting_says_what_it_is_for() -> None:
    silent = [
        f"{section}.{name}"
        for section, model in Config()
        for name, field in type(model).model_fields.items()
        if not field.description
    ]
    assert silent == []


def test_a_dumped_config_loads_as_the_same_config(tmp_path: Path) -> None:
    changes = {
        "data.root": "/somewhere/else",
        "data.train_size": 300,
        "augment.flip": 0.25,
        "probe.l2": [0.1, 0.0001],
        "run.eval_at": [1, 3],
    }
    config = override(Config(), changes)
    path = tmp_path / "x.yaml"
    path.write_text(dump_config(config))
    assert load_config(path) == config
    assert load_config(path) != Config()


def test_a_dumped_config_is_complete() -> None:
    written = read(dump_config(Config()))
    assert {section: set(values) for section, values in written.items()} == {
        section: set(type(model).model_fields) for section, model in Config()
    }


def test_a_config_cannot_be_changed_in_place() -> None:
    config = Config()
    with pytest.raises(ValidationError, match="frozen"):
        config.run.epochs = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        config.run = Config().run  # type: ignore[misc]


def test_override_changes_the_dotted_keys_and_nothing_else() -> None:
    before = Config()
    after = override(before, {"loss.temperature": 0.2, "run.epochs": 7})
    assert flatten(after) == flatten(Config()) | {"loss.temperature": 0.2, "run.epochs": 7}
    assert before == Config()


def test_override_validates_the_changed_config_as_a_whole() -> None:
    one_view = override(Config(), {"loss.name": "ce", "augment.views": 1})
    assert one_view.augment.views == 1
    with pytest.raises(UserError, match=r"^--set: augment\.views must be at least 2 .*, got 1$"):
        override(one_view, {"loss.name": "supcon"}, "--set")


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("loss.temprature", "; did you mean 'loss.temperature'?"),
        ("optim.lr_per_265", "; did you mean 'optim.lr_per_256'?"),
        ("data.batchsize", "; did you mean 'data.batch_size'?"),
        ("run.epoch", "; did you mean 'run.epochs'?"),
        ("Xyzzy", ""),
        ("run", ""),
        ("run.epochs.x", "; did you mean 'run.epochs'?"),
    ],
)
def test_override_names_the_nearest_right_key(key: str, hint: str) -> None:
    with pytest.raises(UserError) as error:
        override(Config(), {key: 1}, "--set")
    assert str(error.value) == f"--set: unknown key '{key}'{hint}"


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"dta": {}}, "x.yaml: unknown key 'dta'; did you mean 'data'?"),
        (
            {"loss": {"temprature": 0.1}},
            "x.yaml: unknown key 'loss.temprature'; did you mean 'loss.temperature'?",
        ),
        ({"zzz": 1}, "x.yaml: unknown key 'zzz'"),
        ({"run.epochs": 5}, "x.yaml: run.epochs must be nested: run: {epochs: ...}"),
    ],
)
def test_an_unknown_key_of_a_file_names_the_nearest_right_one(
    tree: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as error:
        parse(Config, tree, "x.yaml")
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("data.name", "cifar", "'folder', 'table' or 'huggingface', got 'cifar'"),
        ("data.root", 5, "path"),
        ("data.image_size", 4, "must be greater than or equal to 8"),
        ("data.fit", "stretch", "must be 'crop', 'squeeze' or 'pad'"),
        ("data.background", "#ff", "data.background"),
        ("data.val_size", 0, "must be greater than 0"),
        ("data.val_size", 1.5, "must be a fraction below 1 or a whole number of images"),
        ("data.batch_size", 1, "must be greater than or equal to 2"),
        ("data.batch_size", "many", "must be a valid integer"),
        ("data.split_seed", 2**32, "must be less than 4294967296"),
        ("data.workers", -1, "must be greater than or equal to 0"),
        ("augment.strength", 1.1, "must be less than or equal to 1"),
        ("augment.views", 1, "must be at least 2 for loss.name supcon"),
        ("augment.crop", 0, "must be greater than 0"),
        ("augment.rotation", 181, "must be less than or equal to 180"),
        ("model.backbone", 18, "must be a valid string"),
        ("model.weights", 3, "must be a valid string"),
        ("model.weights_hash", "abc", "should match pattern"),
        ("model.pretrained", "maybe", "model.pretrained must be true or false, got 'maybe'"),
        ("optim.layer_decay", 0, "must be greater than 0"),
        ("optim.freeze_epochs", 101, "must be at most run.epochs (100), got 101"),
        ("model.stem", "tiny", "must be 'auto', 'small' or 'full'"),
        ("loss.name", "moco", "must be 'supcon', 'sincere', 'simclr', 'ce' or 'supcon_ce'"),
        ("loss.temperature", 0, "must be greater than 0"),
        ("loss.temperature", float("nan"), "must be a finite number"),
        ("loss.label_smoothing", 1, "must be less than 1"),
        ("optim.lr_per_256", float("inf"), "must be a finite number"),
        ("optim.lr_per_256", 1001, "must be less than or equal to 1000"),
        ("optim.momentum", 1.0, "must be less than 1"),
        ("optim.warmup", None, "must be a valid number"),
        ("optim.clip_norm", 0, "must be greater than 0"),
        ("optim.schedule", "step", "must be 'cosine', 'constant' or 'wsd'"),
        ("optim.decay", 0, "must be greater than 0"),
        ("probe.method", "adam", "must be 'lbfgs' or 'sgd'"),
        ("probe.views", -1, "must be greater than or equal to 0"),
        ("average.swa_start", -0.5, "must be greater than or equal to 0"),
        ("average.bn_images", 1, "must be greater than or equal to 2"),
        ("probe.l2", [0.1, 0.0], "must hold 1 to 7 values > 0"),
        ("probe.l2", [], "must hold 1 to 7 values > 0"),
        ("probe.l2", [0.1] * 8, "must hold 1 to 7 values > 0"),
        ("probe.l2", ["strong"], "must be a valid number"),
        ("probe.knn_k", 0, "must be greater than or equal to 1"),
        ("run.epochs", 2.5, "must be a valid integer"),
        ("run.seed", -1, "must be greater than or equal to 0"),
        ("run.device", "tpu", "must be 'auto', 'cpu' or 'cuda'"),
        ("run.eval_at", 3, "must be a valid tuple"),
    ],
)
def test_a_bad_value_gets_one_line_with_key_rule_and_value(
    key: str, value: object, rule: str
) -> None:
    with pytest.raises(UserError) as error:
        override(Config(), {key: value}, "x.yaml")
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"x.yaml: {key}")
    assert rule in line
    shown = value[-1] if isinstance(value, list) and value else value
    assert line.endswith((f"got {shown!r}", f"got {value!r}"))


def test_a_section_that_is_no_mapping_gets_one_line() -> None:
    with pytest.raises(UserError, match=r"^x\.yaml: data must be .*, got None$"):
        parse(Config, {"data": None}, "x.yaml")


def test_a_folder_needs_an_image_size() -> None:
    with pytest.raises(UserError, match=r"^x: data\.image_size must be given .* \(try 32 or 64\)$"):
        override(Config(), {"data.name": "folder"}, "x")
    assert override(Config(), {"data.name": "folder", "data.image_size": 32})


def test_all_mistakes_are_reported_at_once() -> None:
    tree = {"run": {"epochs": -1, "sed": 1}, "loss": {"temperature": -1}}
    with pytest.raises(UserError) as error:
        parse(Config, tree, "x.yaml")
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith("x.yaml: ") for line in lines)
    for key in ("run.epochs", "run.seed", "loss.temperature"):
        assert sum(key in line for line in lines) == 1


@pytest.mark.parametrize(
    ("key", "given", "kept"),
    [
        ("loss.temperature", 1, 1.0),
        ("loss.temperature", "0.1", 0.1),
        ("run.compile", "yes", True),
        ("data.root", "2024", "2024"),
        ("optim.clip_norm", None, None),
        ("optim.warmup", 0.9, 0.9),
        ("optim.decay", 0.9, 0.9),  # not with the default warm-up, if the schedule were wsd
    ],
)
def test_a_value_is_what_its_setting_makes_of_it(key: str, given: Any, kept: Any) -> None:
    value = as_setting(key, given, "x")
    assert (value, type(value)) == (kept, type(kept))


def test_a_value_that_its_setting_cannot_have_is_refused_by_its_dotted_key() -> None:
    with pytest.raises(UserError, match=r"^params: loss\.temperature must be greater than 0"):
        as_setting("loss.temperature", 0, "params")


@pytest.mark.parametrize(("before", "now"), [(True, "timm"), (False, "none")])
def test_pretrained_of_earlier_versions_is_what_weights_are_now(before: bool, now: str) -> None:
    config = parse(Config, {"model": {"pretrained": before}}, "x")
    assert config.model.weights == now
    assert override(Config(), {"model.pretrained": before}) == config
    assert renamed({"model.pretrained": {"choice": [before]}}) == {
        "model.weights": {"choice": [now]}
    }


def test_both_names_of_the_weights_are_too_many() -> None:
    with pytest.raises(UserError, match="pretrained is an earlier name of weights: give weights"):
        parse(Config, {"model": {"pretrained": True, "weights": "a.pth"}}, "x")


def test_settings_of_any_text_are_paths_and_names() -> None:
    assert {
        "data.root", "data.path_column", "data.label_column", "data.background", "model.backbone",
        "model.weights", "optim.name",
    } == TEXT_KEYS  # fmt: skip


def test_warm_up_and_decay_must_fit_into_the_run() -> None:
    changes = {"optim.schedule": "wsd", "optim.warmup": 0.5, "optim.decay": 0.6}
    with pytest.raises(UserError, match=r"optim\.warmup \+ optim\.decay must be at most 1, got"):
        override(Config(), changes)
    assert override(Config(), changes | {"optim.schedule": "cosine"}).optim.decay == 0.6


@pytest.mark.parametrize("loss", ["supcon", "sincere", "simclr"])
def test_a_contrastive_loss_needs_two_views(loss: str) -> None:
    with pytest.raises(UserError, match=f"must be at least 2 for loss.name {loss}, got 1"):
        override(Config(), {"loss.name": loss, "augment.views": 1})


@pytest.mark.parametrize(
    ("key", "loss", "used"),
    [
        ("loss.temperature", "supcon", True),
        ("loss.temperature", "ce", False),
        ("loss.base_temperature", "ce", False),
        ("model.head", "ce", False),
        ("model.head_dim", "ce", False),
        ("model.head_dim", "supcon", True),
        ("loss.label_smoothing", "supcon", False),
        ("loss.label_smoothing", "ce", True),
        ("loss.label_smoothing", "sincere", False),
        ("loss.label_smoothing", "supcon_ce", True),
        ("loss.temperature", "supcon_ce", True),
        ("loss.ce_weight", "supcon_ce", True),
        ("loss.ce_weight", "supcon", False),
        ("loss.ce_weight", "ce", False),
        ("loss.temperature", "simclr", True),
        ("optim.lr_per_256", "supcon", True),
        ("optim.lr_per_256", "ce", True),
    ],
)
def test_a_key_is_used_where_the_loss_looks_at_it(key: str, loss: str, used: bool) -> None:
    assert is_used(key, override(Config(), {"loss.name": loss})) is used


@pytest.mark.parametrize(
    ("key", "switch", "used"),
    [
        ("optim.decay", {"optim.schedule": "wsd"}, True),
        ("optim.decay", {"optim.schedule": "cosine"}, False),
        ("augment.jitter", {"augment.policy": "crop_jitter"}, True),
        ("augment.jitter", {"augment.policy": "randaugment"}, False),
        ("augment.rotation", {"augment.policy": "trivialaugment"}, False),
        ("augment.crop", {"augment.policy": "trivialaugment"}, True),
        ("probe.l2", {"probe.method": "sgd"}, False),
        ("probe.lr", {"probe.method": "sgd"}, True),
        ("probe.lr", {"probe.method": "lbfgs"}, False),
        ("augment.mix_probability", {}, False),
        ("augment.mix_probability", {"augment.cutmix": 1.0}, True),
        ("augment.mix_probability", {"augment.mixup": 0.2}, True),
    ],
)
def test_a_key_is_used_where_its_switch_is_on(key: str, switch: dict[str, Any], used: bool) -> None:
    assert is_used(key, override(Config(), switch)) is used


def test_the_table_of_unused_keys_speaks_of_keys_that_exist() -> None:
    known = set(flatten(Config()))
    assert known >= SWITCHES
    for where, keys in UNUSED_KEYS:
        assert known >= {*keys}
        assert is_used(keys[0], override(Config(), where)) is False


@pytest.mark.parametrize("loss", ["sincere", "simclr"])
def test_a_loss_without_a_form_for_soft_labels_refuses_mixed_views(loss: str) -> None:
    with pytest.raises(UserError, match=f"augment.mixup and augment.cutmix must be 0 for .*{loss}"):
        override(Config(), {"loss.name": loss, "augment.cutmix": 1.0})
