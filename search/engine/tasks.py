"""Trained models asked where trials run: as tasks of Ray, each with what its trial took."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import numpy as np
import ray
from ray.exceptions import RayError

from search.engine.interrupts import SIGNALS
from search.engine.nodes import cause_of, check_fits
from search.engine.session import ray_session
from search.log.study import Study
from search.log.surroundings import LOOPBACK
from supcon.config import Config
from supcon.images.split import Split
from supcon.network.device import check_gpu
from supcon.parsing import UserError

T = TypeVar("T")


class Tasks:
    """Runs functions in the Ray that this process has joined, one after the other."""

    def __init__(self, study: Study, join: Callable[[], object] | None = None) -> None:
        """Tasks for the models of a study; `join` joins Ray before the first one."""
        self.study, self.join = study, join
        self.lent: dict[int, tuple[Any, Any]] = {}

    def __call__(self, config: Config, look: Callable[..., T], *given: Any) -> T:
        """What the function finds on a node, with what a trial of this config takes.

        Raises:
            UserError: no node has room for it, its GPU cannot be used, or the process died there.
        """
        if self.join is not None:
            self.join()
            self.join = None
        share = self.study.shares.of(config)
        check_fits(share)  # else Ray would wait
        task = ray.remote(num_cpus=share.cpu, num_gpus=share.gpu)(_on_share)
        try:
            found: T = ray.get(task.remote(share.gpu, look, *map(self._lend, given)))
        except RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, Exception):  # as if it had happened here
                raise cause from error
            raise UserError(
                f"--address: a model could not be asked where trials run ({cause_of(error)}); go "
                f"on with --resume"
            ) from error
        return found

    def _lend(self, value: Any) -> Any:
        """Images lie in Ray's object store once, however many models look at them."""
        if not isinstance(value, np.ndarray | Split):
            return value
        if id(value) not in self.lent:
            self.lent[id(value)] = value, ray.put(value)  # kept, so that its id stays its own
        return self.lent[id(value)][1]


def _on_share(gpu: float, look: Callable[..., T], *given: Any) -> T:
    if gpu > 0:
        check_gpu()
    return look(*given)


@contextmanager
def tasks_on_cluster(study: Study, address: str) -> Iterator[Tasks]:
    """Tasks in a cluster, which is joined for the first of them: often there is nothing to ask."""
    with ExitStack() as stack:
        yield Tasks(study, lambda: stack.enter_context(_joined(address)))


@contextmanager
def _joined(address: str) -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    with ray_session(address, LOOPBACK):
        for number, handler in handlers.items():  # Ray takes SIGTERM for itself
            signal.signal(number, handler)
        yield
