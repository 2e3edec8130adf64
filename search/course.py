"""A study from its opening to its report: search, confirm, open the test images, report."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from search.engine.interrupts import Interrupt
from search.engine.nodes import check_nodes, check_room, slots_to_confirm
from search.engine.prometheus import Metrics, endpoint
from search.engine.session import ray_session
from search.engine.shared_images import Images
from search.engine.tuner import remove_checkpoint, run_trials
from search.judge.noise_floor import NoisePlan, describe_noise
from search.judge.sealed import check_same_test, open_test
from search.judge.tsne import add_pictures
from search.log.events import AFTER_SEARCH, Opened
from search.log.journal import Journal
from search.log.surroundings import LOOPBACK, commit, machine, versions
from search.monitor.event_lines import Progress
from search.monitor.live_view import live_view
from search.monitor.optuna_mirror import Mirror
from search.monitor.pages import Watch, watching
from search.reporting.files import outcome, write_report
from search.space.space import Space
from search.strategy.confirmation import ConfirmPlan
from search.strategy.search_order import SearchPlan
from search.strategy.stage import end_search
from search.strategy.time_limit import Clock, TimeToConfirm, end_for_time
from supcon.parsing import UserError


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
                slots = partial(slots_to_confirm, space, journal)
                is_over = TimeToConfirm(space, journal, clock, slots)
                run(["search"], SearchPlan(space, journal, is_over), is_time_up=is_over)
            if not interrupt.requested:
                if is_over():
                    end_for_time(journal)
                end_search(space, journal)
                run(AFTER_SEARCH, ConfirmPlan(space, journal), is_time_up=clock.is_over)
    return interrupt.requested


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
