"""Size of model.onnx, and how near onnxruntime comes to torch, for several networks.

    python -m tests.benchmarks.bundle.parity MODEL IMAGES

MODEL is a bundle, the first row; IMAGES a folder of class folders. The other networks are
random: their normalisation layers get scales and offsets, as training would give them, since
timm starts residual branches at 0, where nothing of them would be compared. A probe is fitted to
their features.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from supcon.bundle.encoding import OnnxEncoding
from supcon.bundle.manifest import Manifest
from supcon.bundle.model import load
from supcon.bundle.storing import CONFIG, load_network, load_probe
from supcon.bundling.onnx_model import Graph, difference, export, outputs_of
from supcon.config import Config, load_config, override
from supcon.evaluation.embedding import embed
from supcon.evaluation.probe import LinearProbe, logistic_regressions
from supcon.images.decoding import Pixels
from supcon.intake.inputs import Inputs
from supcon.intake.pictures import Preprocessing, as_pixels
from supcon.network.device import precision_tools
from supcon.network.models import Network, build_network

NETWORKS = (
    ("test_resnet", 32),
    ("resnet18", 32),
    ("convnext_atto", 32),
    ("vit_tiny_patch16_224", 32),
    ("vit_tiny_patch16_224", 64),
)
IMAGES, BATCH, CPU = 1000, 50, torch.device("cpu")
COLUMNS = (
    *("network", "side", "parameters", "model.onnx", "embedding", "logits", "probabilities"),
    *("labels unlike fp32", "probe against fp64", "labels unlike bf16", "export, CPU s"),
)


def main() -> None:
    """Print a row of a table for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    options = parser.parse_args()
    model = load(options.model, "cpu")
    paths = sorted(Inputs([options.images]), key=lambda path: path.name)[:IMAGES]
    labels = torch.tensor([model.manifest.classes.index(path.parent.name) for path in paths])
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    config, classes = load_config(options.model / CONFIG), len(model.manifest.classes)
    shape = model.manifest.preprocessing
    network = load_network(options.model, config, image_size=shape.size, classes=classes)
    probe = load_probe(options.model, classes=classes, device=CPU)
    row = measured("the bundle", network, probe, model.manifest, as_pixels(paths, shape))
    print(f"| {' | '.join(row)} |", flush=True)
    for name, size in NETWORKS:
        shape = model.manifest.preprocessing.model_copy(update={"size": size})
        manifest = model.manifest.model_copy(
            update={"preprocessing": shape, "temperatures": {"probe": 1.5}}
        )
        network, pixels = random_network(name, shape, classes), as_pixels(paths, shape)
        row = measured(name, network, fitted(network, pixels, labels, classes), manifest, pixels)
        print(f"| {' | '.join(row)} |", flush=True)


def measured(
    name: str, network: Network, probe: LinearProbe, manifest: Manifest, pixels: Pixels
) -> list[str]:
    """A row."""
    parameters = sum(p.numel() for p in network.encoder.parameters())
    expected = outputs_of(network, probe, manifest, pixels, "fp32")
    in_bf16 = outputs_of(network, probe, manifest, pixels, "bf16")
    with tempfile.TemporaryDirectory() as folder:
        path, before = Path(folder) / "model.onnx", cpu_seconds()
        export(Graph(network, probe, manifest), manifest, path, name)
        seconds, size = cpu_seconds() - before, path.stat().st_size
        encoding = OnnxEncoding(path)
    parts = [encoding.run(pixels[i : i + BATCH]) for i in range(0, len(pixels), BATCH)]
    found = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    in_fp64 = probe.logits(torch.from_numpy(found["embedding"])).numpy().astype(np.float32)
    keys = ("embedding", "logits", "probabilities")
    gaps = [f"{difference(found[key], expected[key], key):.1e}" for key in keys]
    return [
        name,
        str(manifest.preprocessing.size),
        f"{parameters / 1e6:.2f} million",
        f"{size / 1e6:.1f} MB",
        *gaps,
        str(others(found["logits"], expected["logits"])),
        f"{difference(found['logits'], in_fp64, 'logits'):.1e}",
        str(others(found["logits"], in_bf16["logits"])),
        f"{seconds:.0f}",
    ]


def random_network(name: str, shape: Preprocessing, classes: int) -> Network:
    """Weights are random, those of normalisation too."""
    torch.manual_seed(0)
    config = override(Config(), {"model.backbone": name})
    mean, std = torch.full((shape.channels,), 0.45), torch.full((shape.channels,), 0.25)
    network = build_network(
        config.model, config.loss, image_size=shape.size, classes=classes, mean=mean, std=std
    ).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return network


def fitted(network: Network, pixels: Pixels, labels: torch.Tensor, classes: int) -> LinearProbe:
    """A probe that has seen these images."""
    autocast, _ = precision_tools("fp32", CPU)
    features = embed(network, pixels, device=CPU, autocast=autocast, batch_size=BATCH).features
    (probe,) = logistic_regressions(
        features, labels, classes=classes, penalties=[1e-3], max_iter=100
    )
    return probe


def others(logits: np.ndarray, reference: np.ndarray) -> int:
    """Images that get another class."""
    return int((logits.argmax(1) != reference.argmax(1)).sum())


def cpu_seconds() -> float:
    """Of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
