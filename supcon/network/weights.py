"""Whether a backbone's published weights can be had: from the cache, or over the network."""

from __future__ import annotations

import socket
from typing import Any

import timm

HUB = ("huggingface.co", 443)
SECONDS = 3.0  # to wait for an answer; the hub's own client tries for a minute
FILES = ("model.safetensors", "pytorch_model.bin")


def can_be_had(backbone: str) -> bool:
    """Whether `pretrained: true` will find weights: in the local cache, or at a hub that answers.

    Args:
        backbone: a model of timm.
    """
    config: Any = timm.get_pretrained_cfg(backbone)
    if config is None or not config.has_weights:
        return False
    return is_cached(config.hf_hub_id) or answers(HUB)


def is_cached(repository: str | None) -> bool:
    """Whether the hub's cache has the weights of a repository of the hub."""
    from huggingface_hub import try_to_load_from_cache

    return repository is not None and any(
        isinstance(try_to_load_from_cache(repository, name), str) for name in FILES
    )


def answers(address: tuple[str, int]) -> bool:
    """Whether something listens at a host and port."""
    try:
        socket.create_connection(address, timeout=SECONDS).close()
    except OSError:
        return False
    return True
