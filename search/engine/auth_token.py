"""The token that opens Ray's dashboard and API, and with them this account: for its owner only.

Ray makes the file itself, but readable by everybody.
"""

from __future__ import annotations

import logging
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


def offer_token(address: str) -> None:
    """Offer a cluster Ray's token if, and only if, it asks for one.

    Ray itself offers none at an explicit address, and waits for half a minute; where a token is
    offered that nobody asked for, workers cannot talk back, and die.

    Raises:
        UserError: the cluster asks for a token, and there is none here.
    """
    from ray._private import services  # late: this module is imported without Ray, too
    from ray._private.authentication import authentication_token_setup as setup

    found = services.canonicalize_bootstrap_address(address, None)
    if found is None:  # `auto`, and there is none: Ray says so
        return
    logging.getLogger(setup.__name__).setLevel(logging.ERROR)  # no news: it is what we ask for
    wants = asks_for_token(found)
    if wants is None:  # it speaks TLS, or is down: what the environment says holds
        return
    os.environ.pop("RAY_AUTH_MODE", None)  # the cluster decides
    setup.Config.initialize("")  # Ray keeps what it has read
    setup.AuthenticationTokenLoader.instance().reset_cache()
    is_offered = wants and setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    if wants and not is_offered:
        raise UserError(
            f"--address {address}: the cluster asks for a token, and there is none here; copy "
            f"~/.ray/auth_token of its head to this machine, or set RAY_AUTH_TOKEN"
        )


def asks_for_token(address: str) -> bool | None:
    """Whether the control service of a cluster at HOST:PORT refuses those without a token; None if
    it does not say.
    """
    import grpc
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    with grpc.insecure_channel(address) as channel:
        service = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        try:
            service.GetClusterId(gcs_service_pb2.GetClusterIdRequest(), timeout=10)
        except grpc.RpcError as error:
            return True if error.code() == grpc.StatusCode.UNAUTHENTICATED else None
    return False
