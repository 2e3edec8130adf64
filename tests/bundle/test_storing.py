"""Weights in safetensors."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from supcon.bundle.storing import ENCODER, HEAD, load_network, load_probe, save_encoder, save_heads
from supcon.config import override
from supcon.network.models import JointHead, network_for
from supcon.parsing import UserError
from tests.bundled import Used

CPU = torch.device("cpu")


def test_weights_are_read_back_bit_for_bit(plain: Used) -> None:
    network = load_network(plain.folder, plain.config, image_size=16, classes=8)
    expected = plain.trained.network.state_dict()
    assert network.state_dict().keys() == expected.keys()
    for name, value in network.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert not network.training
    probe = load_probe(plain.folder, classes=8, device=CPU)
    for name in ("mean", "std", "weight", "bias"):
        found, written = getattr(probe, name), getattr(plain.trained.probe, name)
        assert (found.dtype, torch.equal(found, written)) == (torch.float64, True)


def test_a_projection_head_stays_behind(contrastive: Used) -> None:
    names = set(load_file(contrastive.folder / HEAD))
    assert names == {"probe.mean", "probe.std", "probe.weight", "probe.bias"}
    assert isinstance(contrastive.trained.network.head, nn.Module)


def test_of_two_heads_the_classifier_is_kept(plain: Used, tmp_path: Path) -> None:
    config = override(plain.config, {"loss.name": "supcon_ce"})
    joint = network_for(config, plain.data)
    assert isinstance(joint.head, JointHead)
    save_encoder(joint, tmp_path)
    save_heads(joint, plain.trained.probe, tmp_path)
    network = load_network(tmp_path, config, image_size=16, classes=8)
    features = torch.randn(3, network.encoder.dim)
    assert torch.equal(network.head(features), joint.head.classifier(features))


read = {
    ENCODER: lambda own: load_network(own.folder, own.config, image_size=16, classes=8),
    HEAD: lambda own: load_probe(own.folder, classes=8, device=CPU),
}


@pytest.mark.parametrize("content", [b"", b"PK", pickle.dumps({"a": 1}), b"\xff" * 200])
@pytest.mark.parametrize("name", [ENCODER, HEAD])
def test_what_is_no_safetensors_file_is_one_line(own: Used, name: str, content: bytes) -> None:
    (own.folder / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: damaged") as told:
        read[name](own)
    assert len(str(told.value).splitlines()) == 1


def test_tensors_of_another_network_are_named(own: Used) -> None:
    path = own.folder / ENCODER
    tensors = load_file(path)
    save_file({n: t for n, t in tensors.items() if "conv" not in n}, path)
    with pytest.raises(UserError, match=r"does not fit test_resnet .*conv"):
        load_network(own.folder, own.config, image_size=16, classes=8)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="holds no encoder"):
        load_network(own.folder, own.config, image_size=16, classes=8)


def test_a_probe_of_other_classes_is_refused(contrastive: Used) -> None:
    with pytest.raises(UserError, match="no linear probe for 9 classes"):
        load_probe(contrastive.folder, classes=9, device=CPU)


def test_no_weights_are_fetched(own: Used, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, create = [], timm.create_model

    def noted(*names: str, **settings: object) -> nn.Module:
        asked.append(settings.get("pretrained", False))
        return create(*names, **settings)

    monkeypatch.setattr("timm.create_model", noted)
    model = own.config.model.model_copy(update={"weights": "timm"})
    config = own.config.model_copy(update={"model": model})
    load_network(own.folder, config, image_size=16, classes=8)
    assert asked == [False]
