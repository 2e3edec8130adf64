"""The nodes of Ray: what fits on them, what they see, what trials cost there."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError, TaskUnschedulableError, WorkerCrashedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search.engine.session import ray_session
from search.engine.shared_images import SharedImages
from search.log.folder import StudyFolder
from search.log.remembered import remembered
from search.log.study import Study
from search.log.surroundings import LOOPBACK
from search.preflight.packing import Node, at_once, room
from search.preflight.trial_cost import CannotRun, TrialCost, cost_on_node, measure_costs
from search.space.resources import Share, Shares
from search.space.space import Space
from search.strategy.winners import candidates
from supcon.config import Config
from supcon.images.files import ImageFiles
from supcon.images.split import Splits
from supcon.network.device import check_gpu
from supcon.parsing import UserError, one_line

T = TypeVar("T")

NODES_SECONDS = 1.0  # how old what is known about the nodes may be


def nodes_of(address: str) -> list[Node]:
    """The nodes of a cluster."""
    with ray_session(address, LOOPBACK):
        return alive_nodes()


def measure_there(space: Space, images: SharedImages, address: str) -> list[TrialCost | CannotRun]:
    """Each kind of config measured on one of the cluster's nodes."""
    want = space.resources
    cpus = 1 if want.cpu == "auto" else want.cpu
    gpus = 1 if want.gpu == "auto" else want.gpu
    with ray_session(address, LOOPBACK), images.shared() as data:
        check_room(Shares(want))  # without room for one, Ray would wait
        # max_calls: a process of its own for each, since memory is a peak.
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_calls=1, max_retries=0)(cost_on_node)

        def run(config: Config) -> TrialCost:
            try:
                found: TrialCost = ray.get(task.remote(config, data, on_gpu=gpus > 0))
            except RayError as error:
                raise RuntimeError(cause_of(error)) from error
            return found

        return measure_costs(space, run)


def check_nodes(study: StudyFolder, data: Splits, *, on_gpu: bool) -> None:
    """Whether every node sees the study, and the images that are read from files.

    Args:
        study: where results go.
        data: the images.
        on_gpu: whether torch must be able to use the GPUs that nodes say they have.

    Raises:
        UserError: naming the nodes that do not.
    """
    needed = {"--results": study.events.resolve()}
    if isinstance(data.train.images, ImageFiles):
        needed["data.root"] = data.train.images.root.resolve()
    blind = [path for paths in _on_nodes("CPU", unseen, needed) for path in paths]
    if blind:
        raise UserError(
            f"--address: results, and images that are streamed, must lie in folders that all nodes "
            f"share at the same path, but {'; '.join(blind)}; mount it there, or choose another one"
        )
    if on_gpu:
        list(_on_nodes("GPU", check_gpu))


def _on_nodes(resource: str, look: Callable[..., T], *given: Any) -> Iterator[T]:
    """What a function finds on each node that has some of a resource."""
    for node in ray.nodes():
        if not node["Alive"] or not node["Resources"].get(resource):
            continue
        where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        # max_calls: CUDA shows all GPUs to a process that looked once, whatever share it gets.
        task = ray.remote(num_cpus=0, max_calls=1, scheduling_strategy=where)(look)
        try:
            yield ray.get(task.remote(*given))
        except (TaskUnschedulableError, WorkerCrashedError):
            continue  # it has left
        except RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, UserError):
                raise UserError(f"--address: {cause}") from error
            raise UserError(
                f"--address: {node['NodeName']} cannot run our code ({cause_of(error)}); "
                f"install the dependencies there, the same versions as here"
            ) from error


def unseen(needed: dict[str, Path]) -> list[str]:
    """What this machine cannot read, and results that it cannot write."""
    return [
        f"{socket.gethostname()} cannot use {path} ({key})"
        for key, path in needed.items()
        if not os.access(path, os.R_OK | (os.W_OK if key == "--results" else 0))
    ]


def cause_of(error: RayError) -> str:
    """What went wrong in a task on a node, without the trace of it."""
    return one_line(getattr(error, "cause", None) or error)


def alive_nodes() -> list[Node]:
    """The nodes of the cluster; others may join, and these may leave."""
    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(node.get("CPU", 0), node.get("GPU", 0)) for node in found]


class Room:
    """How many trials there is room for, on the nodes that the cluster has at the time."""

    def __init__(self, shares: Shares) -> None:
        self.limit, self.least = shares.want.concurrency, shares.all()[0]
        self.nodes, self.seen = alive_nodes(), time.monotonic()

    def __call__(self, taken: Sequence[Share]) -> bool:
        """Whether another trial may start beside those that have taken shares."""
        if self.limit is not None and len(taken) >= self.limit:
            return False
        if time.monotonic() - self.seen > NODES_SECONDS:
            self.nodes, self.seen = alive_nodes(), time.monotonic()
        return room(self.nodes, taken, self.least) > 0


def check_room(shares: Shares) -> None:
    """Whether each share that a trial may take fits into some node; Ray would wait for ever.

    Raises:
        UserError: naming what a trial wants and what there is.
    """
    for share in shares.all():
        check_fits(share)


def check_fits(want: Share) -> None:
    """Likewise for one share."""
    nodes = [node for node in alive_nodes() if node.cpus > 0]
    if not nodes:
        raise UserError(
            "--address: no node that can run trials has joined the cluster yet; run `ray start "
            "--address=...` on one, and try again"
        )
    if room(nodes, [], want) < 1:
        there = ", ".join(f"{node.cpus:g} and {node.gpus:g}" for node in dict.fromkeys(nodes))
        raise UserError(
            f"resources: a trial wants cpu {want.cpu:g} and gpu {want.gpu:g}, but Ray's nodes "
            f"have CPUs and GPUs {there}; set --cpus-per-trial or --gpus-per-trial, also with "
            f"--resume"
        )


@remembered
def slots_to_confirm(study: Study) -> int:
    """Trials at once after the search, if winners take as much as the largest of the best, on the
    nodes that there were when the log last grew.
    """
    asks = [t.ask for arm in study.arms for t in candidates(study, arm)]
    configs = [study.config_of(ask) for ask in asks]
    nodes = alive_nodes()
    return max(1, min((at_once(study.shares, c, nodes) for c in configs), default=1))
