"""Search SupCon and cross entropy under one protocol: `python search/run.py --space spaces/x.yaml`.

Plan, search all arms, confirm the winners on fresh seeds, open the test images once, report.
Exit codes: 0 done, 1 no arm has a result, 2 the input is wrong, 75 asked to stop by SIGTERM or
SIGUSR1 (put it into the queue again), 130 interrupted by Ctrl-C.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":
    # Python put search/ here; our packages are one level up, whatever the current folder.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from search.engine.interrupts import EARLY, Interrupt
from search.on_end import OnEnd
from search.preflight.options import Options, parse_options
from search.preflight.which_study import Chosen, chosen_study
from search.space.resources import Shares
from search.space.space import Space
from supcon.imports import that_last
from supcon.parsing import UserError, show_error

if TYPE_CHECKING:
    from search.engine.shared_images import SharedImages
    from search.monitor.pages import Watch
    from search.preflight.packing import Node
    from search.preflight.trial_cost import CannotRun, TrialCost


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and run the study."""
    options = parse_options(__doc__.splitlines()[0], arguments)
    on_end, code, problem = OnEnd(options.on_end), 1, "unexpected error"
    with Interrupt().installed() as interrupt:
        try:
            if options.init is not None:
                from search.init import propose

                code = propose(options.init, options.out, options.hours, options.assignments)
            elif options.repeat is None:
                code = run(options, interrupt, on_end)
            else:
                from search.repeats import repeat

                code = repeat(options, interrupt, on_end, run)
            problem = ""
        except UserError as error:
            show_error(error, with_trace=options.debug)
            code, problem = 2, str(error)
        except OSError as error:  # a full disk, say
            problem = f"{error}; a study that was started goes on with --resume"
            show_error(UserError(problem), with_trace=options.debug)
            code = 2
        except KeyboardInterrupt:
            print("interrupted; a study that was started goes on with --resume", file=sys.stderr)
            code = interrupt.code
        finally:
            if code not in EARLY and not options.dry_run and options.init is None:
                on_end.tell(code, problem)
    return code


def run(options: Options, interrupt: Interrupt, on_end: OnEnd) -> int:
    """Everything between a command line and an exit code."""
    watch = wanted_watch(options)
    chosen = chosen_study(options)
    on_end.study = on_end.study or chosen.folder.path

    # Imported late: a wrong space is reported at once, not after torch and ray have loaded.
    with that_last():
        from search.engine.shared_images import SharedImages
        from search.judge.noise_floor import check_noise_floor
        from search.preflight.checks import check_all
        from search.preflight.image_audit import audit_lines, audit_once, look_over

    if options.noise_floor:
        check_noise_floor(chosen.space)
    images = SharedImages(check_all(chosen.space, chosen.measured, options.address))
    chosen, lines = prepare(chosen, images, options)
    if options.dry_run:
        lines += audit_lines(look_over(chosen.space.config.data, images.splits))
        print(*lines, sep="\n")
        return 0

    with that_last():
        from search.course import conclude, create, execute, reopen, where_models_are  # with ray

    study = (reopen if chosen.goes_on else create)(chosen, images, options.command)
    print(f"study     {study.folder.path}", *lines, sep="\n", flush=True)
    try:
        for line in audit_once(study, images.splits):
            print(line, flush=True)
        with where_models_are(study, options.address) as place:
            execute(study, images, options, watch, interrupt, place)
            return conclude(study, images, interrupt, place)
    except UserError:
        if not chosen.goes_on and not study.log.trials:  # nothing has happened: leave nothing
            shutil.rmtree(study.folder.path)
        raise
    finally:
        study.log.close()


def wanted_watch(options: Options) -> Watch | None:
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


def prepare(chosen: Chosen, images: SharedImages, options: Options) -> tuple[Chosen, list[str]]:
    """The study with all settled that was `auto`, and what is said before it starts."""
    from search.preflight.announcement import describe, describe_machines
    from search.preflight.checks import settle_gpus, settle_space
    from search.preflight.forecast import describe_forecast, describe_time
    from search.preflight.packing import footprints

    must_measure = chosen.must_measure
    nodes: list[Node] = []
    costs: list[TrialCost | CannotRun] = []
    if options.dry_run or must_measure or options.address is None:
        nodes = machines(options.address)
    if must_measure:
        chosen = replace(chosen, space=settle_gpus(chosen.space, nodes))
    if nodes:
        print(describe_machines(chosen.space, nodes), flush=True)  # before what may take minutes
    if not chosen.goes_on:
        chosen = replace(chosen, space=settle_space(chosen.space, images.splits))
    if options.dry_run or must_measure:
        costs = measure(chosen.space, images, options.address)
        if chosen.must_measure:
            found = footprints(chosen.space.resources, costs, nodes)
            chosen = replace(chosen, measured=found)
    lines = describe(chosen.space, chosen.measured, images.splits)
    shares = Shares(chosen.space.resources, chosen.measured)
    if options.dry_run:
        return chosen, lines + describe_forecast(chosen.space, shares, images.splits, costs, nodes)
    return chosen, lines + describe_time(chosen.space, shares, costs, nodes)


def machines(address: str | None) -> list[Node]:
    """Those that trials run on."""
    from search.preflight.packing import this_machine

    if address is None:
        return [this_machine()]
    from search.engine.nodes import nodes_of  # with ray

    return nodes_of(address)


def measure(space: Space, images: SharedImages, address: str | None) -> list[TrialCost | CannotRun]:
    """What each kind of config costs where trials run."""
    from search.preflight.trial_cost import cost_here, measure_costs

    if address is None:
        return measure_costs(space, cost_here(images.splits))
    from search.engine.nodes import measure_there  # with ray

    return measure_there(space, images, address)


if __name__ == "__main__":
    sys.exit(main())
