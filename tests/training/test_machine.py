"""What a process may use: read from /proc and cgroup trees as containers and Slurm make them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from supcon.machine import cache_folder, cores, free_memory, free_to_share, memory

GIB = 2**30
NO_LIMIT = str(2**63 - 4096)  # as version 1 says it

PLAIN_V1 = {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}
JOB = "system.slice/slurmstepd.scope/job_7"


def tree(root: Path, groups: str, files: dict[str, str], total: int = 64, free: int = 48) -> Path:
    """A machine of so many GiB, this process in the groups, and the files under /sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    lines = [f"MemTotal: {total * 2**20} kB", "MemFree: 1 kB", f"MemAvailable: {free * 2**20} kB"]
    (root / "proc/meminfo").write_text("\n".join(lines) + "\n")
    for name, text in files.items():
        (root / "sys/fs/cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "sys/fs/cgroup" / name).write_text(f"{text}\n")
    return root


@pytest.fixture(autouse=True)
def _on_64_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supcon.machine._allowed_cores", lambda: 64)


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {}, 64),
        ("0::/\n", {"cgroup.procs": "1"}, 64),  # the root of version 2 has no limits
        ("0::/\n", {"cpu.max": "max 100000"}, 64),
        ("0::/\n", {"cpu.max": "400000 100000"}, 4),  # a container that sees its group as the root
        ("0::/\n", {"cpu.max": "350000 100000"}, 3),
        ("0::/\n", {"cpu.max": "20000 100000"}, 1),
        ("0::/\n", {"cpu.max": "9900000 100000"}, 64),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2),
        ("0::/a/b\n", {"a/cpu.max": "800000 100000", "a/b/cpu.max": "50000 10000"}, 5),
        ("0::/a\n", {"ab/cpu.max": "100000 100000", "a/cpu.max": "max 100000"}, 64),
        ("0::/../x\n", {"cpu.max": "200000 100000"}, 2),  # moved out of what it can see
        (f"0::/{JOB}/step_0/user/task_0\n", {f"{JOB}/cpu.max": "600000 100000"}, 6),
        ("4:cpu,cpuacct:/\n1:memory:/\n", {f"cpu,cpuacct/{k}": v for k, v in PLAIN_V1.items()}, 64),
        (
            "4:cpu,cpuacct:/docker/f0\n",  # a container sees its own group where the root would be
            {"cpu,cpuacct/cpu.cfs_quota_us": "150000", "cpu,cpuacct/cpu.cfs_period_us": "50000"},
            3,
        ),
        (
            "4:cpu:/slurm/uid_1/job_7/step_0\n9:cpuset:/\n0::/\n",
            {
                "cpu/cpu.cfs_quota_us": "-1",
                "cpu/slurm/uid_1/job_7/cpu.cfs_quota_us": "800000",
                "cpu/slurm/uid_1/job_7/cpu.cfs_period_us": "100000",
                "cpu/slurm/uid_1/job_7/step_0/cpu.cfs_quota_us": "-1",
                "unified/cgroup.procs": "1",
            },
            8,
        ),
        ("0::/\n5:devices:/x\n", {"unified/cpu.max": "200000 100000"}, 2),
    ],
)
def test_cores_are_those_of_the_lowest_quota_on_the_way_to_the_root(
    tmp_path: Path, groups: str, files: dict[str, str], expected: int
) -> None:
    assert cores(tree(tmp_path, groups, files)) == expected


def test_cores_are_no_more_than_the_process_may_run_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supcon.machine._allowed_cores", lambda: 2)
    assert cores(tree(tmp_path, "0::/\n", {"cpu.max": "400000 100000"})) == 2


@pytest.mark.parametrize(
    ("groups", "files", "most", "free"),
    [
        ("0::/\n", {}, 64, 48),
        ("0::/\n", {"memory.max": "max", "memory.high": "max", "memory.current": "9"}, 64, 48),
        ("0::/\n", {"memory.max": f"{8 * GIB}", "memory.current": f"{3 * GIB}"}, 8, 5),
        ("0::/\n", {"memory.max": "max", "memory.high": f"{6 * GIB}", "memory.current": "0"}, 6, 6),
        (
            "0::/\n",  # what files were read takes no room
            {
                "memory.max": f"{8 * GIB}",
                "memory.current": f"{7 * GIB}",
                "memory.stat": f"anon 1\ninactive_file {4 * GIB}\nactive_file 0",
            },
            8,
            5,
        ),
        ("0::/\n", {"memory.max": f"{2 * GIB}", "memory.current": f"{3 * GIB}"}, 2, 0),
        (
            f"0::/{JOB}/step_0/user/task_0\n",
            {
                f"{JOB}/memory.max": f"{16 * GIB}",
                f"{JOB}/memory.current": f"{12 * GIB}",
                f"{JOB}/step_0/memory.max": f"{8 * GIB}",
                f"{JOB}/step_0/memory.current": f"{1 * GIB}",
                f"{JOB}/step_0/user/task_0/memory.max": "max",
            },
            8,
            4,  # the job's other steps take the rest
        ),
        ("1:memory:/\n", {"memory/memory.limit_in_bytes": NO_LIMIT}, 64, 48),
        (
            "4:cpu,cpuacct:/docker/f0\n1:memory:/docker/f0\n",
            {
                "memory/memory.limit_in_bytes": f"{4 * GIB}",
                "memory/memory.usage_in_bytes": f"{3 * GIB}",
                "memory/memory.stat": f"inactive_file 0\ntotal_inactive_file {1 * GIB}",
            },
            4,
            2,
        ),
        (
            "1:memory:/slurm/uid_1/job_7/step_0/task_0\n",
            {
                "memory/memory.limit_in_bytes": NO_LIMIT,
                "memory/slurm/uid_1/job_7/memory.limit_in_bytes": f"{32 * GIB}",
                "memory/slurm/uid_1/job_7/step_0/memory.limit_in_bytes": f"{24 * GIB}",
                "memory/slurm/uid_1/job_7/step_0/task_0/memory.limit_in_bytes": NO_LIMIT,
            },
            24,
            24,
        ),
    ],
)
def test_memory_is_that_of_the_lowest_limit_on_the_way_to_the_root(
    tmp_path: Path, groups: str, files: dict[str, str], most: int, free: int
) -> None:
    root = tree(tmp_path, groups, files)
    assert (memory(root) / GIB, free_memory(root) / GIB) == (most, free)


def test_without_linux_the_system_is_asked(tmp_path: Path) -> None:
    assert cores(tmp_path) == 64
    assert 2**20 < free_memory(tmp_path) <= memory(tmp_path)


def test_memory_is_what_this_machine_can_give() -> None:
    everything = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 2**20 < free_memory() <= memory() <= everything


def test_a_process_that_was_given_one_core_counts_one() -> None:
    code = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); "
        "from supcon.machine import cores; print(cores())"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, text=True, capture_output=True)
    assert ran.stdout == "1\n"


def test_what_can_be_shared_is_what_is_left_of_its_place(tmp_path: Path) -> None:
    assert free_to_share(tmp_path) is None
    (tmp_path / "dev/shm").mkdir(parents=True)
    there = os.statvfs(tmp_path)
    assert free_to_share(tmp_path) == pytest.approx(there.f_bavail * there.f_frsize, rel=0.05)


def test_the_cache_folder_is_where_the_user_wants_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("x") == tmp_path / "supcon-search" / "x"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("x") == tmp_path / ".cache" / "supcon-search" / "x"
