"""Signals: once is a request, twice is an order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from search.engine.interrupts import Interrupt, deaf_children


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, "press Ctrl-C again to stop at once"),
        (signal.SIGTERM, 75, "asked by SIGTERM"),
    ],
)
def test_the_first_signal_asks_and_the_second_ends(
    number: signal.Signals, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    with Interrupt().installed(patient=True) as interrupt:
        assert not interrupt.requested
        os.kill(os.getpid(), number)
        assert interrupt.requested
        assert interrupt.code == code
        assert said in capsys.readouterr().out
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_what_a_job_queue_sends_twice_is_one_request() -> None:
    with Interrupt().installed(patient=True) as interrupt:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGUSR1)
        assert interrupt.code == 75
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


def test_where_nobody_looks_at_requests_the_first_signal_ends() -> None:
    with Interrupt().installed() as interrupt:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.code == 75
    with Interrupt().installed() as outer, outer.installed(patient=True):
        os.kill(os.getpid(), signal.SIGTERM)
    assert not outer.is_patient


def test_a_signal_to_all_processes_of_a_job_leaves_those_that_were_started_alive() -> None:
    sleep = [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"]
    with Interrupt().installed(patient=True) as interrupt:
        with deaf_children():
            child = subprocess.Popen(sleep, stdout=subprocess.PIPE)
            assert child.stdout is not None
            child.stdout.readline()
            for pid in (child.pid, os.getpid()):
                os.kill(pid, signal.SIGUSR1)
        until = time.monotonic() + 10
        while not interrupt.requested and time.monotonic() < until:
            time.sleep(0.01)  # another thread of this process may be the one that was told
        assert interrupt.requested
    child.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(timeout=0.5)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()


def test_the_handlers_from_before_come_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), Interrupt().installed():
        _ = 1 / 0
    assert signal.getsignal(signal.SIGINT) is before


def test_installed_again_inside_a_library_that_took_the_signal_it_is_the_same_request() -> None:
    with Interrupt().installed(patient=True) as interrupt:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as Ray does
        with interrupt.installed(patient=True):
            os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.requested
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
