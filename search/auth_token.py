"""The token that opens Ray's dashboard and API, and with them this account: for its owner only.

Ray makes the file itself, but readable by everybody.
"""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from supcon.parsing import UserError


def guard_token(*, create: bool) -> None:
    """See to it that Ray's token file, if Ray will use it, cannot be read by others.

    Args:
        create: whether to make one if there is none, before Ray does.

    Raises:
        UserError: others can read it, and that cannot be changed.
    """
    sources = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")  # of another token
    if os.environ.get("RAY_AUTH_MODE") == "disabled" or any(map(os.environ.get, sources)):
        return
    path = Path.home() / ".ray" / "auth_token"
    if create and not path.exists():
        _make(path)
    if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        _close(path)


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent) as file:  # of mode 0600
        file.write(secrets.token_hex(32))
        file.flush()
        with suppress(FileExistsError):  # another search was as quick
            os.link(file.name, path)


def _close(path: Path) -> None:
    try:
        path.chmod(0o600)
    except OSError as error:
        raise UserError(
            f"{path}: others can read the token of Ray, and its mode cannot be changed "
            f"({error.strerror}); run chmod 600 on it as its owner"
        ) from error
    print(
        f"token     {path} could be read by others, and no longer can; if others use this machine, "
        f"remove the file while no Ray runs: the next search makes a new one",
        flush=True,
    )
