"""The course of a study, from its opening to its report: search, confirm, open the test images."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import Any

from search.engine.interrupts import Interrupt
from search.engine.nodes import check_nodes, check_room, slots_to_confirm
from search.engine.prometheus import Metrics, endpoint
from search.engine.session import ray_session
from search.engine.shared_images import SharedImages
from search.engine.tasks import Tasks, tasks_on_cluster
from search.engine.tuner import remove_checkpoint, run_trials
from search.further.examining import add_examined
from search.gallery.lookalikes import add_lookalikes
from search.gallery.suspects import add_suspects
from search.gallery.tsne import add_pictures
from search.judge.noise_floor import describe_noise, next_of_noise_floor
from search.judge.sealed import check_same_test, open_test
from search.judge.trained_models import Place, here
from search.log.events import AFTER_SEARCH, Move, Phase, Started
from search.log.journal import Journal
from search.log.study import Study
from search.log.surroundings import LOOPBACK, commit, machine, versions
from search.monitor.event_lines import EventLines
from search.monitor.live_view import live_view
from search.monitor.optuna_mirror import Mirror
from search.monitor.pages import Watch, watching
from search.preflight.options import Options
from search.preflight.pretrained import check_same_weights, pinned_weights
from search.preflight.which_study import Chosen
from search.reporting.files import outcome, write_answer, write_rest
from search.strategy.confirmation import next_after_search
from search.strategy.search_order import SearchOrder
from search.strategy.stage import end_for_time, end_search, next_trial, search_is_over, stage
from search.strategy.time_limit import Clock, must_confirm
from supcon.images.sources import list_images
from supcon.parsing import UserError


def create(chosen: Chosen, images: SharedImages, command: str) -> Study:
    """A new study, and its log."""
    started, folder = start_of(chosen, images, command), chosen.folder
    try:
        study = Study(chosen.space, Journal.create(folder.events, started))
    except OSError as error:
        raise UserError(f"--results {folder.path.parent}: cannot be written ({error})") from error
    if chosen.space.config.data.is_own:
        broken = images.splits.left_out.broken
        list_images(chosen.space.config.data, broken=broken).write(folder.images)
    return study


def reopen(chosen: Chosen, images: SharedImages, command: str) -> Study:
    """A study that goes on; that, and with which code, is logged.

    Raises:
        UserError: the images are not those that it was started with, or was tested on.
    """
    study = Study(chosen.space, Journal.open(chosen.folder.events, to_write=True))
    now, then = images.splits.fingerprint(), study.log.started.data_hash
    try:
        if then and now != then:
            raise UserError(
                f"--resume: {chosen.folder.path} was started on other images than there are under "
                f"data.root now (hash {then[:12]}, now {now[:12]}); put them back, or start "
                f"another study"
            )
        check_same_weights(study)
        if study.log.openings:  # before hours are spent on what could not be compared
            check_same_test(study, images.splits)
    except UserError:
        study.log.close()
        raise
    study.log.append(start_of(chosen, images, command))
    return study


def start_of(chosen: Chosen, images: SharedImages, command: str) -> Started:
    """The event that a study was created or resumed."""
    return Started(
        study=chosen.folder.name,
        space=chosen.space.dump(),
        commit=commit(),
        versions=versions(),
        command=command,
        machine=machine(),
        data_hash=images.splits.fingerprint(),
        val_counts=images.splits.val_counts,
        measured=chosen.measured,
        weights=pinned_weights(chosen.space),
    )


def where_models_are(study: Study, address: str | None) -> AbstractContextManager[Place]:
    """Where trained models are asked: where they were trained, which may be a cluster."""
    return nullcontext(here) if address is None else tasks_on_cluster(study, address)


def execute(
    study: Study,
    images: SharedImages,
    options: Options,
    watch: Watch | None,
    interrupt: Interrupt,
    place: Place = here,
) -> None:
    """Search, confirm and test, unless interrupted."""
    study.log.listeners += [EventLines(study), partial(remove_checkpoint, study)]
    clock = Clock(study)
    if stage(study, clock.elapsed()) not in ("noise floor", "search"):
        end_search(study)
    if stage(study, clock.elapsed()) in ("test", "done"):
        Mirror(study)  # makes it anew if it is missing
    else:
        train(study, images, clock, options, watch, interrupt)
    if not interrupt.requested:
        with suppress(KeyboardInterrupt):  # what was scored is logged
            open_test(study, images.splits, place)


def train(
    study: Study,
    images: SharedImages,
    clock: Clock,
    options: Options,
    watch: Watch | None,
    interrupt: Interrupt,
) -> None:
    """Run all trials in a session of Ray."""
    with (
        interrupt.installed(patient=True),
        ray_session(options.address, watch.host if watch else LOOPBACK, images.size) as dashboard,
        interrupt.installed(patient=True),  # again: Ray has taken SIGTERM for itself
    ):
        check_room(study.shares)
        if options.address is not None:
            check_nodes(study.folder, images.splits, on_gpu=study.space.resources.gpu != 0)
        study.log.listeners += [Mirror(study), Metrics(study)]
        pages = watching(watch, study.folder, dashboard, endpoint())
        with pages, images.shared() as data, live_view(study):
            place = here if options.address is None else Tasks(study)
            noise_at = place if options.noise_floor else None
            run_stages(study, images, data, clock, interrupt, noise_at)


def run_stages(
    study: Study,
    images: SharedImages,
    data: Any,
    clock: Clock,
    interrupt: Interrupt,
    noise_at: Place | None,
) -> None:
    """The stages that train, one after the other, until they are over or interrupted.

    Args:
        study: the study.
        images: its images.
        data: a reference to them in Ray's object store.
        clock: of the study.
        interrupt: says when to stop.
        noise_at: begin with the noise floor, whose models are asked there; None: without.
    """

    def run(
        phases: Sequence[Phase], plan: Callable[[], Move | None], is_over: Callable[[], bool]
    ) -> bool:
        """Whether it was not interrupted."""
        if not interrupt.requested:
            run_trials(study, data, phases, plan, lambda: interrupt.requested or is_over())
        return not interrupt.requested

    if noise_at is not None and run(
        ["published"], partial(next_of_noise_floor, study), clock.is_over
    ):
        print(*describe_noise(study, images.splits, noise_at), sep="\n", flush=True)
    is_over = partial(must_confirm, study, clock, partial(slots_to_confirm, study))

    def is_time_up() -> bool:
        return clock.is_over() if study.log.is_searched else is_over()

    plan = partial(next_trial, study, SearchOrder(study, is_over))
    # One Tuner: the workers of the search are warm, and train on.
    if run(("search", *AFTER_SEARCH), plan, is_time_up) and not study.log.is_searched:
        if is_over():
            end_for_time(study)
        elif not search_is_over(study):  # nothing is decided on the word of a Tuner that came back
            return
        end_search(study)
        run(AFTER_SEARCH, partial(next_after_search, study), clock.is_over)


def conclude(study: Study, images: SharedImages, interrupt: Interrupt, place: Place = here) -> int:
    """Write the report, the answer first, and say what is there; the exit code."""
    folder, answer = study.folder, write_answer(study)
    print(outcome(answer), flush=True)
    not_drawn = {} if interrupt.requested else add_pictures(study, images.splits, place)
    not_listed = "" if interrupt.requested else add_suspects(study, images.splits, place)
    not_compared = "" if interrupt.requested else add_lookalikes(study, images.splits, place)
    not_examined = "" if interrupt.requested else add_examined(study, images.splits, place)
    summary = write_rest(study, answer, not_drawn, not_listed, not_compared, not_examined)
    for line in summary.further.text if summary.further else []:
        print(line)
    for line in summary.missing.values():
        print(f"missing   {line}")
    print(f"report    {folder.page} (also report.md, summary.json, trials.csv)")
    winners = [arm for arm, found in summary.arms.items() if found.best]
    for arm in winners:
        print(f"retrain   python -m supcon train {folder.best(arm)}")
    if interrupt.requested:
        print(
            f"interrupted; go on with the same --space and --name {folder.name} --resume",
            file=sys.stderr,
        )
        return interrupt.code
    if not winners:
        print("no arm has a result; the report and trials.csv say why", file=sys.stderr)
        return 1
    return 0
