"""Serves an ASGI application until told to stop: the API and the codec server alike."""

import asyncio
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, cast

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from starter.http_server.connections import Connections, Proxies, Slot
from starter.http_server.protocol import Deadlines, GuardedProtocol
from starter.http_server.sockets import Acceptor, room_for_connections

#: How long open requests may finish when told to stop: an update has its answer within seconds.
GRACE_SECONDS = 5


class Server(uvicorn.Server):
    """Ends with the return of `serve` when told to stop: then whoever called can clean up, and exit with 0.

    uvicorn's own raises the signal anew, which ends the process there and then. `stopping` is called first.
    It accepts connections itself, so that they can be counted: see `starter.http_server.sockets`.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        *,
        max_connections: int,
        proxies: Sequence[object] = (),
        stopping: Callable[[], None] = lambda: None,
        deadlines: Deadlines | None = None,
    ) -> None:
        deadlines = deadlines or Deadlines()
        config = uvicorn.Config(
            app,
            # Logs go where the process sends its own; a line a request would tell who watches what.
            log_config=None,
            access_log=False,
            server_header=False,
            http="h11",
            ws="none",
            # No word about who asks is believed but of a proxy that the settings name.
            proxy_headers=bool(proxies),
            forwarded_allow_ips=list(map(str, proxies)),
            timeout_graceful_shutdown=GRACE_SECONDS,
            timeout_keep_alive=deadlines.next,
        )
        super().__init__(config)
        self._stopping = stopping
        self._deadlines = deadlines
        self._connections = Connections(room_for_connections(max_connections), Proxies(proxies))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept on the sockets."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        acceptors = [Acceptor(one, self._connections, self._protocol) for one in sockets or ()]
        self.servers = cast("list[asyncio.base_events.Server]", acceptors)
        self.started = True

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until SIGTERM, SIGINT or SIGHUP."""
        with self._stopped_by_hangup():
            await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Stop; at once, if told a second time by Ctrl-C."""
        self._stopping()
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    def _protocol(self, slot: Slot) -> GuardedProtocol:
        return GuardedProtocol(
            self.config, self.server_state, self.lifespan.state, slot=slot, deadlines=self._deadlines
        )

    @contextmanager
    def _stopped_by_hangup(self) -> Iterator[None]:
        """A closed terminal stops it like SIGTERM, unless it was started to outlive that (nohup)."""
        try:
            before = signal.getsignal(signal.SIGHUP)
            if before is not signal.SIG_IGN:
                signal.signal(signal.SIGHUP, self.handle_exit)
        except ValueError:  # not in the main thread: a test's server
            yield
            return
        try:
            yield
        finally:
            signal.signal(signal.SIGHUP, before)
