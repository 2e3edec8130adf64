"""What the table of actors in Ray's dashboard says about a trial, while the actor trains it.

Ray asks an actor for its `__repr__` once, when it is made, and a reused actor would be called by
its first trial for ever. So the actor itself publishes its row again, as Ray's control service
(GCS) does when a row changes. The message goes out under a key that is no actor's: the dashboard
listens to all keys and believes the row in the message; the processes that talk to this actor
listen to its own key only, and never see it. Of Ray's internal protocol,
which may change without notice: if it has, the row stays as it was, and the search does not notice.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import ray

from supcon.parsing import one_line

AT_MOST_EVERY = 1.0
"""Seconds between two changes of a row. One takes 2 ms."""
PATIENCE = 1.0
"""Seconds that Ray may take to answer."""
FAILURES = 3
"""After so many the row is left alone."""


class ActorRow:
    """The row of the actor that this process is."""

    def __init__(self) -> None:
        self.shown = 0.0
        self.failures = 0
        self.stubs: Any = None

    def show(self, text: str, *, at_once: bool = False) -> None:
        """Make the row say `text`, unless it was changed a moment ago and it can wait."""
        now = time.monotonic()
        is_early = now - self.shown < AT_MOST_EVERY and not at_once
        if is_early or self.failures >= FAILURES or not ray.is_initialized():
            return
        self.shown = now
        try:
            self._publish(text)
        except Exception as error:  # of a protocol that may change; no trial may fail for a table
            self.failures += 1
            if self.failures == 1:
                why = one_line(error)
                print(f"the dashboard's row of this actor is out of date: {why}", file=sys.stderr)

    def _publish(self, text: str) -> None:
        from ray.core.generated import gcs_pb2, gcs_service_pb2, pubsub_pb2

        actors, publisher = self._connected()
        actor_id = bytes.fromhex(ray.get_runtime_context().get_actor_id())
        row = actors.GetActorInfo(
            gcs_service_pb2.GetActorInfoRequest(actor_id=actor_id), timeout=PATIENCE
        ).actor_table_data
        if row.state != gcs_pb2.ActorTableData.ALIVE:  # being made: Ray will ask for __repr__
            return
        row.repr_name = text
        message = pubsub_pb2.PubMessage(
            channel_type=pubsub_pb2.GCS_ACTOR_CHANNEL,
            key_id=bytes(255 - byte for byte in actor_id),
            actor_message=row,
        )
        publisher.GcsPublish(
            gcs_service_pb2.GcsPublishRequest(pub_messages=[message]), timeout=PATIENCE
        )

    def _connected(self) -> Any:
        if self.stubs is None:
            from ray._private.grpc_utils import init_grpc_channel
            from ray.core.generated import gcs_service_pb2_grpc as services

            # With Ray's token, where it wants one.
            channel = init_grpc_channel(ray.get_runtime_context().gcs_address)
            self.stubs = (
                services.ActorInfoGcsServiceStub(channel),
                services.ControlPlanePubSubGcsServiceStub(channel),
            )
        return self.stubs
