"""Where a search stands: `python search/status.py results/x`, while it runs or after, without Ray.

From the event log alone, which it only reads. Without a study: the newest one in results/.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

if __name__ == "__main__":  # as in run.py: our packages are found from any folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from rich.console import Console

from search.log.folder import StudyFolder, find_study
from search.log.study import Study
from search.monitor.standing import Standing, standing
from search.monitor.terminal_view import View
from supcon.parsing import UserError, show_error


def show(study: Study, console: Console) -> None:
    """Print where a study stands, and what to do next."""
    now = standing(study, time.time(), is_at_work=study.log.is_claimed())
    console.print(View(now))
    for line in what_next(now, study.folder):
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def what_next(now: Standing, folder: StudyFolder) -> list[str]:
    """The verdict of a study that is finished, or how it goes on."""
    if now.is_at_work:
        return []
    if now.stage != "done":
        return [f"go on with the same --space and --name {folder.name} --resume"]
    verdict = _verdict(now, folder.summary)
    if verdict is None:
        return [f"its report is not written: python search/report.py {folder.path}"]
    return [verdict, f"report    {folder.page}"]


def _verdict(now: Standing, file: Path) -> str | None:
    """What the report says; None if there is none, or it is of an earlier state of the study."""
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
        ends = {arm: facts["outcomes"] for arm, facts in summary["arms"].items()}
        is_current = summary["test_evaluations"] == now.n_tested
        if is_current and ends == {arm.name: arm.outcomes for arm in now.arms}:
            return str(summary["verdict"]["text"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # not a summary any more
        return None
    return None


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and print where the study stands."""
    parser = argparse.ArgumentParser(prog="search/status.py", description=__doc__.splitlines()[0])
    parser.add_argument(
        "study",
        type=Path,
        nargs="?",
        default=Path("results"),
        help="a study's folder (default: the newest study in results/)",
    )
    parser.add_argument("--debug", action="store_true", help="show the stack trace of an error")
    options = parser.parse_args(arguments)
    try:
        show(Study.open(find_study(options.study).path), Console())
    except UserError as error:
        show_error(error, with_trace=options.debug)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
