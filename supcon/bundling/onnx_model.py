"""A bundle as one ONNX file: uint8 images in; embedding, logits and probabilities out, in fp32.

Normalisation and temperature are part of the graph. Its metadata is the bundle's manifest without
the gallery, a JSON value for each key, so that the file alone is enough to predict with.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supcon.bundle.encoding import INSTALL, PREFIXES, Arrays, OnnxEncoding, linear_of, names_of
from supcon.bundle.manifest import Manifest, OnnxFile
from supcon.bundle.storing import CONFIG, load_network, load_probe
from supcon.config import load_config
from supcon.evaluation.embedding import embed
from supcon.evaluation.probe import LinearProbe
from supcon.images.decoding import Pixels
from supcon.images.files import Images
from supcon.network.device import precision_tools
from supcon.network.models import Network
from supcon.network.small_maps import slide_again
from supcon.parsing import UserError, one_line
from supcon.reliability.calibration import probabilities

ONNX = "model.onnx"
OPSET = 18
TOLERANCE = 1e-3  # a probe turns roundings of features by 5e-7 into 4e-5: results/bundle.md
MOST_IMAGES, SEVERAL = 256, 32  # that are compared, and of those in a batch
CPU = torch.device("cpu")
SAYS = (
    "images: uint8 RGB or grey (N, C, S, S), upright, made square as `preprocessing` says; "
    "embedding (N, D); logits (N, K) of the linear probe; probabilities (N, K), calibrated; "
    "head_logits and head_probabilities: those of cross entropy's own head, where there is one"
)


class Graph(nn.Module):
    """What is exported: encoder, linear classifiers, temperatures."""

    def __init__(self, network: Network, probe: LinearProbe, manifest: Manifest) -> None:
        """`network` is changed: its convolutions become plain ones."""
        super().__init__()
        slide_again(network)
        self.encoder = network.encoder
        self.head = network.head if "head" in manifest.temperatures else None
        self.temperatures = manifest.temperatures
        for name in ("mean", "std", "weight", "bias"):
            self.register_buffer(name, getattr(probe, name).float())

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Outputs in the order of `names_of`."""
        x = self.encoder(images)
        logits = F.linear((x - self.mean) / self.std, self.weight, self.bias)  # type: ignore[arg-type]
        pairs = [(logits, self.temperatures["probe"])]
        if self.head is not None:
            pairs.append((self.head(x), self.temperatures["head"]))
        return x, *(out for z, t in pairs for out in (z, (z / t).softmax(1)))


def check_can_export() -> None:
    """Whether there is what --onnx needs.

    Raises:
        UserError: it is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"--onnx: needs {error.name}, which is not installed; {INSTALL}") from None


def add_onnx(folder: Path, manifest: Manifest, *, images: Images) -> Manifest:
    """Write model.onnx into a bundle, and compare what it computes with torch.

    Args:
        folder: of the bundle, with its encoder, heads and config.
        manifest: of the bundle.
        images: (M, S, S, C) uint8, on some of which both are compared.

    Returns:
        The manifest, which now says what was compared.

    Raises:
        UserError: the network cannot be exported, or the two disagree.
    """
    size, classes = manifest.preprocessing.size, len(manifest.classes)
    config = load_config(folder / CONFIG)
    network = load_network(folder, config, image_size=size, classes=classes)
    probe = load_probe(folder, classes=classes, device=CPU)
    pixels = images[np.unique(np.linspace(0, len(images) - 1, MOST_IMAGES).astype(np.intp))]
    expected = outputs_of(network, probe, manifest, pixels, "fp32")
    in_use = outputs_of(network, probe, manifest, pixels, manifest.precision)
    export(Graph(network, probe, manifest), manifest, folder / ONNX, config.model.backbone)
    found = _in_batches(OnnxEncoding(folder / ONNX), pixels)
    differences = {name: difference(found[name], expected[name], name) for name in expected}
    if not all(each <= TOLERANCE for each in differences.values()):  # NaN is not, either
        shown = ", ".join(f"{name} {each:.2g}" for name, each in differences.items())
        raise UserError(
            f"--onnx: onnxruntime disagrees with torch on {len(pixels)} images of val ({shown}; "
            f"at most {TOLERANCE:g} is allowed); leave out --onnx, or choose another model.backbone"
        )
    others = found["logits"].argmax(1) != in_use["logits"].argmax(1)
    facts = OnnxFile(
        opset=OPSET,
        images=len(pixels),
        tolerance=TOLERANCE,
        differences=differences,
        other_labels=int(others.sum()),
    )
    return manifest.model_copy(update={"onnx": facts})


def export(graph: Graph, manifest: Manifest, path: Path, backbone: str) -> None:
    """Write a graph that takes batches of any size, with the manifest as its metadata.

    Raises:
        UserError: torch cannot export it.
    """
    shape = manifest.preprocessing
    example = torch.zeros(2, shape.channels, shape.size, shape.size, dtype=torch.uint8)
    try:
        with _quiet():
            program: Any = torch.onnx.export(
                graph.eval().requires_grad_(False),
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=["images"],
                output_names=names_of(manifest),
                dynamic_shapes=({0: torch.export.Dim("N")},),
                verbose=False,
            )
            program.model.doc_string = SAYS
            program.model.metadata_props.update(metadata_of(manifest))
            program.save(path, external_data=False)
    except OSError:
        raise
    except Exception as error:  # whatever torch.export, onnxscript and protobuf raise
        raise UserError(
            f"--onnx: {backbone} cannot be exported ({one_line(error)}); leave out --onnx, or "
            f"choose another model.backbone"
        ) from error


def outputs_of(
    network: Network, probe: LinearProbe, manifest: Manifest, pixels: Pixels, precision: str
) -> Arrays:
    """What torch says, on the CPU, by the same names."""
    autocast, _ = precision_tools(precision, CPU)
    embedded = embed(network, pixels, device=CPU, autocast=autocast, batch_size=SEVERAL)
    found = {"embedding": embedded.features}
    logits = {"probe": probe.logits(embedded.features), "head": embedded.outputs}
    for by in linear_of(manifest):
        found[f"{PREFIXES[by]}logits"] = logits[by]
        found[f"{PREFIXES[by]}probabilities"] = probabilities(logits[by], manifest.temperatures[by])
    return {name: value.numpy().astype(np.float32) for name, value in found.items()}


def difference(
    found: npt.NDArray[np.float32], expected: npt.NDArray[np.float32], name: str
) -> float:
    """The largest one of probabilities; of other vectors the longest, by the length expected."""
    gap = found.astype(np.float64) - expected
    if name.endswith("probabilities"):
        return float(np.abs(gap).max())
    length = np.linalg.norm(expected.astype(np.float64), axis=1)
    return float((np.linalg.norm(gap, axis=1) / np.maximum(length, 1e-12)).max())


def metadata_of(manifest: Manifest) -> dict[str, str]:
    """All that holds without the gallery."""
    linear = linear_of(manifest)
    alone = manifest.model_copy(
        update={
            "gallery_classes": manifest.classes,
            "roots": (),
            "precision": "fp32",
            "temperatures": {by: manifest.temperatures[by] for by in linear},
            "calibration": {
                by: found for by, found in manifest.calibration.items() if by in linear
            },
            "unknown": manifest.unknown.model_copy(update={"threshold": None, "images": 0}),
            "files": {},
            "onnx": None,
        }
    )
    return {name: json.dumps(value) for name, value in alone.model_dump(mode="json").items()}


def _in_batches(encoding: OnnxEncoding, pixels: Pixels) -> Arrays:
    """Outputs of one image, and of the others several at once."""
    starts = [0, *range(1, len(pixels), SEVERAL)]
    found = [encoding.run(part) for part in np.split(pixels, starts[1:])]
    return {name: np.concatenate([each[name] for each in found]) for name in found[0]}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notes on its own progress."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
