"""Ray pickles what a Tuner holds, again and again; none of it is ever read."""

from __future__ import annotations

import pickle
from pathlib import Path

from search.engine.scheduler import LoggedAsha
from search.engine.trial_source import TrialSource
from search.engine.tuner import StopAll
from search.engine.unpickled import Unpickled
from tests.written import WrittenStudy


def test_a_snapshot_holds_neither_the_log_nor_what_cannot_be_pickled(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path)  # its log holds an open file, and a lock of threads
    held: list[Unpickled] = [
        LoggedAsha(study), TrialSource(study, ["search"], lambda: None), StopAll(lambda: False),
    ]  # fmt: skip
    for each in held:
        copy = pickle.loads(pickle.dumps(each))
        assert type(copy) is type(each)
        assert vars(copy) == {}
