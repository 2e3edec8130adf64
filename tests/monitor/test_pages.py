"""--watch: what is started, found again, said and ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.monitor import servers
from search.monitor.pages import Watch, tunnel, watching
from search.monitor.servers import NotStarted, Server, end, free_port, recall, remember, serve
from search.run import parse_arguments, wanted_watch
from supcon.parsing import UserError

# Stands for TensorBoard and optuna-dashboard, which take seconds to start.
PAGE = "import http.server as h, sys; h.test(h.SimpleHTTPRequestHandler, port=int(sys.argv[1]))"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A study's folder; its programs are small pages, and none outlives the test."""

    def command(name: str, study: Path, host: str, port: int) -> list[str]:
        return [
            sys.executable,
            "-c",
            PAGE.replace("port=", f"bind={host!r}, port="),
            str(port),
            name,
        ]

    monkeypatch.setattr(servers, "command", command)
    (tmp_path / "study.db").touch()
    yield tmp_path
    if (tmp_path / "watch.json").exists():
        for known in json.loads((tmp_path / "watch.json").read_text()).values():
            os.kill(known["pid"], signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Whether it runs; a process that has ended and was not asked for does not."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until_gone(pid: int) -> None:
    for _ in range(200):
        if not is_alive(pid):
            return
        time.sleep(0.05)
    raise AssertionError(f"{pid} still runs")


def test_the_usual_port_is_taken_if_it_is_free_and_another_if_not() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port("127.0.0.1", port) not in (port, 0)
    assert free_port("127.0.0.1", port) == port


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with pytest.raises(NotStarted, match=r"nothing can listen on 203\.0\.113\.1"):
        free_port("203.0.113.1", 0)


def test_the_tunnel_forwards_every_page_at_its_own_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "me")
    monkeypatch.setattr("socket.gethostname", lambda: "box")
    urls = ["http://127.0.0.1:8265", "http://box:6006", "", "http://10.1.2.3:8080"]
    assert tunnel(urls) == (
        "ssh -N -L 8265:127.0.0.1:8265 -L 6006:127.0.0.1:6006 -L 8080:10.1.2.3:8080 me@box"
    )


def test_what_was_started_answers_and_ends_with_the_search(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with watching(Watch(), study, "http://127.0.0.1:8265", "http://127.0.0.1:9/metrics"):
        known = json.loads((study / "watch.json").read_text())
        assert set(known) == {"tensorboard", "optuna-dashboard"}
        pids = [facts["pid"] for facts in known.values()]
        assert all(map(is_alive, pids))
        said = capsys.readouterr().out
        for facts in known.values():
            assert f"http://127.0.0.1:{facts['port']} " in said
        assert "dashboard http://127.0.0.1:8265 (token: ray get-auth-token)" in said
        assert "metrics   http://127.0.0.1:9/metrics" in said
        assert "ssh -N -L 8265:127.0.0.1:8265" in said
    assert not any(map(is_alive, pids))
    assert not (study / "watch.json").exists()


def test_what_was_started_ends_also_when_the_search_fails(study: Path) -> None:
    pids: list[int] = []

    def search() -> None:
        with watching(Watch(), study, "", ""):
            known = json.loads((study / "watch.json").read_text())
            pids.extend(facts["pid"] for facts in known.values())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search()
    assert pids
    assert not any(map(is_alive, pids))


def test_what_is_kept_is_found_again_and_left_alone(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with watching(Watch(keep=True), study, "", ""):
        first = json.loads((study / "watch.json").read_text())
    said = capsys.readouterr().out
    for facts in first.values():
        assert is_alive(facts["pid"])
        assert f"end it with: kill {facts['pid']}" in said
    with watching(Watch(), study, "", ""):
        assert "kept by an earlier search" in capsys.readouterr().out
    assert json.loads((study / "watch.json").read_text()) == first
    assert all(is_alive(facts["pid"]) for facts in first.values())


def test_a_process_that_is_not_ours_is_never_believed_nor_ended(study: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    facts = {"pid": stranger.pid, "host": "127.0.0.1", "port": 6006, "inode": 0}
    (study / "watch.json").write_text(json.dumps({"tensorboard": facts}))
    try:
        assert recall("tensorboard", study, "127.0.0.1") is None
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
        (study / "watch.json").unlink()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"tensorboard": 1}', '{"tensorboard": {}}'])
def test_a_damaged_note_of_what_runs_is_as_good_as_none(study: Path, text: str) -> None:
    (study / "watch.json").write_text(text)
    assert recall("tensorboard", study, "127.0.0.1") is None
    (study / "watch.json").unlink()


def test_a_page_of_a_file_that_was_made_anew_is_replaced(study: Path) -> None:
    old = serve("optuna-dashboard", study, "127.0.0.1", keep=True)
    remember([old], study / "watch.json")
    assert recall("optuna-dashboard", study, "127.0.0.1") is not None
    (study / "study.db").rename(study / "old.db")
    (study / "study.db").touch()
    assert recall("optuna-dashboard", study, "127.0.0.1") is None
    wait_until_gone(old.pid)
    (study / "watch.json").unlink()


def test_a_program_that_does_not_start_costs_a_line_and_not_the_search(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "print('starting'); raise SystemExit('no such thing as a\\nport')"
    monkeypatch.setattr(servers, "command", lambda *_: [sys.executable, "-c", code])
    is_searching = False
    with watching(Watch(), study, "", ""):
        is_searching = True
    assert is_searching
    said = capsys.readouterr().out
    log = study / "watch-tensorboard.log"
    assert f"curves    without tensorboard: port; all it said: {log}\n" in said
    assert "starting" in log.read_text()
    assert not (study / "watch.json").exists()


def test_a_program_that_never_answers_is_ended(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(study / "pid")
    code = f"import os, time; open({file!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    monkeypatch.setattr(servers, "command", lambda *_: [sys.executable, "-c", code])
    monkeypatch.setattr(servers, "START_SECONDS", 1.0)
    with pytest.raises(NotStarted, match="does not answer within 1 s"):
        serve("tensorboard", study, "127.0.0.1", keep=False)
    assert not is_alive(int((study / "pid").read_text()))


SEARCH = """
import sys, time
from pathlib import Path
from search.monitor import servers
servers.command = lambda name, study, host, port: [sys.executable, "-c", {page!r}, str(port)]
print(servers.serve("tensorboard", Path({study!r}), "127.0.0.1", keep={keep}).pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux ends the children of a killed process")
@pytest.mark.parametrize("keep", [False, True])
def test_what_was_started_ends_with_a_killed_search_unless_it_is_kept(
    study: Path, keep: bool
) -> None:
    code = SEARCH.format(page=PAGE, study=str(study), keep=keep)
    search = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert search.stdout is not None
    pid = int(search.stdout.readline())
    os.killpg(os.getpgid(pid), 0)
    assert os.getpgid(pid) != os.getpgid(search.pid)  # a terminal's Ctrl-C does not reach it
    search.kill()
    search.wait()
    if keep:
        time.sleep(0.5)
        assert is_alive(pid)
        os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)


def test_flags_of_watching_go_with_it() -> None:
    space = ["--space", "x.yaml"]
    assert wanted_watch(parse_arguments(space)) is None
    assert wanted_watch(parse_arguments([*space, "--watch"])) == Watch("127.0.0.1", keep=False)
    everything = [*space, "--watch", "--keep", "--watch-host", "0.0.0.0"]
    assert wanted_watch(parse_arguments(everything)) == Watch("0.0.0.0", keep=True)
    for flags in (["--keep"], ["--watch-host", "0.0.0.0"]):
        with pytest.raises(UserError, match=f"{flags[0]}: goes with --watch"):
            wanted_watch(parse_arguments([*space, *flags]))
    with pytest.raises(UserError, match=r"--watch-host 203\.0\.113\.1: nothing can listen"):
        wanted_watch(parse_arguments([*space, "--watch", "--watch-host", "203.0.113.1"]))


def test_without_watch_the_commands_are_said_and_nothing_is_started(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with watching(None, study, "http://127.0.0.1:8265", ""):
        pass
    assert capsys.readouterr().out == (
        "dashboard http://127.0.0.1:8265 (token: ray get-auth-token)\n"
        f"curves    tensorboard --logdir {study}/tensorboard\n"
    )
    assert [path.name for path in study.iterdir()] == ["study.db"]


def test_a_server_on_all_addresses_is_called_by_the_name_of_its_machine() -> None:
    server = Server("tensorboard", 1, "0.0.0.0", 6006, 0)
    assert server.url == f"http://{socket.gethostname()}:6006"
    end([server])  # not ours to end


def test_a_note_that_cannot_be_written_costs_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remember([Server("tensorboard", 1, "127.0.0.1", 6006, 0)], tmp_path / "gone" / "watch.json")
    assert "cannot be written (No such file" in capsys.readouterr().out
