"""From pixels to features and logits: by torch, or by an ONNX file in onnxruntime."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from supcon.bundle.manifest import Linear, Manifest, as_manifest
from supcon.evaluation.embedding import BATCH, Embedded, embed
from supcon.evaluation.probe import LinearProbe
from supcon.images.decoding import Pixels
from supcon.network.device import precision_tools
from supcon.network.models import Network
from supcon.parsing import UserError, one_line

Arrays = dict[str, npt.NDArray[np.float32]]

PREFIXES: dict[Linear, str] = {"probe": "", "head": "head_"}  # of the outputs of a classifier
INSTALL = "pip install '.[onnx]'"
MAKE = "make one with: python -m supcon bundle RUN --onnx"


class Encoding(Protocol):
    """A network, and the linear classifiers that come with it."""

    @property
    def uses_gpu(self) -> bool:
        """Whether it computes elsewhere than where images are decoded."""
        ...

    def __call__(self, pixels: Pixels) -> Embedded:
        """Features of (N, S, S, C) images, and outputs, of which `logits` are made."""
        ...

    def logits(self, embedded: Embedded, by: Linear) -> Tensor:
        """(N, K) of a classifier that there is, before its temperature."""
        ...


class TorchEncoding:
    """A network in the precision that it was trained in."""

    def __init__(
        self,
        network: Network,
        probe: LinearProbe,
        device: torch.device,
        precision: str,
        *,
        tf32: bool,
    ) -> None:
        """`network` and `probe` are on `device`, the former in eval mode."""
        self.network, self.probe, self.device = network, probe, device
        self.tf32, self.batch_size = tf32, BATCH
        self.autocast, _ = precision_tools(precision, device)

    @property
    def uses_gpu(self) -> bool:
        """Likewise."""
        return self.device.type == "cuda"

    def __call__(self, pixels: Pixels) -> Embedded:
        """Likewise; a batch that does not fit into a GPU's memory is halved from then on."""
        torch.backends.cudnn.allow_tf32 = self.tf32
        while True:
            try:
                return embed(
                    self.network,
                    pixels,
                    device=self.device,
                    autocast=self.autocast,
                    batch_size=self.batch_size,
                )
            except torch.OutOfMemoryError:
                if self.batch_size == 1:
                    raise
                self.batch_size //= 2

    def logits(self, embedded: Embedded, by: Linear) -> Tensor:
        """Likewise; `embedded` may come from elsewhere."""
        if by == "head":
            return embedded.outputs
        return self.probe.logits(embedded.features.to(self.device))


@dataclass(frozen=True)
class Classified(Embedded):
    """What a graph gives, in which the linear classifiers are."""

    logits: dict[Linear, Tensor]
    """(N, K) each, before the temperature."""


class OnnxEncoding:
    """The graph in onnxruntime, on the CPU."""

    uses_gpu = False

    def __init__(self, path: Path) -> None:
        """The whole file is read, and nothing beside it.

        Raises:
            UserError: it is damaged or not of this program; or onnxruntime is not installed.
        """
        self.path, self.session = path, _session(path)
        self.manifest = _manifest(self.session, path)
        """What the file says of itself, without a gallery."""
        shape, classes = self.manifest.preprocessing, len(self.manifest.classes)
        takes = {"images": ("tensor(uint8)", [shape.channels, shape.size, shape.size])}
        gives = {name: ("tensor(float)", [classes]) for name in names_of(self.manifest)}
        inputs, outputs = _types(self.session.get_inputs()), _types(self.session.get_outputs())
        embedding = outputs.get("embedding", gives["embedding"])
        if inputs != takes or outputs != gives | {"embedding": embedding} or len(embedding[1]) != 1:
            raise UserError(f"{path}: is no model of this program (inputs or outputs); {MAKE}")
        self.dim: int = embedding[1][0]
        """Length D of an embedding."""

    def __call__(self, pixels: Pixels) -> Classified:
        """Likewise; outputs are those of the last classifier."""
        parts = [self.run(pixels[i : i + BATCH]) for i in range(0, max(1, len(pixels)), BATCH)]
        found = {
            name: torch.from_numpy(np.concatenate([p[name] for p in parts])) for name in parts[0]
        }
        logits = {by: found[f"{PREFIXES[by]}logits"] for by in linear_of(self.manifest)}
        return Classified(found["embedding"], [*logits.values()][-1], logits)

    def logits(self, embedded: Embedded, by: Linear) -> Tensor:
        """Likewise, of what was embedded here.

        Raises:
            UserError: it was not.
        """
        if not isinstance(embedded, Classified):
            raise UserError(f"{self.path}: takes images, no embeddings; use the bundle's folder")
        return embedded.logits[by]

    def run(self, pixels: Pixels) -> Arrays:
        """All outputs by their names, of (N, S, S, C) images."""
        names = names_of(self.manifest)
        images = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        try:
            return dict(zip(names, self.session.run(names, {"images": images}), strict=True))
        except Exception as error:  # onnxruntime's have no other base
            raise UserError(f"{self.path}: onnxruntime fails ({one_line(error)})") from None


def linear_of(manifest: Manifest) -> list[Linear]:
    """Its linear classifiers."""
    return [by for by in PREFIXES if by in manifest.temperatures]


def names_of(manifest: Manifest) -> list[str]:
    """Of the graph's outputs, in their order."""
    kinds = ("logits", "probabilities")
    return ["embedding", *(PREFIXES[by] + kind for by in linear_of(manifest) for kind in kinds)]


def _types(nodes: Any) -> dict[str, tuple[str, list[Any]]]:
    """Name -> type and shape, without the batch."""
    return {node.name: (node.type, node.shape[1:]) for node in nodes}


def _session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise UserError(f"{path}: needs onnxruntime, which is not installed; {INSTALL}") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong is in the exception
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        # Of bytes: what they name outside of themselves has no folder to be looked for in.
        content = path.read_bytes()
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # onnxruntime's have no other base
        raise UserError(
            f"{path}: damaged, or no ONNX file of this program ({one_line(error)})"
        ) from None


def _manifest(session: Any, path: Path) -> Manifest:
    metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map
    try:
        tree = {name: json.loads(text) for name, text in metadata.items()}
    except (ValueError, RecursionError):
        tree = {}
    if "classes" not in tree:
        raise UserError(f"{path}: is no model of this program (without metadata); {MAKE}")
    found = as_manifest(tree, str(path), MAKE)
    if "probe" not in found.temperatures or "knn" in found.temperatures:
        raise UserError(f"{path}: is no model of this program (temperatures); {MAKE}")
    return found
