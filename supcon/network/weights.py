"""Pretrained weights of a backbone: where they lie, what is in them, how images looked to them.

`model.weights` says which; nothing is fetched that lies in the hub's cache, and nothing of a file
is run. The SHA-256 of the file, as `sha256sum` shows it, tells one set of weights from another.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import timm
import timm.models
import torch
from torch import Tensor

from supcon.config import ModelConfig
from supcon.parsing import UserError, one_line

SECONDS = 3.0  # to wait for an answer; the hub's own client tries for a minute
FILES = (
    "model.safetensors",
    "pytorch_model.bin",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ANOTHER = "choose another one, or set model.weights: none"


@dataclass(frozen=True)
class Weights:
    """What a backbone starts from."""

    tensors: Mapping[str, Tensor]
    """By name; the backbone's may stand behind a prefix."""
    mean: Tensor
    """(C,) of the images that they were trained on, in units of pixel value / 255."""
    std: Tensor
    """Likewise."""

    def statistics(self, channels: int) -> tuple[Tensor, Tensor]:
        """Mean and deviation for images of so many channels: grey ones have that of all three."""
        if len(self.mean) == channels:
            return self.mean, self.std
        return self.mean.mean().repeat(channels), self.std.mean().repeat(channels)


def read_weights(model: ModelConfig) -> Weights | None:
    """The weights that a config names; None: it starts from freshly drawn ones.

    Raises:
        UserError: they are not there, cannot be read, are of another model, or not those of the
            config's `weights_hash`.
    """
    if model.weights == "none":
        return None
    tensors = _read(find_weights(model))
    return Weights(tensors, *_statistics(model, tensors))


def pinned(model: ModelConfig) -> dict[str, str]:
    """Changes to a config, by dotted key, with which it names these very weights from any folder.

    Raises:
        UserError: as in `find_weights`.
    """
    if model.weights == "none":
        return {}
    file = find_weights(model)
    kind, _, place = model.weights.partition(":")
    where = {
        "timm": model.weights,
        "hf-hub": model.weights,
        "local-dir": f"local-dir:{_absolute(place)}",
    }.get(kind, str(file))
    return {"model.weights": where, "model.weights_hash": sha256(file)}


def find_weights(model: ModelConfig) -> Path:
    """The file of the weights that a config names, absolute; fetched, if it is in no cache.

    Raises:
        UserError: there is none, or it is not that of the config's `weights_hash`.
    """
    file = _find(model)
    if model.weights_hash is not None and (found := sha256(file)) != model.weights_hash:
        raise UserError(
            f"model.weights: {file} is not the file that the config was made with (SHA-256 "
            f"{found[:12]}..., model.weights_hash {model.weights_hash[:12]}...); put that one "
            f"back, or set model.weights_hash: null"
        )
    return file


def _find(model: ModelConfig) -> Path:
    kind, _, place = model.weights.partition(":")
    match kind:
        case "timm":
            return _of_timm(model.backbone)
        case "hf-hub":
            return _fetched(place, FILES, place).resolve()
        case "local-dir":
            return _in_folder(_absolute(place))
    file = _absolute(model.weights)
    if file.is_file():
        return file
    if file.is_dir():
        raise UserError(
            f"model.weights: {file} is a folder; name the file in it, or write local-dir:{file} if "
            f"timm has written it"
        )
    raise UserError(
        f"model.weights: there is no file {file}; it must be none, timm, a file, local-dir:DIR or "
        f"hf-hub:NAME"
    )


def sha256(file: Path) -> str:
    """In hexadecimal digits, as `sha256sum` shows it."""
    stat = file.stat()
    return _sha256(file, stat.st_size, stat.st_mtime_ns)


@lru_cache
def _sha256(file: Path, size: int, changed: int) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def can_be_had(backbone: str) -> bool:
    """Whether `weights: timm` will find some: in the local cache, or at a hub that answers.

    Args:
        backbone: a model of timm.
    """
    config: Any = timm.get_pretrained_cfg(backbone)
    if config is None or not config.has_weights:
        return False
    return is_cached(config.hf_hub_id) or answers(hub())


def is_cached(repository: str | None) -> bool:
    """Whether the hub's cache has the weights of a repository of the hub."""
    return repository is not None and _cached(repository, FILES) is not None


def hub() -> tuple[str, int]:
    """Host and port of the hub; HF_ENDPOINT names another one."""
    from huggingface_hub import constants

    url = urlsplit(constants.ENDPOINT)
    return url.hostname or "", url.port or 443


def answers(address: tuple[str, int]) -> bool:
    """Whether something listens at a host and port."""
    try:
        socket.create_connection(address, timeout=SECONDS).close()
    except OSError:
        return False
    return True


def _absolute(path: str) -> Path:
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError:  # ~somebody
        raise UserError(f"model.weights: no such home directory: {path}") from None


def _of_timm(backbone: str) -> Path:
    config: Any = timm.get_pretrained_cfg(backbone)
    if config is None or not config.hf_hub_id:
        raise UserError(
            f"model.weights: timm has no weights of {backbone} on its hub; name a file of them, or "
            f"choose another model.backbone (timm.list_pretrained())"
        )
    return _fetched(config.hf_hub_id, FILES, f"the weights of {backbone}").resolve()


def _in_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise UserError(f"model.weights: there is no folder {folder}; {ANOTHER}")
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"model.weights: {folder} holds none of {', '.join(FILES)}; {ANOTHER}")


def _cached(repository: str, files: Sequence[str]) -> Path | None:
    """The first of the files that the hub's cache has."""
    from huggingface_hub import try_to_load_from_cache

    name, _, revision = repository.partition("@")
    for file in files:
        found = try_to_load_from_cache(name, file, revision=revision or None)
        if isinstance(found, str):
            return Path(found)
    return None


def _fetched(repository: str, files: Sequence[str], what: str) -> Path:
    """The first of the files that a repository has: from the hub's cache, else from the hub."""
    if (cached := _cached(repository, files)) is not None:
        return cached
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    if not getproxies() and not answers(hub()):  # the hub's own client would try for long
        raise _not_fetched(what, OSError(f"nothing answers at {hub()[0]}"))
    name, _, revision = repository.partition("@")
    for file in files:
        try:
            return Path(hf_hub_download(name, file, revision=revision or None))
        except EntryNotFoundError as error:
            if isinstance(error, OSError):  # not in the cache, and the hub was not asked
                raise _not_fetched(what, error) from error
        except Exception as error:  # whatever the hub's client or the network raise
            raise _not_fetched(what, error) from error
    raise UserError(f"model.weights: {repository} holds none of {', '.join(files)}; {ANOTHER}")


def _not_fetched(what: str, error: Exception) -> UserError:
    return UserError(
        f"model.weights: {what} cannot be fetched ({one_line(error)}); connect to the internet, "
        f"set HF_HOME to a cache that holds them, name a file of them, or set model.weights: none"
    )


def _saved_config(model: ModelConfig) -> Mapping[str, Any]:
    """What timm wrote beside the weights of a folder or of a repository of the hub.

    Raises:
        UserError: it is not there, or of another model.
    """
    from timm.models._hub import load_model_config_from_path

    kind, _, place = model.weights.partition(":")
    is_local = kind == "local-dir"
    folder = _absolute(place) if is_local else _fetched(place, ("config.json",), place).parent
    try:
        config, theirs, _ = load_model_config_from_path(folder)
    except Exception as error:  # no file, no JSON, or JSON of something else
        raise UserError(
            f"model.weights: {folder}/config.json is not that of a model of timm "
            f"({one_line(error)}); name the file of the weights itself"
        ) from error
    if theirs != (ours := model.backbone.split(".")[0]):
        raise UserError(
            f"model.weights: {model.weights} holds a {theirs}, but model.backbone is {ours}; set "
            f"model.backbone: {theirs}"
        )
    return config


def _read(file: Path) -> dict[str, Tensor]:
    try:
        found: dict[str, Any] = timm.models.load_state_dict(str(file))
        found = found.get("network", found)  # as `python -m supcon train` writes it
    except Exception as error:  # whatever a file that is none makes them raise
        why, _, _ = one_line(error).partition(". ")
        raise UserError(
            f"model.weights: {file} is neither safetensors nor a state dict that torch reads "
            f"without running code ({why}); save model.state_dict()"
        ) from error
    tensors = {name: each for name, each in found.items() if isinstance(each, Tensor)}
    if not tensors:
        raise UserError(f"model.weights: {file} holds no tensors; save model.state_dict()")
    return tensors


def _statistics(model: ModelConfig, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """As their file, its config, or else timm's config of the backbone has them."""
    for prefix in ("encoder.", ""):  # those of a network of this program
        if {f"{prefix}mean", f"{prefix}std"} <= tensors.keys():
            mean, std = (tensors[f"{prefix}{name}"].flatten().float() for name in ("mean", "std"))
            return mean, std
    if model.weights.startswith(("local-dir:", "hf-hub:")):
        config = _saved_config(model)
    else:
        known: Any = timm.get_pretrained_cfg(model.backbone)
        config = {} if known is None else known.to_dict()
    values = config.get("mean") or IMAGENET[0], config.get("std") or IMAGENET[1]
    return torch.tensor(values[0]).float(), torch.tensor(values[1]).float()
