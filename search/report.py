"""What a study found: `python search/report.py results/x` writes its report anew, without Ray.

From the event log alone: report.html, report.md, summary.json, trials.csv, best/*.yaml. Only a
picture that a winner still lacks, a list of suspicious labels or of look-alikes, or measures beyond
accuracy take models and the images; they are asked in this process, on the CPU where there is no
GPU.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # as in run.py: our packages are found from any folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from search.engine.interrupts import INTERRUPTED
from search.further.examining import examined_later, unexamined
from search.gallery.lookalikes import lookalikes_later
from search.gallery.suspects import suspects_later
from search.gallery.tsne import pictures_later
from search.log.study import Study
from search.reporting.files import outcome, write_answer, write_rest
from supcon.network.device import usable_gpus
from supcon.parsing import UserError, show_error


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and write the report."""
    parser = argparse.ArgumentParser(prog="search/report.py", description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path, help="a study's folder, for example results/digits")
    parser.add_argument("--debug", action="store_true", help="show the stack trace of an error")
    options = parser.parse_args(arguments)
    try:
        study = Study.open(options.study)
        answer = write_answer(study)
        print(outcome(answer), flush=True)
        if waiting := len(unexamined(study)):
            print(f"examine   {waiting} tested runs beyond accuracy, here; each is kept when done",
                  flush=True)  # fmt: skip
        not_drawn, not_listed = pictures_later(study), suspects_later(study)
        failed = not_drawn, not_listed, lookalikes_later(study), examined_later(study)
        now = Study.open(options.study)
        if len(now.log.events) > len(study.log.events):
            where = "a GPU" if usable_gpus() else "the CPU"
            print(f"computed  what was missing of the winners, here, on {where}", flush=True)
        summary = write_rest(now, answer, *failed)
    except UserError as error:
        show_error(error, with_trace=options.debug)
        return 2
    except KeyboardInterrupt:
        print("interrupted; what was computed is kept, and the answer is written", file=sys.stderr)
        return INTERRUPTED
    for line in summary.further.text if summary.further else []:
        print(line)
    for line in summary.missing.values():
        print(f"missing   {line}")
    print(f"wrote {study.folder.page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
