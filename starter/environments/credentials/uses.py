"""Notifies environments that a person uses them, so that they do not fall asleep."""

import asyncio
import time
from collections import OrderedDict
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError

from contracts.environment_workflow import LifeInput
from contracts.types.naming import workflow_id
from starter.environments.reader import EnvironmentSnapshot
from starter.temporal.errors import CALL_TIMEOUT
from workflows.environment.workflow import EnvironmentWorkflow

#: An environment is notified at most so often: each time makes its history longer, and idle times are hours.
INTERVAL_SECONDS = 60.0
#: Lives whose last time is remembered.
MAX_KEPT = 10_000


class UseRecorder:
    """Signals the workflow of an environment for which a person has fetched a credential."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._notified_at: OrderedDict[str, float] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def note(self, snapshot: EnvironmentSnapshot) -> None:
        """Notify the environment, if it falls asleep by itself; the caller does not wait for that."""
        status = snapshot.status
        if status is None or status.sleep_policy is None:
            return
        now = time.monotonic()
        if now - self._notified_at.get(snapshot.life, -INTERVAL_SECONDS) < INTERVAL_SECONDS:
            return
        self._notified_at[snapshot.life] = now
        self._notified_at.move_to_end(snapshot.life)
        if len(self._notified_at) > MAX_KEPT:
            self._notified_at.popitem(last=False)
        task = asyncio.create_task(self._notify(snapshot))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _notify(self, snapshot: EnvironmentSnapshot) -> None:
        # The signal names the life, so the next life of the name ignores it.
        handle: WorkflowHandle[EnvironmentWorkflow, Any] = self._client.get_workflow_handle_for(
            EnvironmentWorkflow.run, workflow_id(snapshot.name)
        )
        try:
            await handle.signal(
                EnvironmentWorkflow.used, LifeInput(life=snapshot.life), rpc_timeout=CALL_TIMEOUT
            )
        except RPCError:
            # The next credential notifies it.
            self._notified_at.pop(snapshot.life, None)
