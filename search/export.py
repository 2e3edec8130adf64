"""Best config back to plain training: `python search/export.py results/digits --arm supcon`.

Writes the complete config of an arm's winner; `python -m supcon train` on it repeats the trial.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # as in run.py: our packages are found from any folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from search.log.study import Study
from search.strategy.winners import best_config
from supcon.config import dump_config
from supcon.parsing import UserError, check_is_free, show_error


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and write the config."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("study", type=Path, help="a study's folder, for example results/digits")
    parser.add_argument("--arm", default="supcon", help="default: supcon")
    parser.add_argument("--out", type=Path, help="default: <arm>.yaml in the current folder")
    options = parser.parse_args(arguments)
    try:
        config = best_config(Study.open(options.study), options.arm)
        out = options.out or Path(f"{options.arm}.yaml")
        check_is_free(out)
        try:
            out.write_text(dump_config(config), encoding="utf-8")
        except OSError as error:
            raise UserError(f"--out {out}: cannot be written ({error})") from error
    except UserError as error:
        show_error(error)
        return 2
    print(f"wrote {out}; train it with: python -m supcon train {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
