"""`python -m supcon train|lr-find|evaluate|tsne`: plain training, without a search, and what
comes of it: `bundle|predict|embed|neighbours|gallery|explore`.

Exit codes: 0 done, 2 the input is wrong, 3 the loss diverged, 130 interrupted, 141 who read
the output has left.
"""

from __future__ import annotations

import argparse
import os
import sys

from supcon.cli import exploring, gallery, looking, training, using
from supcon.parsing import UserError, show_error

GO_ON = "; the same command with --resume goes on"


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and run the command."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        return code
    except UserError as error:
        show_error(error, with_trace=options.debug)
        return 2
    except BrokenPipeError:  # who read the output has left, like `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing else is flushed
        return 141
    except OSError as error:  # a full disk, say
        hint = GO_ON if options.command == "train" else ""
        show_error(UserError(f"{error}{hint}"), with_trace=options.debug)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted{GO_ON if options.command == 'train' else ''}", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m supcon", description="Plain training, and use."
    )
    with_trace = argparse.ArgumentParser(add_help=False)
    with_trace.add_argument("--debug", action="store_true", help="show the stack trace of an error")
    shared = argparse.ArgumentParser(add_help=False, parents=[with_trace])
    shared.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting, for example --set run.epochs=50 (repeatable)",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    training.add_to(commands, shared)
    looking.add_to(commands, shared)
    using.add_to(commands, shared, with_trace)
    gallery.add_to(commands, with_trace)
    exploring.add_to(commands, with_trace)
    return parser


if __name__ == "__main__":
    sys.exit(main())
