"""Pretrained weights: found, read, told apart; whether published ones can be had."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from supcon.config import Config, ModelConfig, override
from supcon.evaluation.trained import save_trained
from supcon.images.split import Splits
from supcon.network import weights
from supcon.network.models import network_for
from supcon.network.weights import answers, can_be_had, find_weights, pinned, read_weights, sha256
from supcon.parsing import UserError
from supcon.train import Record

NAME = "test_resnet"  # the smallest of timm
KERNEL = "conv1.0.weight"


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    torch.manual_seed(5)
    found: dict[str, Tensor] = timm.create_model(NAME).state_dict()
    return found


@pytest.fixture
def file(tensors: dict[str, Tensor], tmp_path: Path) -> Path:
    save_file(tensors, tmp_path / "resnet.safetensors")
    return tmp_path / "resnet.safetensors"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of the hub that is empty, and no hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def model(source: object, **settings: object) -> ModelConfig:
    return ModelConfig.model_validate({"backbone": NAME, "weights": str(source), **settings})


def save_with_timm(folder: Path, tensors: dict[str, Tensor], **changes: object) -> Path:
    """As `timm.models.save_for_hf` does, with a normalisation of its own."""
    folder.mkdir(parents=True)
    config = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "input_size": [3, 160, 160]}
    tree = {"architecture": NAME, "num_classes": 1000, "pretrained_cfg": config, **changes}
    (folder / "config.json").write_text(json.dumps(tree))
    save_file(tensors, folder / "model.safetensors")
    return folder


def one_line(source: object, **settings: object) -> str:
    with pytest.raises(UserError) as error:
        read_weights(model(source, **settings))
    (line,) = str(error.value).splitlines()
    assert line.startswith("model.weights: ")
    return line


def test_without_weights_there_is_nothing_to_read() -> None:
    assert read_weights(ModelConfig()) is None
    assert pinned(ModelConfig()) == {}


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_state_dict_of_torch_is_read_as_safetensors_are(
    file: Path, tensors: dict[str, Tensor], tmp_path: Path, wrapped: bool
) -> None:
    saved = {"epoch": 3, "model": tensors} if wrapped else tensors
    torch.save(saved, tmp_path / "resnet.pth")
    known = timm.get_pretrained_cfg(NAME)
    for path in (file, tmp_path / "resnet.pth"):
        found = read_weights(model(path))
        assert found is not None
        assert all(torch.equal(found.tensors[name], tensors[name]) for name in tensors)
        torch.testing.assert_close(found.mean, torch.tensor(known.mean))


def test_a_folder_that_timm_wrote_brings_its_normalisation(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    folder = save_with_timm(tmp_path / "saved", tensors)
    found = read_weights(model(f"local-dir:{folder}"))
    assert found is not None
    torch.testing.assert_close(found.mean, torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(found.std, torch.tensor([0.4, 0.5, 0.6]))


@pytest.mark.parametrize("source", ["timm", "hf-hub:timm/test_resnet.r160_in1k"])
def test_the_cache_of_the_hub_is_read_without_a_hub(
    offline: Path, tensors: dict[str, Tensor], tmp_path: Path, source: str
) -> None:
    saved = save_with_timm(tmp_path / "saved", tensors)
    repository = offline / "models--timm--test_resnet.r160_in1k"
    shutil.copytree(saved, repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    found = read_weights(model(source))
    assert found is not None
    assert torch.equal(found.tensors[KERNEL], tensors[KERNEL])
    own = (
        torch.tensor([0.1, 0.2, 0.3])
        if source != "timm"
        else torch.tensor(timm.get_pretrained_cfg(NAME).mean)
    )
    torch.testing.assert_close(found.mean, own)


def test_a_run_s_own_result_brings_its_backbone_and_normalisation(
    tiny: Config, digits: Splits, trained_run: list[Record], tmp_path: Path
) -> None:
    result = trained_run[-1].trained
    assert result is not None
    save_trained(result, tiny, digits, tmp_path / "model.pt")
    again = override(tiny, {"model.weights": str(tmp_path / "model.pt"), "model.head_dim": 5})
    network = network_for(again, replace(digits, classes=digits.classes[:4]))
    ours, theirs = network.encoder.state_dict(), result.network.encoder.state_dict()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_grey_images_get_the_mean_of_the_three_channels(file: Path) -> None:
    found = read_weights(model(file))
    assert found is not None
    mean, std = found.statistics(1)
    assert mean.tolist() == pytest.approx([found.mean.mean().item()])
    assert std.tolist() == pytest.approx([found.std.mean().item()])
    assert found.statistics(3)[0] is found.mean


# What they are told apart by


def test_the_hash_is_that_of_the_file(file: Path) -> None:
    assert sha256(file) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_pinned_weights_are_found_from_any_folder_and_refused_once_they_change(
    file: Path, tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(file.parent)
    settings = pinned(model(file.name))
    assert settings == {"model.weights": str(file), "model.weights_hash": sha256(file)}
    monkeypatch.chdir("/")
    fixed = override(Config(), {"model.backbone": NAME, **settings}).model
    assert find_weights(fixed) == file
    assert pinned(fixed) == settings
    before = file.stat().st_mtime_ns
    save_file({**tensors, KERNEL: tensors[KERNEL] + 1}, file)
    os.utime(file, ns=(before, before + 1))  # a quick machine writes both in one tick of its clock
    with pytest.raises(UserError, match="is not the file that the config was made with"):
        read_weights(fixed)


def test_a_folder_is_pinned_as_a_folder(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    folder = save_with_timm(tmp_path / "saved", tensors)
    assert pinned(model(f"local-dir:{folder}"))["model.weights"] == f"local-dir:{folder}"


# What is wrong


def test_what_is_not_there_is_refused_with_what_may_stand_there(tmp_path: Path) -> None:
    told = one_line(tmp_path / "no.pth")
    assert "no.pth" in told
    assert "none, timm, a file, local-dir:DIR or hf-hub:NAME" in told
    assert f"local-dir:{tmp_path}" in one_line(tmp_path)
    assert "there is no folder" in one_line(f"local-dir:{tmp_path / 'no'}")
    assert "holds none of model.safetensors" in one_line(f"local-dir:{tmp_path}")


def test_a_file_that_holds_no_tensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"no")
    (tmp_path / "b.pth").write_text("no")
    torch.save({"epoch": 3}, tmp_path / "c.pth")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "d.pth")  # code would have to run
    for name in ("a.safetensors", "b.pth", "d.pth"):
        assert "save model.state_dict()" in one_line(tmp_path / name)
    assert "holds no tensors" in one_line(tmp_path / "c.pth")


def test_a_folder_of_another_model_is_refused_with_its_name(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    folder = save_with_timm(tmp_path / "saved", tensors, architecture="resnet50")
    told = one_line(f"local-dir:{folder}")
    assert "holds a resnet50, but model.backbone is test_resnet" in told
    (folder / "config.json").unlink()
    assert "is not that of a model of timm" in one_line(f"local-dir:{folder}")


@pytest.mark.parametrize("source", ["timm", "hf-hub:me/mine"])
def test_weights_that_cannot_be_fetched_get_a_way_out(offline: Path, source: str) -> None:
    told = one_line(source)
    assert "cannot be fetched" in told
    assert "HF_HOME" in told
    assert told.endswith("or set model.weights: none")


def test_a_backbone_that_timm_has_no_weights_of_is_refused() -> None:
    told = one_line("timm", backbone="resnet14d")
    assert "timm has no weights of resnet14d" in told


def test_a_file_of_another_backbone_is_refused_before_training(
    tiny: Config, digits: Splits, file: Path
) -> None:
    config = override(tiny, {"model.weights": str(file), "model.backbone": "resnet10t"})
    with pytest.raises(UserError, match=r"does not fit resnet10t: \d+ not of it .*; set the model"):
        network_for(config, digits)


# Whether published ones can be had


def test_something_that_listens_answers_and_a_closed_port_does_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = ("127.0.0.1", server.getsockname()[1])
        assert answers(address)
    assert not answers(address)


@pytest.mark.parametrize(("cached", "online"), [(True, False), (False, True), (False, False)])
def test_weights_come_from_the_cache_or_from_a_hub_that_answers(
    monkeypatch: pytest.MonkeyPatch, cached: bool, online: bool
) -> None:
    monkeypatch.setattr(weights, "is_cached", lambda repository: cached)
    monkeypatch.setattr(weights, "answers", lambda address: online)
    assert can_be_had("resnet18") is (cached or online)


def test_a_backbone_without_published_weights_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "answers", lambda address: True)
    assert not can_be_had("resnet14d")
