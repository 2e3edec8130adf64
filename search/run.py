"""Search SupCon and cross entropy under one protocol: `python search/run.py --space spaces/x.yaml`.

Plan, search both arms, confirm the winners on fresh seeds, open the test images once, report.
Exit codes: 0 done, 1 no arm has a result, 2 the input is wrong, 130 interrupted.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    # Python put search/ here; our packages are one level up, whatever the current folder.
    sys.path[0] = str(ROOT)

from search.preflight.which_study import changes, check_name, check_unchanged, plan, resume
from search.space.loading import load_space
from search.space.space import Space
from supcon.parsing import UserError, show_error

if TYPE_CHECKING:
    from search.engine.shared_images import Images
    from search.monitor.pages import Watch
    from search.preflight.packing import Node
    from search.preflight.trial_cost import Probed, Unable


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and run the study."""
    options = parse_arguments(arguments)
    try:
        return run(options) if options.repeat is None else repeat(options)
    except UserError as error:
        show_error(error, with_trace=options.debug)
        return 2
    except KeyboardInterrupt:
        print("interrupted; a study that was started goes on with --resume", file=sys.stderr)
        return 130


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="search/run.py", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--space", type=Path, required=True, metavar="FILE", help="search space in YAML")
    add("--name", metavar="STUDY", help="name of the study (default: that of the space)")
    add("--results", type=Path, default=Path("results"), metavar="DIR", help="default: results/")
    add("--trials", type=int, metavar="N", help="at most N trials an arm")
    add("--time", metavar="T", help="of the whole study, for example 90m or 12h")
    add("--epochs", type=int, metavar="N", help="length of one trial")
    add("--seed", type=int, metavar="N", help="seed of the study")
    add("--concurrency", type=int, metavar="N", help="trials at once (default: what fits)")
    add("--cpus-per-trial", type=amount, metavar="X", help="a number, or auto")
    add("--gpus-per-trial", type=amount, metavar="X", help="a fraction shares a GPU; or auto")
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="changes",
        help="change a setting of the base config (optim.warmup=0.05) or of the space "
        "(budget.total_epochs=500); repeatable",
    )
    add(
        "--points",
        type=Path,
        metavar="FILE",
        help="run exactly the trials of another study's trials.csv, or those of a YAML file",
    )
    add("--resume", action="store_true", help="continue a study that was interrupted or killed")
    add("--extend", action="store_true", help="continue a study with a larger budget")
    add("--dry-run", action="store_true", help="say what it will cost, and start nothing")
    add(
        "--noise-floor",
        action="store_true",
        help="first train the published settings on several seeds, and say what can be shown",
    )
    add(
        "--repeat",
        type=int,
        metavar="R",
        help="R independent searches, of other seeds and splits; then a sentence on the methods",
    )
    add("--address", metavar="HOST:PORT", help="an existing Ray cluster (default: a local one)")
    add("--watch", action="store_true", help="TensorBoard and optuna-dashboard beside the search")
    add("--keep", action="store_true", help="with --watch: let them run when the search has ended")
    add("--watch-host", metavar="HOST", help="with --watch: listen there (default: 127.0.0.1)")
    add("--debug", action="store_true", help="show the stack trace of an error")
    options = parser.parse_args(arguments)
    given = sys.argv[1:] if arguments is None else arguments
    options.command = shlex.join(["python", "search/run.py", *given])
    options.resume = options.resume or options.extend
    return options


def amount(text: str) -> float | str:
    """A number, or `auto`."""
    return text if text == "auto" else float(text)


def run(options: argparse.Namespace) -> int:
    """Everything between a command line and an exit code."""
    watch = wanted_watch(options)
    folder, space = resume(options) if options.resume else plan(options)

    # Imported late: a wrong space is reported at once, not after torch and ray have loaded.
    from search.engine.shared_images import Images
    from search.judge.noise_floor import check_noise_floor
    from search.preflight.announcement import describe
    from search.preflight.checks import check_all, settle_space
    from search.preflight.packing import with_shares

    if options.noise_floor:
        check_noise_floor(space)
    images = Images(check_all(space, options.address))
    if not options.resume:
        space = settle_space(space, images.splits)
    if options.dry_run or space.resources.must_measure:
        nodes, probed = measure(space, images, options.address)
        space = with_shares(space, probed, nodes) if space.resources.must_measure else space
        if options.dry_run:
            return forecast(space, images, probed, nodes)

    from search.course import conclude, create, execute, reopen  # with ray

    start = reopen if options.resume else create
    journal = start(folder, space, images, options.command)
    print(f"study     {folder}", *describe(space, images.splits), sep="\n", flush=True)
    try:
        is_interrupted = execute(
            space, journal, images, options.address, options.noise_floor, watch
        )
        return conclude(journal, is_interrupted)
    except UserError:
        if len(journal.events) == 1:  # nothing has happened in this study: leave nothing behind
            shutil.rmtree(folder)
        raise
    finally:
        journal.close()


def wanted_watch(options: argparse.Namespace) -> Watch | None:
    """What --watch and its companions ask for."""
    from search.log.surroundings import LOOPBACK
    from search.monitor.pages import Watch
    from search.monitor.servers import NotStarted, free_port

    if options.watch:
        watch = Watch(options.watch_host or LOOPBACK, options.keep)
        try:
            free_port(watch.host, 0)
        except NotStarted as error:
            raise UserError(
                f"--watch-host {watch.host}: {error}; name one of this machine"
            ) from None
        return watch
    if options.keep or options.watch_host:
        raise UserError(f"--{'keep' if options.keep else 'watch-host'}: goes with --watch; add it")
    return None


def repeat(options: argparse.Namespace) -> int:
    """Independent searches, each a study of its own in the folder of their common name."""
    from search.repeats import begin_repeats, conclude_repeats, forget_repeats, repeat_changes

    if options.repeat < 2:
        raise UserError(f"--repeat must be at least 2 searches, got {options.repeat}")
    if options.dry_run or options.extend:
        raise UserError("--repeat: does not go with --dry-run or --extend; run them without it")
    check_name(options.name)
    given = changes(options)
    space = load_space(options.space, {} if options.resume else given)
    folder = options.results / (options.name or space.name)
    if options.resume:
        check_unchanged(given)
    file = begin_repeats(folder, space, options.repeat, to_resume=options.resume)
    codes = []
    for number in range(options.repeat):
        own = argparse.Namespace(**vars(options))
        for flag in ("trials", "time", "epochs", "cpus_per_trial", "gpus_per_trial", "points"):
            setattr(own, flag, None)  # they are in the file
        own.space, own.results, own.name = file, folder, f"repeat-{number + 1}"
        own.resume = (folder / own.name).exists()
        own.seed, own.changes = None, []
        if not own.resume:
            own.seed, own.changes = repeat_changes(load_space(file, {}), number)
        print(f"search    {number + 1} of {options.repeat}", flush=True)
        try:
            codes.append(run(own))
        except UserError:
            forget_repeats(folder)
            raise
        if codes[-1] == 130:
            return 130
    print(conclude_repeats(folder))
    return max(codes)


def measure(
    space: Space, images: Images, address: str | None
) -> tuple[list[Node], list[Probed | Unable]]:
    """The machines that trials run on, and what each class of configs takes there."""
    from search.preflight.packing import this_machine
    from search.preflight.trial_cost import probe, probe_here

    if address is None:
        return [this_machine()], probe(space, probe_here(images.splits))
    from search.engine.nodes import probe_there  # with ray

    return probe_there(space, images, address)


def forecast(space: Space, images: Images, probed: list[Probed | Unable], nodes: list[Node]) -> int:
    """Say what the search would cost, and start nothing."""
    from search.preflight.announcement import describe
    from search.preflight.forecast import describe_forecast

    lines = describe_forecast(space, images.splits, probed, nodes)
    print(*describe(space, images.splits), *lines, sep="\n")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: nothing is left running
    sys.exit(main())
