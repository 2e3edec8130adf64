"""Ctrl-C: once is a request, twice is an order."""

from __future__ import annotations

import os
import signal

import pytest

from search.engine.interrupts import Interrupt


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_ends(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    with Interrupt().installed() as interrupt:
        assert not interrupt.requested
        os.kill(os.getpid(), number)
        assert interrupt.requested
        assert "press Ctrl-C again to stop at once" in capsys.readouterr().out
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_the_handlers_from_before_come_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), Interrupt().installed():
        _ = 1 / 0
    assert signal.getsignal(signal.SIGINT) is before


def test_installed_again_inside_a_library_that_took_the_signal_it_is_the_same_request() -> None:
    with Interrupt().installed() as interrupt:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as Ray does
        with interrupt.installed():
            os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.requested
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
