"""A search without Ray: trials run one after the other in its own process, all else is as it is."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import yaml

from tests.benchmarks.reliability import SPACE, lost, repeated, story
from tests.whole.reduced import reduced

SMALL: dict[str, Any] = {
    **SPACE,
    "base": {
        **SPACE["base"],
        "data": {**SPACE["base"]["data"], "train_size": 260},
        "probe": {"l2": [0.01], "max_iter": 20},
        "run": {"epochs": 2, "precision": "fp32"},
    },
    "budget": {"trials": 2},
    "resources": {"cpu": 1, "gpu": 0, "concurrency": 1},
}


class Search:
    """A search on digits, from its command line to its report, without Ray."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.results, self.space = folder / "results", folder / "x.yaml"
        self.space.write_text(yaml.safe_dump(SMALL | {"name": "x"}))
        self.said = ""

    def run(self, environment: Mapping[str, str] | None = None) -> tuple[int, list[str]]:
        """Start it or go on; the exit code, and what it said of errors."""
        self.results.mkdir(exist_ok=True)
        line = ["--space", str(self.space), "--results", str(self.results), "--continue"]
        with mock.patch.dict(os.environ, environment or {}):
            code, self.said = searched(*line)
        told = ("error: ", "missing ", "Traceback", "study.db")
        return code, [line for line in self.said.splitlines() if line.startswith(told)]

    def fork(self) -> int:
        """Start it or go on in another process, which has loaded all that it needs; its number."""
        import search.course
        import search.engine.trial_actor  # noqa: F401

        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                code = self.run()[0]
            finally:
                os._exit(code)
        return pid

    def unlike(self, other: Search) -> list[str]:
        """In what its log and verdict differ from those of another search."""
        from search.log.journal import Journal

        problems = list[str]()
        folders = [search.results / "x" for search in (self, other)]
        ours, theirs = (Journal.open(folder / "events.jsonl").events for folder in folders)
        if lost(ours) or repeated(ours):
            problems.append(f"lost {lost(ours)}, repeated {repeated(ours)}")
        for line, (a, b) in enumerate(itertools.zip_longest(story(theirs), story(ours)), start=1):
            if a != b:
                keys = [key for key in (a or {}) if (b or {}).get(key) != (a or {})[key]]
                shown = f"another log from line {line} ({', '.join(keys)}): {a} and {b}"
                problems.append(shown[:900])
                break
        a, b = (json.loads((folder / "summary.json").read_text()) for folder in folders)
        if a["verdict"] != b["verdict"]:
            problems.append("another verdict")
        if a["test_evaluations"] != b["test_evaluations"]:
            problems.append("test images opened again")
        return problems


def searched(*arguments: str, with_pictures: bool = False) -> tuple[int, str]:
    """Exit code and output of a command line; 70 for what would be a stack trace.

    Args:
        arguments: of the command line.
        with_pictures: as of `reduced`.
    """
    from search.run import main

    out = io.StringIO()
    with (
        contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), without_ray(),
        reduced(with_pictures=with_pictures),
    ):  # fmt: skip
        try:
            code = main(list(arguments))
        except Exception as error:
            code = 70
            print(f"Traceback: {type(error).__name__}: {error}")
    return code, out.getvalue()


@contextmanager
def without_ray() -> Iterator[None]:
    """Trials run one after the other in this process; all else is as it is."""
    from search.engine.shared_images import SharedImages

    @contextmanager
    def session(*_: Any) -> Iterator[str]:
        yield ""

    @contextmanager
    def shared(images: SharedImages) -> Iterator[Any]:
        yield images.splits

    with (
        mock.patch("threading.excepthook"),  # nor does a search show what its workers print
        mock.patch("search.course.ray_session", session),
        mock.patch.object(SharedImages, "shared", shared),
        mock.patch("search.course.check_room"),
        mock.patch("search.course.slots_to_confirm", return_value=1),
        mock.patch("search.course.endpoint", str),
        mock.patch("search.course.Metrics"),
        mock.patch("search.course.run_trials", run_trials),
    ):
        yield


def run_trials(
    study: Any, data: Any, phases: Any, next_trial: Callable[[], Any], must_stop: Callable[[], bool]
) -> None:
    """As Ray would, with one worker; a worker that raises is a dead one."""
    from search.engine.scheduler import LoggedAsha
    from search.engine.trial_actor import SupConTrial
    from search.engine.trial_source import TrialSource

    class Actor(SupConTrial):
        def setup(self, config: dict[str, Any]) -> None:  # type: ignore[override]
            super().setup(config, data, study.folder)

    asha = LoggedAsha(study)
    source, actor = TrialSource(study, phases, next_trial, errors=asha.errors), None
    for n in count():
        if must_stop():
            break
        trial = source.suggest(str(n))
        if not isinstance(trial, dict):
            break
        said = SimpleNamespace(config=trial, error_file=str(study.folder.path.parent / "error"))
        try:
            if actor is None:
                actor = Actor(trial)
            else:
                actor.reset_config(trial)
            result = actor.step()
            while not result["done"] and asha.on_trial_result(None, said, result) == "CONTINUE":
                result = actor.step()
            if result["done"]:
                asha.on_trial_complete(None, said, result)
        except OSError as error:
            actor = None
            Path(said.error_file).write_text(str(error))
            asha.on_trial_error(None, said)
            source.on_trial_complete(str(n), error=True)
    if actor is not None:
        actor.cleanup()
