"""The two doors of the simulated host, with one life: its own API, and over TLS the virtual API servers."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from embedded.asgi_server import GRACE_SECONDS, listening_socket
from embedded.faults import App, FaultInjector, Receive, Scope, Send
from embedded.host.api import operation_of


class HostServers:
    """An ASGI application, to be served on the socket of the API; it serves the other one by itself.

    `begin` and `end` are what else its life consists of, called inside the event loop.
    One set of faults, at `/-/faults` of the API, strikes both.
    """

    def __init__(
        self,
        begin: Callable[[], None],
        end: Callable[[], Awaitable[None]],
        *,
        api: App,
        virtual: App,
        tls_socket: socket.socket,
        tls: tuple[str, str],
    ) -> None:
        self._begin = begin
        self._end = end
        self._tls_socket = tls_socket
        self._tls = tls

        async def by_door(scope: Scope, receive: Receive, send: Send) -> None:
            await (virtual if scope["scheme"] == "https" else api)(scope, receive, send)

        self._app = FaultInjector(by_door, operation_of)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._life(receive, send)
        else:
            await self._app(scope, receive, send)

    async def _life(self, receive: Receive, send: Send) -> None:
        await receive()
        certificate, key = self._tls
        config = uvicorn.Config(
            self._app,
            lifespan="off",
            log_level=logging.CRITICAL,
            access_log=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        server = _SecondServer(config)
        serving = asyncio.create_task(server.serve(sockets=[self._tls_socket]))
        self._begin()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        server.should_exit = True
        await serving
        await self._end()
        await send({"type": "lifespan.shutdown.complete"})


class _SecondServer(uvicorn.Server):
    """One that leaves the signals to the first."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def remembered_socket(file: Path) -> socket.socket:
    """A listening socket on the port in `file`; on another one if that is taken. The file has it afterwards.

    With the same port, kubeconfigs that were handed out before a restart work after it.
    """
    wanted = int(file.read_text()) if file.exists() else 0
    try:
        sock = listening_socket(wanted)
    except OSError:
        sock = listening_socket()
    file.write_text(str(sock.getsockname()[1]))
    return sock
