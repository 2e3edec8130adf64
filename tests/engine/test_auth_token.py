"""Ray's token file: whoever reads it can run code as its owner."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from search.engine.auth_token import asks_for_token, guard_token, offer_token
from supcon.parsing import UserError


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Ray's token will be, in a home of its own."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".ray" / "auth_token"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_token_is_readable_by_its_owner_only_whatever_the_umask(token: Path) -> None:
    before = os.umask(0)
    try:
        guard_token(create=True)
    finally:
        os.umask(before)
    assert mode(token) == 0o600
    assert len(token.read_text()) == 64
    assert list(token.parent.iterdir()) == [token]


def test_two_searches_share_a_token(token: Path) -> None:
    guard_token(create=True)
    first = token.read_text()
    guard_token(create=True)
    assert token.read_text() == first


def test_a_token_that_others_could_read_is_closed_and_that_is_said(
    token: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token.parent.mkdir()
    token.write_text("secret")
    token.chmod(0o644)
    guard_token(create=False)
    assert (mode(token), token.read_text()) == (0o600, "secret")
    assert "could be read by others" in capsys.readouterr().out
    guard_token(create=False)
    assert capsys.readouterr().out == ""


def test_a_token_that_cannot_be_closed_is_an_error(
    token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    token.parent.mkdir()
    token.write_text("secret")
    token.chmod(0o644)
    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(UserError, match="others can read the token"):
        guard_token(create=False)


def test_no_token_is_made_for_a_cluster_that_may_have_none(token: Path) -> None:
    guard_token(create=False)
    assert not token.exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [("RAY_AUTH_MODE", "disabled"), ("RAY_AUTH_TOKEN", "x"), ("RAY_AUTH_TOKEN_PATH", "/x")],
)
def test_a_token_from_elsewhere_is_left_alone(
    token: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    guard_token(create=True)
    assert not token.exists()


@pytest.mark.parametrize(
    ("asks", "has_token", "mode"),
    [(True, True, "token"), (False, True, None), (False, False, None)],
)
def test_a_cluster_is_offered_the_token_if_it_asks_for_one(
    token: Path, monkeypatch: pytest.MonkeyPatch, asks: bool, has_token: bool, mode: str | None
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # whatever was said before
    monkeypatch.setattr("search.engine.auth_token.asks_for_token", lambda address: asks)
    if has_token:
        guard_token(create=False)
        token.parent.mkdir(exist_ok=True)
        token.write_text("x" * 64)
    offer_token("10.0.0.1:6379")
    assert os.environ.get("RAY_AUTH_MODE") == mode


def test_a_cluster_that_asks_for_a_token_that_is_not_here_is_left_alone(
    token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.engine.auth_token.asks_for_token", lambda address: True)
    with pytest.raises(UserError, match=r"copy ~/.ray/auth_token of its head to this machine"):
        offer_token("10.0.0.1:6379")


def test_nobody_says_that_a_token_is_asked_for_where_nothing_answers() -> None:
    assert asks_for_token("127.0.0.1:1") is None
