"""What a cluster is told when a search joins it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from search.engine.session import _of_a_cluster, copy_of_our_code


def test_our_code_goes_to_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    code = Path(copy_of_our_code())
    assert {path.name for path in code.iterdir()} == {"search", "supcon"}
    assert list(code.rglob("__pycache__")) == []
    given = _of_a_cluster("a:1", str(code))
    assert given == {"address": "a:1", "runtime_env": {"working_dir": str(code)}}


def test_a_job_that_came_with_its_own_checkout_runs_that(monkeypatch: pytest.MonkeyPatch) -> None:
    job = {"runtime_env": {"working_dir": "gcs://x.zip"}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(job))
    assert _of_a_cluster("auto", "/x") == {"address": "auto"}
