"""Ctrl-C, and the signals by which a job queue takes a job back."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
INTERRUPTED = 130
"""Exit code after Ctrl-C, as a shell has it."""
TAKEN_BACK = 75
"""Exit code after SIGTERM and SIGUSR1 (EX_TEMPFAIL of sysexits.h): put it into the queue again."""
EARLY = (INTERRUPTED, TAKEN_BACK)


class Interrupt:
    """What was asked by a signal: at first to stop at the next record, then to end at once."""

    def __init__(self) -> None:
        self.by: int | None = None
        """The first signal."""
        self.is_patient = False
        """Whether somebody looks at `requested`; else the first signal raises."""

    @property
    def requested(self) -> bool:
        """Whether to stop."""
        return self.by is not None

    @property
    def code(self) -> int:
        """The exit code."""
        return INTERRUPTED if self.by in (None, signal.SIGINT) else TAKEN_BACK

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """The signal handler."""
        again, self.by = self.requested, self.by or signum
        is_order = again and signum != signal.SIGUSR1  # a queue may send that one twice
        if is_order or not self.is_patient:
            raise KeyboardInterrupt
        if not again:
            how = "press Ctrl-C again to stop at once"
            if signum != signal.SIGINT:
                how = f"asked by {signal.Signals(signum).name}"
            print(f"\nstopping at the next record; {how}", flush=True)

    @contextmanager
    def installed(self, *, patient: bool = False) -> Iterator[Interrupt]:
        """Handle the signals this way inside the block.

        Args:
            patient: somebody looks at `requested` there.
        """
        before = {number: signal.signal(number, self) for number in SIGNALS}
        was, self.is_patient = self.is_patient, patient
        try:
            yield self
        finally:
            self.is_patient = was
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def deaf_children() -> Iterator[None]:
    """What is started inside ignores SIGUSR1 and SIGTERM: a queue may send them to all processes.

    The mask is inherited; a signal that comes meanwhile reaches us at its end at the latest.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
