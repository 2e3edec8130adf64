"""What this process may use of the machine: cores, memory, and room to share memory.

A container, a job of Slurm or `taskset` gives a part of a machine. Linux says which part in the
process's affinity and in its control groups (cgroups, version 1 or 2): each group on the way from
the process's own up to the root may have limits, and the lowest of them holds.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")


def cores(root: Path = ROOT) -> int:
    """CPU cores that this process may keep busy: whole ones, at least one.

    Args:
        root: where /proc and /sys lie.
    """
    found = [float(_allowed_cores()), *_quotas(root)]
    return max(1, int(min(found)))


def memory(root: Path = ROOT) -> int:
    """Bytes of memory that this process may ever have.

    Args:
        root: where /proc and /sys lie.
    """
    installed = _meminfo(root, "MemTotal")
    if installed is None:  # not Linux
        installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([installed, *(limit for limit, _ in _limits(root))])


def free_memory(root: Path = ROOT) -> int:
    """Bytes of memory that this process can have now, those of the page cache included.

    Args:
        root: where /proc and /sys lie.
    """
    available = _meminfo(root, "MemAvailable")
    if available is None:
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    return min([available, *(max(0, limit - used) for limit, used in _limits(root))])


def free_to_share(root: Path = ROOT) -> int | None:
    """Bytes that processes can still share in /dev/shm; None where there is no such place."""
    place = root / "dev/shm"
    return shutil.disk_usage(place).free if place.is_dir() else None


def cache_folder(name: str) -> Path:
    """Where what can be made again is kept between runs: below `XDG_CACHE_HOME`, or ~/.cache.

    Args:
        name: says what is kept there.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "supcon-search" / name


def _allowed_cores() -> int:
    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """Cores' worth of time that each group allows, where it limits that."""
    for group in _groups(root, "cpu"):
        quota, period = (_read(group / "cpu.max") or "max 0").split()
        if quota == "max":
            quota = _read(group / "cpu.cfs_quota_us") or "-1"  # -1: no limit
            period = _read(group / "cpu.cfs_period_us") or "0"
        if int(quota) > 0:
            yield int(quota) / int(period)


def _limits(root: Path) -> Iterator[tuple[int, int]]:
    """What each group may have of memory, and has and cannot give back at once; both in bytes."""
    for group in _groups(root, "memory"):
        names = ("memory.max", "memory.high", "memory.limit_in_bytes")
        limits = [int(text) for name in names if (text := _read(group / name) or "").isdigit()]
        used = _read(group / "memory.current") or _read(group / "memory.usage_in_bytes") or "0"
        if limits:
            yield min(limits), int(used) - _reclaimable(group)


def _reclaimable(group: Path) -> int:
    """Bytes of files that a group has read and does not look at: the kernel drops them first."""
    lines = (_read(group / "memory.stat") or "").splitlines()
    found = dict(line.split() for line in lines)
    return int(found.get("total_inactive_file", found.get("inactive_file", "0")))


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The process's groups that may limit this, from the root down to its own.

    A container may see its own group where the root would be: what its path names is not there, and
    is passed over.
    """
    mounts = root / "sys/fs/cgroup"
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2: all controllers in one tree
            tops = [mounts / "unified", mounts]
        elif controller in controllers.split(","):
            tops = [mounts / controllers, mounts / controller]
        else:
            continue
        top = next((each for each in tops if each.is_dir()), None)
        if top is not None:
            below = [] if ".." in path else Path(path.lstrip("/")).parts
            yield from (top.joinpath(*below[:n]) for n in range(len(below) + 1))


def _meminfo(root: Path, key: str) -> int | None:
    """Bytes; None where Linux does not tell."""
    for line in (_read(root / "proc/meminfo") or "").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return None


def _read(path: Path) -> str | None:
    """The text of a small file; None where there is none, or none for us."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return None
