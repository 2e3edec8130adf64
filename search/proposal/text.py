"""A proposed space as its user reads it: YAML with a reason beside each choice."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from search.preflight.options import proposed_name
from search.proposal.choices import FEW_IMAGES, PRETRAINED_SIDE, Network, batch_sizes
from search.proposal.hours import Plan
from search.proposal.survey import Survey
from supcon.listing.names import TEST, VAL

COLUMN = 42  # of the reasons
UNEQUAL = 3.0
"""Where the largest class has more than so many times the images of the smallest, it may be worth
drawing each class equally often.
"""


def space_text(
    found: Survey, network: Network, plan: Plan, out: Path, hours: float, *, on_gpu: bool
) -> str:
    """The text of a space file.

    Args:
        found: the images.
        network: the one that suits them and the hours.
        plan: how much is searched.
        out: where it will lie; its name becomes that of the study.
        hours: that there are.
        on_gpu: whether a GPU trains.
    """
    listing = found.listing
    n_images = int((listing.labels < len(listing.classes)).sum())  # without those held out
    sections = [
        f"# python search/run.py --space {out}",
        f"# Made by --init for {n_images:,} images of {len(listing.classes)} classes and "
        f"{hours:g} h on this machine; change what you know better.",
        *_schema(out),
        f"name: {_scalar(proposed_name(out))}",
        "base:",
        *_data(found, network),
        *_augment(),
        *_model(found, network),
        *_run(plan),
        *_params(found, network),
        *_arms(),
        *_points(found, network),
        *_budget(plan, on_gpu=on_gpu),
    ]
    return "\n".join(sections) + "\n"


def _schema(out: Path) -> Iterable[str]:
    if (out.parent / "schema.json").exists():  # editors complete and check by it
        yield "# yaml-language-server: $schema=schema.json"


def _data(found: Survey, network: Network) -> Iterable[str]:
    yield "  data:"
    for key, value in found.settings.items():
        yield _line(4, key, value, "leaves out what cannot be read" if key == "broken" else "")
    side = f"of images whose shorter side is {found.side}" if found.side else ""
    yield _line(4, "image_size", network.image_size, f"pixels, {side}")
    small, large = batch_sizes(found.n_train)
    if small == large:
        yield _line(4, "batch_size", large, "too few training images for a choice")
    if TEST not in found.given and "test_size" not in found.settings:
        yield _line(
            4, "test_size", 0.2, "split off, and opened once, at the end; the same each time"
        )
    if VAL not in found.given and "val_size" not in found.settings:
        yield _line(4, "val_size", 0.1, "of what is left; chooses between trials")


def _augment() -> Iterable[str]:
    yield "  # Is an image that is turned left to right, or in other colours, still of its class?"
    yield '  # If not, take this "#" away:'
    yield "  # augment: {flip: 0, jitter: 0, grey: 0}"


def _model(found: Survey, network: Network) -> Iterable[str]:
    yield "  model:"
    yield _line(4, "backbone", network.backbones[0], "any of timm.list_models()")
    if network.stem != "auto":
        yield _line(4, "stem", network.stem, "full: fast; small keeps more of small pictures")
    yield _line(
        4, "weights", "timm" if network.pretrained else "none", _weights_reason(found, network)
    )


def _weights_reason(found: Survey, network: Network) -> str:
    if network.pretrained:
        return "few images: what timm publishes; or a file of weights"
    if found.n_train < FEW_IMAGES and found.side >= PRETRAINED_SIDE:
        return "published weights would help so few images, but cannot be had here: name a file"
    return "or timm, or a file: what the backbone starts from"


def _run(plan: Plan) -> Iterable[str]:
    yield "  run:"
    yield _line(4, "epochs", plan.epochs, "of a trial that is not stopped early")


def _params(found: Survey, network: Network) -> Iterable[str]:
    small, large = batch_sizes(found.n_train)
    drawn: dict[str, Any] = {
        "loss.temperature": {"loguniform": [0.03, 0.5]},
        "augment.strength": {"uniform": [0.2, 1.0]},
        "optim.lr_per_256": {"loguniform": [0.002, 0.3] if network.pretrained else [0.03, 0.6]},
    }
    if network.pretrained:
        drawn["optim.layer_decay"] = {"choice": [1.0, 0.8, 0.65]}
        drawn["optim.freeze_epochs"] = {"int": [0, 2]}
    if small < large:
        drawn["data.batch_size"] = {"pow2": [small, large]}
    if found.imbalance > UNEQUAL:
        drawn["data.sampler"] = {"choice": ["natural", "balanced"]}
    if len(network.backbones) > 1:
        drawn["model.backbone"] = {"choice": list(network.backbones)}
    yield "params:"
    reasons = {
        "data.batch_size": f"at most a quarter of {found.n_train:,} training images",
        "optim.layer_decay": "lower layers of pretrained weights learn more slowly",
        "optim.freeze_epochs": "heads alone, at first",
        "data.sampler": "classes are unequal; balanced draws each equally often",
    }
    for key, value in drawn.items():
        yield _line(2, key, value, reasons.get(key, ""))
    yield "  # CutMix: published gains are of long runs, short ones lose (results/ablations.md):"
    yield "  # augment.cutmix: {choice: [0.0, 1.0]}"
    yield "  # augment.mix_probability: {uniform: [0.2, 1.0], when: {augment.cutmix: 1.0}}"


def _arms() -> Iterable[str]:
    yield "arms:"
    yield _line(2, "supcon", {"loss.name": "supcon"}, "")
    smoothing = {"loss.label_smoothing": {"uniform": [0.0, 0.2]}}
    yield _line(2, "ce", {"loss.name": "ce", **smoothing}, "smoothing drawn for this arm alone")
    yield "  # Both losses on one encoder, a third arm in half as much time again:"
    yield "  # supcon_ce: {loss.name: supcon_ce, loss.ce_weight: {uniform: [0.1, 0.9]}}"


def _points(found: Survey, network: Network) -> Iterable[str]:
    small, large = batch_sizes(found.n_train)
    batch = {"data.batch_size": large} if small < large else {}
    lr_supcon, lr_ce = (0.05, 0.05) if network.pretrained else (0.125, 0.2)
    shared = {"augment.strength": 1.0, **batch}
    supcon = {"loss.temperature": 0.1, **shared, "optim.lr_per_256": lr_supcon}
    yield _line(0, "points", None, "tried first: what is published")
    yield _line(2, "supcon", [supcon], "")
    yield _line(2, "ce", [shared | {"optim.lr_per_256": lr_ce}], "")


def _budget(plan: Plan, *, on_gpu: bool) -> Iterable[str]:
    # No limit by time: where the machine turns out slower, it would take the verdict away.
    reason = f"of each arm; about {plan.hours:.1f} h in all; `time: 4h` beside it is a limit"
    yield _line(0, "budget", {"trials": plan.trials}, reason)
    yield _line(0, "confirm", plan.confirm, "fresh seeds, after the search")
    resources = {"cpu": "auto", "gpu": "auto"} if on_gpu else {"cpu": 1, "gpu": 0}
    yield _line(0, "resources", resources, "of a trial; as many at once as fit")


def _line(indent: int, key: str, value: Any, reason: str) -> str:
    text = f"{' ' * indent}{key}:" + ("" if value is None else f" {_scalar(value)}")
    return f"{text:{COLUMN}s}  # {reason}" if reason else text


def _scalar(value: Any) -> str:
    """A value in a line of YAML; JSON is such, plain words are nicer."""
    if isinstance(value, str):
        is_plain = value.replace("_", "").replace("-", "").isalnum() and not value[0].isdigit()
        is_word = value.lower() not in ("null", "true", "false", "yes", "no", "on", "off", "y", "n")
        return value if is_plain and is_word and value.isascii() else json.dumps(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_scalar(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_scalar, value)) + "]"
    return json.dumps(value)
