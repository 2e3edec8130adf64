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
from search.preflight.packing import this_machine
from supcon.machine import free_memory, free_to_share
from supcon.parsing import UserError, one_line

STORE_SHARE = 0.3
"""Of the free memory, for Ray's object store: what Ray itself would take, of all of the machine."""


STORE_BESIDE = 2**27
"""Bytes of the object store beside the images; Ray wants 75 MiB at least."""


@contextmanager
def ray_session(address: str | None, host: str, images: int = 0) -> Iterator[str]:
    """A local Ray, or a connection to a cluster; yields the dashboard's URL.

    Args:
        address: of the cluster; None starts a Ray on this machine.
        host: what the dashboard of a local Ray listens on.
        images: bytes that the object store of a local Ray will have to hold.

    Raises:
        UserError: there is no such cluster, or it asks for a token that is not here.
    """
    guard_token(create=address is None)
    code = None if address is None else copy_of_our_code()
    try:
        if address is not None:
            offer_token(address)
        options = _of_a_local_ray(host, images) if code is None else _of_a_cluster(address, code)
        with deaf_children():
            context = _init(options)
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


def _init(options: dict[str, Any]) -> Any:
    """Start Ray, or join it; without its dashboard if that is what fails."""
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        return ray.init(**quiet, **options)
    except Exception as error:  # Ray raises no type of its own
        if "dashboard" not in str(error).lower() or not options.get("include_dashboard"):
            raise
        print(f"dashboard not started: {one_line(error)[-200:]}", flush=True)
        ray.shutdown()
        return ray.init(**quiet, **options | {"include_dashboard": False})


def _of_a_local_ray(host: str, images: int) -> dict[str, Any]:
    # Workers import `search` and `supcon` also when the command runs in another folder.
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    # Else Ray listens on the machine's address, or on all. Ray reads the variable when it is
    # imported, which may have been before, and its processes inherit it.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False
    here = this_machine()  # Ray would count what is beyond a quota, and GPUs that torch cannot use
    return {
        "address": "local",
        "include_dashboard": True,
        "dashboard_host": host,
        "num_cpus": int(here.cpus),
        "num_gpus": int(here.gpus),
        "object_store_memory": store_bytes(images),
    }


def store_bytes(images: int) -> int:
    """The size of the object store: in /dev/shm if the images have room there.

    Where they have none, as in a container of Docker's with its 64 MiB, it is larger than /dev/shm,
    and Ray keeps it in a file under /tmp.

    Args:
        images: bytes that it will have to hold.
    """
    most = max(int(STORE_SHARE * free_memory()), images + STORE_BESIDE)
    shared = int(0.95 * (free_to_share() or 0))
    if shared >= images + STORE_BESIDE:
        return min(most, shared)
    return max(min(most, ray_constants.REQUIRE_SHM_SIZE_THRESHOLD), images + STORE_BESIDE)


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
