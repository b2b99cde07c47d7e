"""Serves an ASGI application until a signal stops it; used by the API and the codec server."""

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

#: How long open requests may take to finish at shutdown: an update completes within seconds.
GRACE_SECONDS = 5


class Server(uvicorn.Server):
    """uvicorn server whose `serve` returns after a signal, so that the caller can clean up and exit with 0.

    uvicorn's own server raises the signal again, which ends the process immediately. `stopping` is called
    first. This server accepts connections itself, so that it can count them: see
    `starter.http_server.sockets`. Only one server of a process is `stopped_by_signals`; for another one, set
    `should_exit`.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        *,
        max_connections: int,
        proxies: Sequence[object] = (),
        stopping: Callable[[], None] = lambda: None,
        deadlines: Deadlines | None = None,
        stopped_by_signals: bool = True,
    ) -> None:
        deadlines = deadlines or Deadlines()
        config = uvicorn.Config(
            app,
            # Use the log configuration of the process, and no access log: a line per request would reveal who
            # watches which environment.
            log_config=None,
            access_log=False,
            server_header=False,
            http="h11",
            ws="none",
            # Trust a client address in headers only from a proxy that the settings name.
            proxy_headers=bool(proxies),
            forwarded_allow_ips=list(map(str, proxies)),
            timeout_graceful_shutdown=GRACE_SECONDS,
            timeout_keep_alive=deadlines.next,
        )
        super().__init__(config)
        self._stopping = stopping
        self._stopped_by_signals = stopped_by_signals
        self._deadlines = deadlines
        self._connections = Connections(room_for_connections(max_connections), Proxies(proxies))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept connections on the sockets."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        acceptors = [Acceptor(one, self._connections, self._protocol) for one in sockets or ()]
        self.servers = cast("list[asyncio.base_events.Server]", acceptors)
        self.started = True

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until SIGTERM, SIGINT or SIGHUP."""
        if not self._stopped_by_signals:
            await self._serve(sockets)
            return
        with self._stopped_by_hangup():
            await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Stop the server; a second signal that is SIGINT (Ctrl-C) stops it immediately."""
        self._stopping()
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    def _protocol(self, slot: Slot) -> GuardedProtocol:
        return GuardedProtocol(
            self.config, self.server_state, self.lifespan.state, slot=slot, deadlines=self._deadlines
        )

    @contextmanager
    def _stopped_by_hangup(self) -> Iterator[None]:
        """Stop the server on SIGHUP, from a closed terminal, unless the process ignores it (nohup)."""
        try:
            before = signal.getsignal(signal.SIGHUP)
            if before is not signal.SIG_IGN:
                signal.signal(signal.SIGHUP, self.handle_exit)
        except ValueError:  # This is not the main thread, as in the server of a test.
            yield
            return
        try:
            yield
        finally:
            signal.signal(signal.SIGHUP, before)
