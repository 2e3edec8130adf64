"""A study from its opening to its report: search, confirm, open the test images, report."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch

from search.clock import Clock, confirm_seconds
from search.cluster import check_nodes
from search.confirm import AFTER_SEARCH, ConfirmPlan
from search.events import TIME_UP, Opened, Searched
from search.images import Images
from search.journal import Journal
from search.live import live_view
from search.metrics import Metrics, endpoint
from search.mirror import Mirror
from search.noise import NoisePlan, describe_noise
from search.pictures import add_pictures
from search.progress import Progress
from search.report import outcome, write_report
from search.sealed import check_same_test, open_test
from search.searcher import SearchPlan
from search.session import ROOT, ray_session
from search.space import Space
from search.tuner import Interrupt, check_room, remove_checkpoint, run_trials, slots_to_confirm
from search.watch import LOOPBACK, Watch, watching
from supcon.parsing import UserError

PACKAGES = ("ray", "optuna", "torch", "torchvision", "timm", "albumentations", "numpy", "scipy")


def create(folder: Path, space: Space, images: Images, command: str) -> Journal:
    """The log of a new study."""
    try:
        return Journal.create(
            folder / "events.jsonl",
            opening(folder.name, space, images.splits.fingerprint(), command),
        )
    except OSError as error:
        raise UserError(f"--results {folder.parent}: cannot be written ({error})") from error


def reopen(folder: Path, space: Space, images: Images, command: str) -> Journal:
    """The log of a study that goes on; that, and with which code, is logged.

    Raises:
        UserError: the images are not those that it was started with, or was tested on.
    """
    journal = Journal.open(folder / "events.jsonl", to_write=True)
    now, then = images.splits.fingerprint(), journal.opened.data_hash
    try:
        if then and now != then:
            raise UserError(
                f"--resume: {folder} was started on other images than there are under data.root "
                f"now (hash {then[:12]}, now {now[:12]}); put them back, or start another study"
            )
        if journal.openings:  # before hours are spent on what could not be compared
            check_same_test(space, journal, images.splits)
    except UserError:
        journal.close()
        raise
    journal.append(opening(folder.name, space, now, command))
    return journal


def opening(name: str, space: Space, data_hash: str, command: str) -> Opened:
    """The event that a study was created or resumed."""
    return Opened(
        study=name,
        space=space.dump(),
        commit=commit(),
        versions=versions(),
        command=command,
        machine=machine(),
        data_hash=data_hash,
    )


def execute(
    space: Space,
    journal: Journal,
    images: Images,
    address: str | None,
    noise_floor: bool,
    watch: Watch | None = None,
) -> bool:
    """Search, confirm and test; whether it was interrupted."""
    journal.listeners += [Progress(space, journal), partial(remove_checkpoint, journal)]
    clock, confirm = Clock(space, journal), ConfirmPlan(space, journal)
    is_searched = clock.is_over() or SearchPlan(space, journal).is_over()
    if is_searched:
        end_search(space, journal)
    if clock.is_over() or (is_searched and confirm.is_over()):
        Mirror(space, journal)  # makes it anew if it is missing
    elif train(space, journal, images, clock, address, noise_floor, watch):
        return True
    open_test(space, journal, images.splits)
    add_pictures(space, journal, images.splits)
    return False


def train(
    space: Space,
    journal: Journal,
    images: Images,
    clock: Clock,
    address: str | None,
    noise_floor: bool,
    watch: Watch | None,
) -> bool:
    """Run all trials in a session of Ray; whether it was interrupted."""
    with (
        Interrupt().installed() as interrupt,
        ray_session(address, watch.host if watch else LOOPBACK) as dashboard,
        interrupt.installed(),  # again: Ray has taken SIGTERM for itself
    ):
        check_room(space)
        if address is not None:
            check_nodes(journal.path.parent, images.splits)
        journal.listeners += [Mirror(space, journal), Metrics(space, journal)]
        pages = watching(watch, journal.path.parent, dashboard, endpoint())
        with pages, images.shared() as data, live_view(space, journal) as poll:
            run = partial(run_trials, space, journal, data, interrupt=interrupt, poll=poll)
            if noise_floor:
                run(["published"], NoisePlan(space, journal), is_time_up=clock.is_over)
            if noise_floor and not interrupt.requested:
                print(*describe_noise(space, journal, images.splits), sep="\n", flush=True)
            if not interrupt.requested:
                is_over = TimeToConfirm(space, journal, clock)
                run(["search"], SearchPlan(space, journal, is_over), is_time_up=is_over)
            if not interrupt.requested:
                if is_over():
                    end_for_time(journal)
                end_search(space, journal)
                run(AFTER_SEARCH, ConfirmPlan(space, journal), is_time_up=clock.is_over)
    return interrupt.requested


class TimeToConfirm:
    """Whether what is left of a study's time is needed to confirm what was found.

    It is asked many times a second; what that takes is reckoned anew only when the log has grown.
    """

    def __init__(self, space: Space, journal: Journal, clock: Clock) -> None:
        self.space, self.journal, self.clock = space, journal, clock
        self.n_seen, self.reserve = 0, 0.0

    def __call__(self) -> bool:
        """Whether it is."""
        if self.clock.limit is None:
            return False  # nobody needs to know what is reserved
        if self.n_seen != len(self.journal.events):
            self.n_seen = len(self.journal.events)
            slots = slots_to_confirm(self.space, self.journal)
            self.reserve = confirm_seconds(self.space, self.journal, slots)
        return self.clock.is_over(self.reserve)


def end_for_time(journal: Journal) -> None:
    """End the search trials that still ran when the time of the search was up."""
    for trial in journal.unfinished("search"):
        journal.end(trial.ask.key, "stopped", detail=TIME_UP)


def end_search(space: Space, journal: Journal) -> None:
    """Log that the search is over, once, if it has found anything; else --resume may go on."""
    if not journal.is_searched and any(journal.best(arm) for arm in space.arms):
        journal.append(Searched())


def conclude(journal: Journal, is_interrupted: bool) -> int:
    """Write the report, and say what is there."""
    folder = journal.path.parent
    summary = write_report(journal)
    print(outcome(summary))
    print(f"report    {folder}/report.html (also report.md, summary.json, trials.csv)")
    winners = [arm for arm, facts in summary["arms"].items() if facts["best"]]
    for arm in winners:
        print(f"retrain   python -m supcon train {folder}/best/{arm}.yaml")
    if is_interrupted:
        print(
            f"interrupted; go on with the same --space and --name {folder.name} --resume",
            file=sys.stderr,
        )
        return 130
    if not winners:
        print("no trial was trained to the end; trials.csv says why", file=sys.stderr)
        return 1
    return 0


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
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    cpu = platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next(x for x in lines if x.startswith("model name")).partition(":")[2].strip()
    return f"{platform.system()}, {os.cpu_count()} cores {cpu}, {', '.join(gpus) or 'no GPU'}"


def versions() -> dict[str, str]:
    """Python and the packages that numbers depend on."""
    return {"python": ".".join(map(str, sys.version_info[:3]))} | {
        package: importlib.metadata.version(package) for package in PACKAGES
    }
