"""Runs commands of `python -m supcon`."""

from __future__ import annotations

import subprocess
import sys

from supcon.__main__ import main


def run_command(*arguments: object) -> int:
    return run("train", *arguments)


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def in_a_process(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *code.split(" ", 1), *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
