"""ONNX files in onnxruntime: what they say, and which are refused; all are written by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from supcon.bundle.encoding import OnnxEncoding
from supcon.bundle.manifest import Calibrated, Manifest, Neighbours, Source, Unknown
from supcon.bundling.onnx_model import metadata_of
from supcon.evaluation.embedding import Embedded
from supcon.intake.pictures import Preprocessing
from supcon.parsing import UserError

WEIGHT = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
TEMPERATURE = 2.0
MEASURES = tuple(Calibrated.model_fields)


def manifest_of(**changes: Any) -> Manifest:
    found = Manifest(
        format=1,
        made="2026-01-01 00:00 UTC",
        versions={},
        source=Source(run="run", seed=0, weights="raw", epoch=1, data="x"),
        classes=("cat", "dog"),
        gallery_classes=("cat", "dog"),
        gallery="gallery.npz",
        roots=("/somewhere",),
        preprocessing=Preprocessing(size=4, fit="crop", background="white", channels=3),
        precision="bf16",
        val=None,
        temperatures={"probe": TEMPERATURE, "knn": 1.0},
        calibration={by: Calibrated(**dict.fromkeys(MEASURES, 0.1)) for by in ("probe", "knn")},
        neighbours=Neighbours(k=3, temperature=0.1),
        unknown=Unknown(k=1, false_alarms=0.1, threshold=0.5, images=9),
        files={},
    )
    return found.model_copy(update=changes)


def model_of(manifest: Manifest | None) -> onnx.ModelProto:
    """The mean colour as an embedding, and a linear classifier of it."""

    def values(name: str, kind: int, shape: list[Any]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["floats", "axes"], ["embedding"], keepdims=0),
            helper.make_node("MatMul", ["embedding", "weight"], ["logits"]),
            helper.make_node("Div", ["logits", "temperature"], ["cooled"]),
            helper.make_node("Softmax", ["cooled"], ["probabilities"], axis=1),
        ],
        "mean",
        [values("images", TensorProto.UINT8, ["N", 3, 4, 4])],
        [
            values("embedding", TensorProto.FLOAT, ["N", 3]),
            values("logits", TensorProto.FLOAT, ["N", 2]),
            values("probabilities", TensorProto.FLOAT, ["N", 2]),
        ],
        [
            numpy_helper.from_array(np.array([2, 3]), "axes"),
            numpy_helper.from_array(WEIGHT, "weight"),
            numpy_helper.from_array(np.float32(TEMPERATURE), "temperature"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if manifest is not None:
        helper.set_model_props(model, metadata_of(manifest))
    return model


def written(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        OnnxEncoding(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


@pytest.mark.parametrize("n", [0, 1, 7, 600])
def test_a_graph_takes_any_number_of_images(n: int, tmp_path: Path) -> None:
    encoding = OnnxEncoding(written(tmp_path / "m.onnx", model_of(manifest_of())))
    pixels = np.random.default_rng(n).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    found, means = encoding(pixels), pixels.mean(axis=(1, 2))
    assert encoding.dim == 3
    np.testing.assert_allclose(found.features.numpy(), means, rtol=1e-5)
    np.testing.assert_allclose(encoding.logits(found, "probe").numpy(), means @ WEIGHT, rtol=1e-3)


def test_the_metadata_is_the_manifest_without_the_gallery(tmp_path: Path) -> None:
    encoding = OnnxEncoding(written(tmp_path / "m.onnx", model_of(manifest_of())))
    whole, found = manifest_of(), encoding.manifest
    same = ("classes", "preprocessing", "source", "made", "neighbours")
    assert [getattr(found, name) for name in same] == [getattr(whole, name) for name in same]
    assert found.temperatures == {"probe": TEMPERATURE}
    assert [*found.calibration] == ["probe"]
    assert (found.roots, found.unknown.threshold, found.precision) == ((), None, "fp32")


def test_the_path_of_a_gallery_is_not_given_away_with_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", model_of(manifest_of()))
    assert b"/somewhere" not in path.read_bytes()


def test_a_damaged_file_is_told_in_a_line(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", model_of(manifest_of()))
    whole = path.read_bytes()
    for content in (b"", b"\0" * 99, whole[: len(whole) // 2]):
        path.write_bytes(content)
        assert "damaged" in refusal(path)


def test_a_file_that_is_not_there_is_told_in_a_line(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "m.onnx")


def test_nothing_is_printed_of_a_damaged_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = model_of(manifest_of())
    model.graph.node[0].op_type = "Nonsense"
    assert "Nonsense" in refusal(written(tmp_path / "m.onnx", model))
    assert capfd.readouterr() == ("", "")


def test_a_model_of_another_program_is_refused(tmp_path: Path) -> None:
    assert "without metadata" in refusal(written(tmp_path / "m.onnx", model_of(None)))


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": ("cat", "dog", "cow")},
        {"temperatures": {"probe": 1.0, "head": 1.0}},
        {"preprocessing": Preprocessing(size=5, fit="crop", background="white", channels=3)},
        {"preprocessing": Preprocessing(size=4, fit="crop", background="white", channels=1)},
    ],
)
def test_a_graph_that_does_not_fit_its_metadata_is_refused(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    path = written(tmp_path / "m.onnx", model_of(manifest_of(**changes)))
    assert "inputs or outputs" in refusal(path)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("format", "2", "format must be 1, got 2"),
        ("classes", "[]", "classes"),
        ("classes", "[" * 100_000, "without metadata"),
        ("temperatures", '{"probe": 0}', "temperatures.probe"),
        ("temperatures", '{"knn": 1}', "temperatures"),
        ("evil", "1", "unknown key 'evil'"),
    ],
)
def test_metadata_that_is_wrong_is_told_in_a_line(
    key: str, value: str, told: str, tmp_path: Path
) -> None:
    model = model_of(None)
    helper.set_model_props(model, metadata_of(manifest_of()) | {key: value})
    assert told in refusal(written(tmp_path / "m.onnx", model))


@pytest.mark.parametrize("location", ["../beside.bin", "inside.bin", "{absolute}"])
def test_no_other_file_is_read_whatever_a_model_names(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for place in (tmp_path / "beside.bin", folder / "inside.bin"):
        place.write_bytes(WEIGHT.tobytes())
    model = model_of(manifest_of())
    weight = model.graph.initializer[1]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(
        key="location", value=location.format(absolute=tmp_path / "beside.bin")
    )
    monkeypatch.chdir(folder)
    refusal(written(folder / "m.onnx", model))


def test_what_fails_while_it_computes_is_told_in_a_line(tmp_path: Path) -> None:
    model = model_of(manifest_of())
    # The number of rows hangs on the pixels: onnxruntime sees it when it computes.
    model.graph.node[2].CopyFrom(helper.make_node("Reshape", ["embedding", "shape"], ["logits"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([5, 2]), "shape"))
    path = written(tmp_path / "m.onnx", model)
    with pytest.raises(UserError, match=r"m\.onnx: onnxruntime fails") as caught:
        OnnxEncoding(path)(np.zeros((1, 4, 4, 3), dtype=np.uint8))
    assert "\n" not in str(caught.value)


def test_features_from_elsewhere_are_not_taken_for_those_of_the_graph(tmp_path: Path) -> None:
    encoding = OnnxEncoding(written(tmp_path / "m.onnx", model_of(manifest_of())))
    features = torch.zeros(1, 3)
    with pytest.raises(UserError, match="takes images, no embeddings"):
        encoding.logits(Embedded(features, features), "probe")


def test_without_onnxruntime_the_line_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install '.[onnx]'" in refusal(tmp_path / "m.onnx")
