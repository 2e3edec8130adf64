"""With which code, on which machine and with which packages a study runs."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from supcon.machine import cores

ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = "127.0.0.1"
PACKAGES = ("ray", "optuna", "torch", "torchvision", "timm", "albumentations", "numpy", "scipy")


def commit() -> str:
    """The commit of this checkout, `-dirty` with local changes; `unknown` outside git."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude=*"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def machine() -> str:
    """What numbers and times were measured on."""
    import torch  # late: whoever only asks where this lies need not wait for it

    from supcon.network.device import usable_gpus

    gpus = [torch.cuda.get_device_name(i) for i in range(usable_gpus())]
    cpu = platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next(x for x in lines if x.startswith("model name")).partition(":")[2].strip()
    return f"{platform.system()}, {cores()} cores {cpu}, {', '.join(gpus) or 'no GPU'}"


def versions() -> dict[str, str]:
    """Python and the packages that numbers depend on."""
    return {"python": ".".join(map(str, sys.version_info[:3]))} | {
        package: version_of(package) for package in PACKAGES
    }


def version_of(package: str) -> str:
    """Of an installed package; `unknown` where nothing says it, as in a folder of sources."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
