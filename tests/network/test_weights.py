"""Whether published weights can be had, without fetching them."""

from __future__ import annotations

import socket

import pytest

from supcon.network import weights
from supcon.network.weights import answers, can_be_had


def test_something_that_listens_answers_and_a_closed_port_does_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = ("127.0.0.1", server.getsockname()[1])
        assert answers(address)
    assert not answers(address)


@pytest.mark.parametrize(("cached", "online"), [(True, False), (False, True), (False, False)])
def test_weights_come_from_the_cache_or_from_a_hub_that_answers(
    monkeypatch: pytest.MonkeyPatch, cached: bool, online: bool
) -> None:
    monkeypatch.setattr(weights, "is_cached", lambda repository: cached)
    monkeypatch.setattr(weights, "answers", lambda address: online)
    assert can_be_had("resnet18") is (cached or online)


def test_a_backbone_without_published_weights_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "answers", lambda address: True)
    assert not can_be_had("resnet14d")
