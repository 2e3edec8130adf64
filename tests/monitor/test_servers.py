"""The programs beside a search: where they listen, that they answer, and how they end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from search.log.folder import StudyFolder
from search.monitor import servers
from search.monitor.servers import NotStarted, Server, answers, command, end, free_port, serve
from tests.monitor.programs import is_alive, wait_until_gone


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


def test_what_was_started_answers_until_it_is_ended(folder: StudyFolder) -> None:
    server = serve("tensorboard", folder, "127.0.0.1", keep=False)
    assert answers(server)
    assert f":{server.port}" in server.url
    end([server])
    assert not is_alive(server.process.pid)
    assert not answers(server)
    assert (folder.path / "watch-tensorboard.log").exists()


def test_a_program_that_does_not_listen_to_a_request_to_end_is_killed(
    folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    start = servers.command

    def command(*arguments: object) -> list[str]:
        python, flag, page, *rest = start(*arguments)  # type: ignore[arg-type]
        return [python, flag, f"{deaf}\n{page}", *rest]

    monkeypatch.setattr(servers, "command", command)
    monkeypatch.setattr(servers, "END_SECONDS", 0.2)
    server = serve("tensorboard", folder, "127.0.0.1", keep=False)
    end([server])
    assert server.process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_a_program_that_never_answers_is_ended(
    folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(folder.path / "pid")
    shell = ["/bin/sh", "-c", 'echo $$ > "$0"; exec sleep 60', file]
    monkeypatch.setattr(servers, "command", lambda *_: shell)
    monkeypatch.setattr(servers, "START_SECONDS", 1.0)
    with pytest.raises(NotStarted, match="does not answer within 1 s"):
        serve("tensorboard", folder, "127.0.0.1", keep=True)
    assert not is_alive(int((folder.path / "pid").read_text()))


SEARCH = """
import sys, time
from pathlib import Path
from search.log.folder import StudyFolder
from search.monitor import servers
from tests.monitor import programs
servers.command, servers.PORTS = programs.command, programs.PORTS
study = StudyFolder(Path({study!r}))
print(servers.serve("tensorboard", study, "127.0.0.1", keep={keep}).process.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Linux ends the children of a killed process")
@pytest.mark.parametrize("keep", [False, True])
def test_what_was_started_ends_with_a_killed_search_unless_it_is_kept(
    tmp_path: Path, keep: bool
) -> None:
    code = SEARCH.format(study=str(tmp_path), keep=keep)
    search = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
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


def test_a_server_on_all_addresses_is_called_by_the_name_of_its_machine() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        server = Server("tensorboard", "0.0.0.0", 6006, process)
        assert server.url == f"http://{socket.gethostname()}:6006"


def test_programs_are_told_where_the_study_lies_whatever_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = StudyFolder(Path("x"))
    curves = command("tensorboard", study, "127.0.0.1", 1)
    trials = command("optuna-dashboard", study, "127.0.0.1", 1)
    assert str(tmp_path / "x" / "tensorboard") in curves
    assert f"sqlite:///{tmp_path / 'x' / 'study.db'}" in trials
