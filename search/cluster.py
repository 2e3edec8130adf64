"""What differs where trials run on other machines than this one: probes, and a shared folder."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import ray
from ray.exceptions import RayError, TaskUnschedulableError, WorkerCrashedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search.images import Images
from search.probing import Probed, Unable, probe, probe_config
from search.resources import Node
from search.session import alive_nodes, cause_of, ray_session
from search.space import Space
from search.tuner import check_room
from search.watch import LOOPBACK
from supcon.config import Config
from supcon.data import Splits
from supcon.image_files import ImageFiles
from supcon.parsing import UserError


def probe_there(
    space: Space, images: Images, address: str
) -> tuple[list[Node], list[Probed | Unable]]:
    """The cluster's nodes, and each class of configs probed on one of them."""
    want = space.resources
    cpus = 1 if want.cpu == "auto" else want.cpu
    gpus = 1 if want.gpu == "auto" else want.gpu
    with ray_session(address, LOOPBACK), images.shared() as data:
        check_room(space)  # without room for one, Ray would wait
        # max_calls: a process of its own for each, since memory is a peak.
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_calls=1, max_retries=0)(probe_config)

        def run(config: Config) -> Probed:
            try:
                found: Probed = ray.get(task.remote(config, data))
            except RayError as error:
                raise RuntimeError(cause_of(error)) from error
            return found

        return alive_nodes(), probe(space, run)


def check_nodes(study: Path, data: Splits) -> None:
    """Whether every node sees the study, and the images that are read from files.

    Raises:
        UserError: naming the nodes that do not.
    """
    needed = {"--results": (study / "events.jsonl").resolve()}
    if isinstance(data.train.images, ImageFiles):
        needed["data.root"] = data.train.images.root.resolve()
    blind = []
    for node in ray.nodes():
        if node["Alive"] and node["Resources"].get("CPU"):  # others run no trials
            where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            look = ray.remote(num_cpus=0, scheduling_strategy=where)(unseen)
            try:
                blind += ray.get(look.remote(needed))
            except (TaskUnschedulableError, WorkerCrashedError):
                continue  # it has left
            except RayError as error:
                raise UserError(
                    f"--address: {node['NodeName']} cannot run our code ({cause_of(error)}); "
                    f"install the dependencies there, the same versions as here"
                ) from error
    if blind:
        raise UserError(
            f"--address: results, and images that are streamed, must lie in folders that all nodes "
            f"share at the same path, but {'; '.join(blind)}; mount it there, or choose another one"
        )


def unseen(needed: dict[str, Path]) -> list[str]:
    """What this machine cannot read, and results that it cannot write."""
    return [
        f"{socket.gethostname()} cannot use {path} ({key})"
        for key, path in needed.items()
        if not os.access(path, os.R_OK | (os.W_OK if key == "--results" else 0))
    ]
