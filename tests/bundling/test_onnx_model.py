"""Bundles as ONNX: what onnxruntime says of digits is what torch says of them."""

from __future__ import annotations

import copy
import csv
import json
import shutil
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from supcon.__main__ import main
from supcon.bundle.encoding import Arrays, OnnxEncoding
from supcon.bundle.manifest import Classifier, Manifest, Source, write_manifest
from supcon.bundle.model import load
from supcon.bundle.storing import save_encoder
from supcon.bundling import onnx_model
from supcon.bundling.making import Choices, make_bundle
from supcon.bundling.onnx_model import add_onnx, check_can_export, difference
from supcon.config import Config, override
from supcon.evaluation.trained import Trained
from supcon.images.decoding import Pixels
from supcon.images.split import Splits
from supcon.intake.pictures import Preprocessing
from supcon.parsing import UserError


def made(trained: Trained, config: Config, data: Splits, folder: Path) -> Manifest:
    """A bundle with its ONNX."""
    source = Source(run="run", seed=0, weights=trained.weights, epoch=1, data="x")
    finish = partial(add_onnx, images=data.val.images)
    return make_bundle(trained, config, data, source, Choices(), folder, finish=finish)


@pytest.fixture(scope="module")
def bundle(
    models: dict[str, Trained],
    tiny: Config,
    digits: Splits,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Of cross entropy, which has both classifiers; to be copied."""
    folder = tmp_path_factory.mktemp("bundle") / "model"
    made(models["ce"], override(tiny, {"loss.name": "ce"}), digits, folder)
    return folder


@pytest.fixture
def no_export(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of `bundle` is what is exported, whatever the weights are."""

    def exported(_: object, __: object, path: Path, ___: object) -> None:
        shutil.copy(bundle / "model.onnx", path)

    monkeypatch.setattr(onnx_model, "export", exported)


@pytest.fixture(scope="module")
def image_file(digits: Splits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "digit.png"
    Image.fromarray(digits.val.images[:1][0].squeeze()).save(path)
    return path


@pytest.mark.slow
def test_onnxruntime_says_of_real_images_what_torch_says(bundle: Path, digits: Splits) -> None:
    assert_same(bundle, digits, ["probe", "head", "knn"])


@pytest.mark.slow
def test_a_contrastive_loss_has_one_classifier_and_its_export_prints_nothing(
    models: dict[str, Trained],
    tiny: Config,
    digits: Splits,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    made(models["supcon"], tiny, digits, tmp_path / "model")
    assert capfd.readouterr() == ("", "")
    assert_same(tmp_path / "model", digits, ["probe", "knn"])


def assert_same(bundle: Path, digits: Splits, classifiers: list[Classifier]) -> None:
    by_torch, by_onnx = load(bundle, "cpu"), load(bundle / "model.onnx")
    images = digits.val.images[:50]
    assert set(by_onnx.manifest.temperatures) == set(classifiers)
    for by in classifiers:
        expected, found = by_torch.predict(images, by), by_onnx.predict(images, by)
        assert np.array_equal(found.ids, expected.ids)
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-4)
        np.testing.assert_allclose(found.distances, expected.distances, atol=1e-4)
        limit = by_torch.manifest.unknown.threshold
        assert limit is not None
        is_clear = np.abs(expected.distances - limit) > 1e-4  # it is the distance of one of val
        assert is_clear.mean() > 0.9
        assert np.array_equal(found.is_unknown[is_clear], expected.is_unknown[is_clear])


@pytest.mark.slow
def test_the_file_needs_nothing_of_this_program(bundle: Path, digits: Splits) -> None:
    """As in another language: pixels in, probabilities out, names in its metadata."""
    session = onnxruntime.InferenceSession(bundle / "model.onnx")
    metadata = session.get_modelmeta().custom_metadata_map
    model, images = load(bundle, "cpu"), digits.val.images
    assert tuple(json.loads(metadata["classes"])) == model.manifest.classes
    for n in (1, 2, 33):
        pixels = np.ascontiguousarray(images[:n].transpose(0, 3, 1, 2))
        (found,) = session.run(["probabilities"], {"images": pixels})
        expected = model.predict(images[:n], "probe").probabilities
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.slow
def test_the_manifest_says_how_well_both_agree_and_has_the_hash(bundle: Path) -> None:
    found = json.loads((bundle / "bundle.json").read_text())
    outputs = ["embedding", "logits", "probabilities", "head_logits", "head_probabilities"]
    assert list(found["onnx"]["differences"]) == outputs
    assert all(0 < each < 1e-5 for each in found["onnx"]["differences"].values())
    assert found["onnx"]["images"] == 256
    assert "model.onnx" in found["files"]


@pytest.mark.slow
def test_a_file_by_itself_predicts_as_in_its_bundle(
    bundle: Path, image_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lone = tmp_path / "lone.onnx"
    shutil.copy(bundle / "model.onnx", lone)
    rows = []
    for place, model in enumerate((bundle / "model.onnx", lone)):
        out = tmp_path / f"{place}.csv"
        assert main(["predict", str(model), str(image_file), "--out", str(out)]) == 0
        rows += list(csv.DictReader(out.open()))
    told = capsys.readouterr()
    together, alone = rows
    empty = {"unknown": "", "distance": "", "nearest": "", "nearest_class": "", "similarity": ""}
    assert together["nearest"]
    assert alone == together | empty
    assert "lone.onnx: no bundle.json beside it" in told.err
    assert told.out.count("of them unknown") == 1


@pytest.mark.slow
def test_a_file_by_itself_has_no_neighbours(bundle: Path, image_file: Path, tmp_path: Path) -> None:
    lone = tmp_path / "lone.onnx"
    shutil.copy(bundle / "model.onnx", lone)
    model = load(lone)
    with pytest.raises(UserError, match="no gallery"):
        model.neighbours(image_file)
    with pytest.raises(UserError, match="--by knn"):
        model.predict(image_file, "knn")
    assert main(["neighbours", str(lone), str(image_file)]) == 2


@pytest.mark.slow
def test_the_network_of_a_bundle_is_not_read_for_its_onnx(
    bundle: Path, image_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(bundle, folder)
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    found = load(folder / "model.onnx").predict(image_file)
    assert found.nearest.cosines.shape[1] == 1


@pytest.mark.slow
def test_an_exchanged_file_in_a_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(bundle, folder)
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(UserError, match="not what the bundle was made with"):
        load(folder / "model.onnx")


@pytest.mark.slow
def test_onnx_is_computed_on_the_cpu_alone(bundle: Path) -> None:
    with pytest.raises(UserError, match="--device cuda"):
        load(bundle / "model.onnx", "cuda")


@pytest.mark.slow
@pytest.mark.parametrize("output", ["embedding", "logits", "probabilities", "head_probabilities"])
@pytest.mark.parametrize("error", [2e-2, np.nan])
@pytest.mark.usefixtures("no_export")
def test_a_graph_that_disagrees_with_torch_leaves_no_bundle(
    output: str,
    error: float,
    models: dict[str, Trained],
    tiny: Config,
    digits: Splits,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def wrong(encoding: OnnxEncoding, pixels: Pixels) -> Arrays:
        found = run(encoding, pixels)
        found[output][-1:] *= 1 + error  # of an image of each batch
        return found

    run = OnnxEncoding.run
    config = override(tiny, {"loss.name": "ce"})
    made(models["ce"], config, digits, tmp_path / "right")
    monkeypatch.setattr(OnnxEncoding, "run", wrong)
    with pytest.raises(UserError, match=r"--onnx: onnxruntime disagrees .* at most 0\.001"):
        made(models["ce"], config, digits, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["right"]


@pytest.mark.slow
@pytest.mark.usefixtures("no_export")
@pytest.mark.parametrize("classifier", ["probe", "head"])
def test_another_temperature_is_a_disagreement(
    classifier: Classifier, bundle: Path, digits: Splits, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(bundle, folder)
    manifest = load(bundle, "cpu").manifest
    changed = {classifier: 1.1 * manifest.temperatures[classifier]}
    warmer = manifest.model_copy(update={"temperatures": manifest.temperatures | changed})
    with pytest.raises(UserError, match="disagrees"):
        add_onnx(folder, warmer, images=digits.val.images)


@pytest.mark.slow
@pytest.mark.usefixtures("no_export")
def test_other_weights_are_a_disagreement(
    bundle: Path, models: dict[str, Trained], digits: Splits, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(bundle, folder)
    network = copy.deepcopy(models["ce"].network)
    with torch.no_grad():
        next(network.encoder.backbone.parameters()).mul_(1.1)
    save_encoder(network, folder)
    with pytest.raises(UserError, match="disagrees"):
        add_onnx(folder, load(bundle, "cpu").manifest, images=digits.val.images)


@pytest.mark.slow
@pytest.mark.usefixtures("no_export")
def test_labels_that_lower_precision_changes_are_counted(
    bundle: Path, digits: Splits, tmp_path: Path
) -> None:
    folder, model = tmp_path / "model", load(bundle, "cpu")
    shutil.copytree(bundle, folder)
    in_bf16 = model.manifest.model_copy(update={"precision": "bf16"})
    write_manifest(in_bf16, folder)
    images = digits.val.images[:200]
    labels = [load(path, "cpu").predict(images, "probe").ids for path in (bundle, folder)]
    facts = add_onnx(folder, in_bf16, images=images).onnx
    assert facts is not None
    assert facts.other_labels == (labels[0] != labels[1]).sum() > 0


def test_a_network_that_cannot_be_exported_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = Preprocessing(size=4, fit="crop", background="white", channels=3)
    manifest: Any = SimpleNamespace(preprocessing=shape, temperatures={"probe": 1.0})
    graph: Any = torch.nn.Identity()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("an operator\nwithout a form in ONNX")

    monkeypatch.setattr("torch.onnx.export", fail)
    with pytest.raises(UserError) as caught:
        onnx_model.export(graph, manifest, tmp_path / "m.onnx", "odd_net")
    assert str(caught.value).startswith("--onnx: odd_net cannot be exported (an operator without")


@pytest.mark.parametrize("name", ["embedding", "logits", "probabilities"])
def test_differences_are_those_of_a_slow_loop(name: str) -> None:
    random = np.random.default_rng(0)
    found, expected = random.normal(size=(2, 5, 3)).astype(np.float32)
    gaps = []
    for one, other in zip(found.tolist(), expected.tolist(), strict=True):
        if name == "probabilities":
            gaps += [abs(a - b) for a, b in zip(one, other, strict=True)]
        else:
            gap = sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5
            gaps.append(gap / sum(b**2 for b in other) ** 0.5)
    assert difference(found, expected, name) == pytest.approx(max(gaps))


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_what_is_not_installed_is_told_before_anything_is_done(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"pip install '\.\[onnx\]'"):
        check_can_export()
    command = ["bundle", str(tmp_path / "run"), "--out", str(tmp_path / "model"), "--onnx"]
    assert main(command) == 2
    assert f"--onnx: needs {package}" in capsys.readouterr().err
