"""Two-stage supervised contrastive learning in plain PyTorch.

Trains an encoder with SupCon or cross entropy, scores it by a linear probe, and keeps both for new
images:

    config = override(Config(), {"model.backbone": "resnet10t", "run.epochs": 20})
    data = load_splits(config.data)
    for record in fit(config, data):
        print(record.epoch, record.metrics)
    save_trained(record.trained, config, data, Path("model.pt"))
    class_ids = predict(record.trained, config, data.train, images)["probe"]

and uses what `python -m supcon bundle` made of a run:

    model = load("model/")
    model.predict(["cat.jpg"]).names

`supcon.config` documents all settings, `supcon.train` the recipe. The names here are loaded when
they are first asked for: a program that only reads a config need not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supcon.bundle.model import Model, Neighbours, Predictions, load
    from supcon.config import Config, load_config, override
    from supcon.evaluation.trained import Trained, load_trained, predict, save_trained
    from supcon.images.loading import load_splits
    from supcon.parsing import UserError
    from supcon.train import Diverged, Record, fit

__all__ = [
    "Config",
    "Diverged",
    "Model",
    "Neighbours",
    "Predictions",
    "Record",
    "Trained",
    "UserError",
    "fit",
    "load",
    "load_config",
    "load_splits",
    "load_trained",
    "override",
    "predict",
    "save_trained",
]

_MODULES = {
    "supcon.bundle.model": ("Model", "Neighbours", "Predictions", "load"),
    "supcon.config": ("Config", "load_config", "override"),
    "supcon.evaluation.trained": ("Trained", "load_trained", "predict", "save_trained"),
    "supcon.images.loading": ("load_splits",),
    "supcon.parsing": ("UserError",),
    "supcon.train": ("Diverged", "Record", "fit"),
}
"""Where the names are defined."""


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
