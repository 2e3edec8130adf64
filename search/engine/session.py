"""A Ray of its own for a search, or a connection to a cluster."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants
from ray.exceptions import RayError

from search.engine.auth_token import guard_token, offer_token
from search.engine.interrupts import deaf_children
from search.log.surroundings import ROOT
from supcon.parsing import UserError, one_line


@contextmanager
def ray_session(address: str | None, host: str) -> Iterator[str]:
    """A local Ray, or a connection to a cluster; yields the dashboard's URL.

    Args:
        address: of the cluster; None starts a Ray on this machine.
        host: what the dashboard of a local Ray listens on.

    Raises:
        UserError: there is no such cluster, or it asks for a token that is not here.
    """
    guard_token(create=address is None)
    code = None if address is None else copy_of_our_code()
    try:
        if address is not None:
            offer_token(address)
        options = _of_a_local_ray(host) if code is None else _of_a_cluster(address, code)
        with deaf_children():
            context = ray.init(log_to_driver=False, logging_level="ERROR", **options)
    except (ConnectionError, ValueError, RuntimeError, OSError, RayError) as error:
        raise UserError(
            f"--address {address or 'local'}: Ray cannot be reached ({one_line(error)})"
        ) from error
    finally:
        if code is not None:  # it lies in the cluster now
            shutil.rmtree(code)
    try:
        yield f"http://{context.dashboard_url}" if context.dashboard_url else ""
    finally:
        ray.shutdown()


def _of_a_local_ray(host: str) -> dict[str, Any]:
    # Workers import `search` and `supcon` also when the command runs in another folder.
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    # Else Ray listens on the machine's address, or on all. Ray reads the variable when it is
    # imported, which may have been before, and its processes inherit it.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False
    return {"address": "local", "include_dashboard": True, "dashboard_host": host}


def _of_a_cluster(address: str | None, code: str) -> dict[str, Any]:
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
    if "working_dir" in job.get("runtime_env", {}):  # a job that came with its own checkout: this
        return {"address": address}
    return {"address": address, "runtime_env": {"working_dir": code}}


def copy_of_our_code() -> str:
    """A folder to be sent to the nodes of a cluster, which then need the dependencies only.

    As their working folder, it comes before any other copy of our code that they may have.
    """
    folder = tempfile.mkdtemp(prefix="supcon-search-")
    for package in ("search", "supcon"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, Path(folder) / package, ignore=ignore)
    return folder
