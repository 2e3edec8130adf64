"""--watch: what is started, said and ended."""

from __future__ import annotations

import os
import re
import signal
import sys

import pytest

from search.log.folder import StudyFolder
from search.monitor import servers
from search.monitor.pages import Watch, tunnel, watching
from search.preflight.options import parse_options
from search.run import wanted_watch
from supcon.parsing import UserError
from tests.monitor.programs import is_alive, wait_until_gone


def started(said: str) -> dict[str, int]:
    """Programs and their process ids, as a person reads them."""
    return {name: int(pid) for name, pid in re.findall(r"\((\S+), pid (\d+)\)", said)}


def test_the_tunnel_forwards_every_page_at_its_own_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "me")
    monkeypatch.setattr("socket.gethostname", lambda: "box")
    urls = ["http://127.0.0.1:8265", "http://box:6006", "", "http://10.1.2.3:8080"]
    assert tunnel(urls) == (
        "ssh -N -L 8265:127.0.0.1:8265 -L 6006:127.0.0.1:6006 -L 8080:10.1.2.3:8080 me@box"
    )


def test_what_was_started_answers_and_ends_with_the_search(
    folder: StudyFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with watching(Watch(), folder, "http://127.0.0.1:8265", "http://127.0.0.1:9/metrics"):
        said = capsys.readouterr().out
        pids = started(said)
        assert set(pids) == {"tensorboard", "optuna-dashboard"}
        assert all(map(is_alive, pids.values()))
        for url in re.findall(r"^(?:curves|trials) +(\S+) ", said, re.MULTILINE):
            assert servers.DIRECT.open(url, timeout=5).status == 200
        assert "dashboard http://127.0.0.1:8265 (token: ray get-auth-token)" in said
        assert "metrics   http://127.0.0.1:9/metrics" in said
        assert "ssh -N -L 8265:127.0.0.1:8265" in said
    assert not any(map(is_alive, pids.values()))


def test_what_was_started_ends_also_when_the_search_fails(
    folder: StudyFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt), watching(Watch(), folder, "", ""):
        raise KeyboardInterrupt
    pids = started(capsys.readouterr().out)
    assert pids
    assert not any(map(is_alive, pids.values()))


def test_what_is_kept_outlives_the_search_and_is_said_how_to_end(
    folder: StudyFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with watching(Watch(keep=True), folder, "", ""):
        pass
    said = capsys.readouterr().out
    pids = started(said)
    try:
        assert len(pids) == 2
        for pid in pids.values():
            assert is_alive(pid)
            assert f"end it with: kill {pid}\n" in said
    finally:
        for pid in pids.values():
            os.kill(pid, signal.SIGTERM)
    for pid in pids.values():
        wait_until_gone(pid)


def test_a_program_that_does_not_start_costs_a_line_and_not_the_search(
    folder: StudyFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "print('starting'); raise SystemExit('no such thing as a\\nport')"
    monkeypatch.setattr(servers, "command", lambda *_: [sys.executable, "-c", code])
    is_searching = False
    with watching(Watch(), folder, "", ""):
        is_searching = True
    assert is_searching
    said = capsys.readouterr().out
    log = folder.path / "watch-tensorboard.log"
    assert f"curves    without tensorboard: port; all it said: {log}\n" in said
    assert "starting" in log.read_text()


def test_flags_of_watching_go_with_it() -> None:
    def wanted(*flags: str) -> Watch | None:
        return wanted_watch(parse_options("", ["--space", "x.yaml", *flags]))

    assert wanted() is None
    assert wanted("--watch") == Watch("127.0.0.1", keep=False)
    everything = ["--watch", "--keep", "--watch-host", "0.0.0.0"]
    assert wanted(*everything) == Watch("0.0.0.0", keep=True)
    for flags in (["--keep"], ["--watch-host", "0.0.0.0"]):
        with pytest.raises(UserError, match=f"{flags[0]}: goes with --watch"):
            wanted(*flags)
    with pytest.raises(UserError, match=r"--watch-host 203\.0\.113\.1: nothing can listen"):
        wanted("--watch", "--watch-host", "203.0.113.1")


def test_without_watch_the_commands_are_said_and_nothing_is_started(
    folder: StudyFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with watching(None, folder, "http://127.0.0.1:8265", ""):
        pass
    assert capsys.readouterr().out == (
        "dashboard http://127.0.0.1:8265 (token: ray get-auth-token)\n"
        f"curves    tensorboard --logdir {folder.tensorboard}\n"
    )
    assert list(folder.path.iterdir()) == []
