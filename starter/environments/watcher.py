"""Follows environments for all watchers: one read from Temporal serves all watchers of an environment."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace

import structlog

from contracts.environment.models import Phase
from contracts.telemetry.trace_context import current_trace
from starter.environments.health import EnvironmentHealth
from starter.environments.reader import EnvironmentReader, EnvironmentSnapshot
from starter.environments.schemas import EnvironmentView
from starter.temporal.errors import TemporalUnavailable

#: Pause after a change: the next step can follow within a fraction of a second.
MIN_PAUSE_SECONDS = 0.25
#: Factor by which the pause grows while nothing changes, up to a limit that depends on the phase.
PAUSE_GROWTH = 1.5
MAX_PAUSE_WHILE_WORKING_SECONDS = 1.0
MAX_PAUSE_AT_REST_SECONDS = 5.0
#: Concurrent reads from Temporal for all watched environments together, so that watchers do not slow
#: requests.
MAX_CONCURRENT_READS = 16

_log = structlog.get_logger(__name__)


@dataclass
class _Watched:
    """One watched life: its last snapshot, and the event that its next change sets."""

    snapshot: EnvironmentSnapshot
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False
    followers: int = 0
    task: asyncio.Task[None] | None = None

    def publish(self, snapshot: EnvironmentSnapshot, *, over: bool) -> None:
        self.snapshot, self.over = snapshot, over
        # Wake all followers that wait on the old event; followers that come later wait on the new event.
        self.changed.set()
        self.changed = asyncio.Event()


class EnvironmentWatcher:
    """All lives that have at least one follower now."""

    def __init__(self, reader: EnvironmentReader, health: EnvironmentHealth) -> None:
        self._reader = reader
        self._health = health
        self._watched: dict[tuple[str, str], _Watched] = {}
        self._gate = asyncio.Semaphore(MAX_CONCURRENT_READS)
        self._stopping = False

    async def follow(
        self, snapshot: EnvironmentSnapshot, keep_alive: float
    ) -> AsyncGenerator[EnvironmentView | None, None]:
        """Yield the view of the environment now and after each change, until its life has ended.

        Yields None when nothing has changed for `keep_alive` seconds. When the API stops, the generator ends
        early, without a view that has ended.
        """
        key = (snapshot.name, snapshot.life)
        watched = self._watched.get(key)
        if watched is None:
            watched = self._watched[key] = _Watched(snapshot, over=snapshot.ended)
            watched.task = asyncio.create_task(self._watch(watched), name=f"watch {snapshot.name}")
        watched.followers += 1
        seen: EnvironmentView | None = None
        try:
            while not self._stopping:
                if watched.snapshot.view != seen:
                    seen = watched.snapshot.view
                    yield seen
                    continue
                if watched.over:
                    return
                changed = watched.changed
                try:
                    async with asyncio.timeout(keep_alive):
                        await changed.wait()
                except TimeoutError:
                    yield None
        finally:
            watched.followers -= 1
            if not watched.followers:
                self._watched.pop(key, None)
                if watched.task:
                    watched.task.cancel()

    def stop(self) -> None:
        """End all followers, so that the API can stop."""
        self._stopping = True
        for watched in self._watched.values():
            watched.publish(watched.snapshot, over=watched.over)

    async def _watch(self, watched: _Watched) -> None:
        # It outlives the request that has started it, and so belongs to no trace.
        current_trace.set(None)
        pause = MIN_PAUSE_SECONDS
        while not watched.over:
            await asyncio.sleep(pause)
            before = watched.snapshot
            try:
                async with self._gate:
                    now = await self._reader.read(before.name, before)
                    if now and now.life != before.life:
                        # The name has a next life now; the followers need the end of the watched life.
                        now = await self._reader.end_after(before)
            except TemporalUnavailable as error:
                view = before.view.model_copy(update={"remark": str(error)})
                now = replace(before, view=view)
            except Exception:
                # Catch every exception: if this task died, its followers would wait forever.
                _log.exception("watching failed", environment=before.name)
                now = before
            if now is None:
                # Temporal has dropped the run: its retention period is over.
                watched.publish(before, over=True)
                continue
            now = _with_unwell_of(before, now)
            if now.view != before.view or now.ended:
                watched.publish(now, over=now.ended)
                pause = MIN_PAUSE_SECONDS
            else:
                # Ask the host only while nothing else happens: it must not delay a change.
                if now.view.phase is Phase.READY and (checked := await self._health.add_to(now)) != now:
                    now = checked
                    watched.publish(now, over=False)
                watched.snapshot = now
                at_rest = now.view.phase in (Phase.READY, Phase.ASLEEP, Phase.TEARDOWN_INCOMPLETE)
                longest = MAX_PAUSE_AT_REST_SECONDS if at_rest else MAX_PAUSE_WHILE_WORKING_SECONDS
                pause = min(pause * PAUSE_GROWTH, longest)


def _with_unwell_of(before: EnvironmentSnapshot, now: EnvironmentSnapshot) -> EnvironmentSnapshot:
    """Return the snapshot with the health that was known before, as long as the phase is the same."""
    unwell = before.view.unwell if now.view.phase is before.view.phase else None
    return replace(now, view=now.view.model_copy(update={"unwell": unwell}))
