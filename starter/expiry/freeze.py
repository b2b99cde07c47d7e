"""The freeze: no environment ends until the thaw.

A freeze is a pause of the sweep's schedule, with the person, the time and the reason in the schedule's note.
Temporal stores it, its Web UI shows it, and it needs no worker; a user who pauses the schedule in the Web UI
also causes a freeze. The note is not encrypted.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from temporalio.client import (
    Client,
    ScheduleActionExecutionStartWorkflow,
    ScheduleDescription,
    WorkflowExecutionStatus,
)
from temporalio.service import RPCError, RPCStatusCode

from contracts.sweeps.expiry import SWEEP_MANUAL, SWEEP_SCHEDULE
from contracts.types.durations import format_duration
from starter.environments.schemas import FreezeView
from starter.expiry.schedules import create_or_update, schedules
from starter.expiry.sweep_schedule import SweepSchedule, describe_schedule
from starter.shared_reads import CachedReads
from starter.temporal.errors import CALL_TIMEOUT, map_rpc_errors
from worker.connection import NotConnected
from worker.settings.groups.expiry import Sweep

#: How long the freeze call waits for a running sweep to stop: the sweep receives the cancellation with its
#: next heartbeat, and then waits for the responses to the calls that it has made.
STOP_TIMEOUT = timedelta(seconds=15)
_POLL_SECONDS = 0.2
#: How old the cached state may be. To describe a schedule is a query to Temporal's own worker, which
#: takes 18 ms of CPU time, so all reads of environments and lists share one call in this time.
CACHED_SECONDS = 2.0
#: How old it may be while a new read is running: no reader of environments waits for it.
USABLE_SECONDS = 10.0

_NOTE = re.compile(r"Frozen by (?P<by>\S+) at (?P<since>\S+): (?P<reason>.*)", re.DOTALL)


class ExpiryFreeze:
    """Reads, sets and removes the freeze."""

    def __init__(self, client: Client, settings: Sweep) -> None:
        self._client = client
        self._settings = settings
        self._handle = client.get_schedule_handle(SWEEP_SCHEDULE)
        self._cached: CachedReads[str, FreezeView | None] = CachedReads(
            self._read, fresh_seconds=CACHED_SECONDS, usable_seconds=USABLE_SECONDS
        )

    async def state(self) -> FreezeView | None:
        """Return the current freeze, or None if there is none."""
        found = await self._describe()
        return _freeze_of(found) if found else None

    async def cached_state(self) -> FreezeView | None:
        """Return the freeze for views of environments; it may be USABLE_SECONDS old.

        A change by this API is visible at once; a change by another process only after CACHED_SECONDS.
        """
        return await self._cached.read(SWEEP_SCHEDULE)

    async def _read(self, _: str) -> FreezeView | None:
        return await self.state()

    async def schedule(self) -> SweepSchedule:
        """Return when the sweep ran last, and when it runs next."""
        return SweepSchedule.of(await self._describe(), self._settings.interval)

    async def freeze(self, actor: str, reason: str) -> tuple[FreezeView, bool]:
        """Freeze, and stop the running sweeps; return False if a sweep has not stopped in time.

        An existing freeze stays unchanged, so that it names the person who froze first: that person decides
        about the thaw.
        """
        found = await self._describe()
        if found is None:
            # No worker has created the schedule yet, so create it here; the first worker keeps it paused.
            with map_rpc_errors():
                await create_or_update(
                    self._client, SWEEP_SCHEDULE, schedules(self._settings)[SWEEP_SCHEDULE]
                )
        elif state := _freeze_of(found):
            return state, True
        view = FreezeView(by=actor, since=datetime.now(UTC), reason=" ".join(reason.split()))
        with map_rpc_errors():
            note = f"Frozen by {actor} at {view.since:%Y-%m-%dT%H:%M:%SZ}: {view.reason}"
            await self._handle.pause(note=note, rpc_timeout=CALL_TIMEOUT)
        self._cached.invalidate()
        return view, await self._stop_sweeps()

    async def thaw(self, actor: str) -> FreezeView | None:
        """Thaw, and return the freeze that was removed, or None if there was none."""
        state = await self.state()
        if state:
            with map_rpc_errors():
                note = f"Thawed by {actor} at {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
                await self._handle.unpause(note=note, rpc_timeout=CALL_TIMEOUT)
        self._cached.invalidate()
        return state

    async def _describe(self) -> ScheduleDescription | None:
        return await describe_schedule(self._handle)

    async def _stop_sweeps(self) -> bool:
        try:
            async with asyncio.timeout(STOP_TIMEOUT.total_seconds()):
                with map_rpc_errors():
                    async for id in self._running():
                        await self._client.get_workflow_handle(id).cancel(rpc_timeout=CALL_TIMEOUT)
                    while True:
                        if not [id async for id in self._running()]:
                            return True
                        await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            return False

    async def _running(self) -> AsyncIterator[str]:
        found = await self._describe()
        actions = found.info.running_actions if found else []
        ids = [one.workflow_id for one in actions if isinstance(one, ScheduleActionExecutionStartWorkflow)]
        for id in (*ids, SWEEP_MANUAL):
            try:
                run = await self._client.get_workflow_handle(id).describe(rpc_timeout=CALL_TIMEOUT)
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    continue
                raise
            if run.status is WorkflowExecutionStatus.RUNNING:
                yield id


def _freeze_of(found: ScheduleDescription) -> FreezeView | None:
    state = found.schedule.state
    if not state.paused:
        return None
    note = _NOTE.fullmatch(state.note or "")
    if not note:
        return FreezeView(reason=state.note or "the schedule of the sweep is paused in Temporal")
    try:
        since = datetime.fromisoformat(note["since"])
    except ValueError:
        since = None
    return FreezeView(by=note["by"], since=since, reason=note["reason"])


async def describe_sweep(client: Client, settings: Sweep) -> str:
    """Describe the state of the sweep for operators; raise NotConnected if it is not scheduled."""
    try:
        found = await client.get_schedule_handle(SWEEP_SCHEDULE).describe(rpc_timeout=CALL_TIMEOUT)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise NotConnected("it is not scheduled, so no environment ends: start a worker") from None
        raise NotConnected(f"Temporal does not tell: {error.message}") from error
    if state := _freeze_of(found):
        by = f" by {state.by}" if state.by else ""
        return f"ALL ENDS ARE FROZEN{by}: {state.reason}"
    last = max((one.started_at for one in found.info.recent_actions), default=None)
    ago = f", the last one {format_duration(datetime.now(UTC) - last)} ago" if last else ", none so far"
    return f"every {format_duration(settings.interval)}{ago}"
