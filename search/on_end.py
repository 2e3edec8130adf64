"""`--on-end COMMAND`: tells somebody that a study has ended, by mail or chat, or as they like."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from search.log.folder import StudyFolder
from supcon.parsing import one_line


class OnEnd:
    """The command, and the study that it tells of."""

    def __init__(self, command: str | None) -> None:
        """`command` is for the shell; None: nobody is told."""
        self.command = command
        self.study: Path | None = None
        """Its folder, once it is known."""

    def tell(self, code: int, error: str = "") -> None:
        """Run the command; if it fails, say so, and no more.

        Args:
            code: exit code of the search.
            error: what went wrong.
        """
        if self.command is None:
            return
        try:
            done = subprocess.run(
                ["/bin/sh", "-c", self.command], env=os.environ | self._facts(code, error)
            )
            problem = f"exit code {done.returncode}" if done.returncode else ""
        except (OSError, ValueError) as failure:
            problem = one_line(failure)
        if problem:
            print(f"--on-end {self.command}: {problem}", file=sys.stderr)

    def _facts(self, code: int, error: str) -> dict[str, str]:
        study = StudyFolder(self.study.absolute()) if self.study else None
        facts = {"EXIT_CODE": str(code), "ERROR": error, "STUDY": "", "REPORT": "", "VERDICT": ""}
        if study is not None:
            facts["STUDY"] = str(study.path)
            facts["VERDICT"] = verdict_of(study)
            pages = [page for page in (study.page, study.path / "report.md") if page.exists()]
            facts["REPORT"] = str(pages[0]) if pages else ""
        return {f"SUPCON_{name}": value for name, value in facts.items()}


def verdict_of(study: StudyFolder) -> str:
    """The sentence of a study's summary, or of one of several studies; nothing if there is none."""
    try:
        facts = json.loads(study.summary.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(facts.get("verdict", facts)["text"])
