"""Serves ASGI applications of the embedded stack in one event loop until a signal stops them."""

import asyncio
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

#: How long open requests may finish at a stop; clients of the embedded stack retry anyway.
GRACE_SECONDS = 2
#: Longer than any client keeps an idle connection, so that the server never cuts one in use.
KEEP_ALIVE_SECONDS = 75


@dataclass(frozen=True)
class Endpoint:
    """An application and the socket on which it is served.

    `tls` is the paths of a certificate and its key; without it the endpoint speaks plain HTTP.
    `accept_certificates` makes the TLS context ask for client certificates; the application finds the one
    that a client presents in the scope, as the TLS extension of ASGI says.
    """

    app: Callable[..., Any]
    socket: socket.socket
    tls: tuple[str, str] | None = None
    accept_certificates: Callable[[ssl.SSLContext], None] | None = None


@dataclass(frozen=True)
class StandIn:
    """The endpoints of one stand-in. `on_stop` is called first at a stop, to answer requests that wait."""

    endpoints: Sequence[Endpoint]
    on_stop: Callable[[], None] = lambda: None


def listening_socket(port: int = 0, address: str = "127.0.0.1") -> socket.socket:
    """Return a listening socket on the address: the given port, or a free one for 0.

    Its connections send responses without delay: asyncio sets TCP_NODELAY only on sockets that report TCP as
    their protocol, and this one reports 0. Each answer on a kept connection would wait 40 ms for a delayed
    ACK, twenty times an environment.

    Raises:
        OSError: the port is taken.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    sock.listen(1024)
    return sock


async def serve(stand_ins: Sequence[StandIn], *, stop_with_parent: bool = True) -> None:
    """Serve all endpoints until SIGTERM or SIGINT, then let open requests finish.

    `stop_with_parent` also stops when standard input ends: the parent holds its other end and writes nothing,
    so nothing of the embedded stack outlives the parent.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if stop_with_parent:
        loop.add_reader(sys.stdin, _stop_at_end, loop, stop)
    endpoints = [endpoint for stand_in in stand_ins for endpoint in stand_in.endpoints]
    servers = [_server(endpoint) for endpoint in endpoints]
    async with asyncio.TaskGroup() as serving:
        for server, endpoint in zip(servers, endpoints, strict=True):
            serving.create_task(server.serve(sockets=[endpoint.socket]))
        await stop.wait()
        for stand_in in stand_ins:
            stand_in.on_stop()
        for server in servers:
            server.should_exit = True


def _stop_at_end(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 1024):
        loop.remove_reader(sys.stdin)
        stop.set()


def _server(endpoint: Endpoint) -> Any:
    # Imported here: the process that starts the stack needs `listening_socket` only.
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Server(uvicorn.Server):
        """A server that leaves the signals to `serve`."""

        @contextmanager
        def capture_signals(self) -> Generator[None, None, None]:
            yield

    class Protocol(H11Protocol):
        """HTTP that tells the application which certificate the client has presented."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            tls = transport.get_extra_info("ssl_object")
            if tls is not None and (presented := tls.getpeercert(binary_form=True)):
                self.app = _with_certificate(self.app, ssl.DER_cert_to_PEM_cert(presented))

    certificate, key = endpoint.tls or (None, None)
    config = uvicorn.Config(
        endpoint.app,
        http=Protocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    if endpoint.accept_certificates:
        config.load()
        if config.ssl is None:
            raise ValueError("client certificates need TLS")
        endpoint.accept_certificates(config.ssl)
    return Server(config)


def _with_certificate(app: Callable[..., Any], certificate: str) -> Callable[..., Any]:
    async def presented(scope: dict[str, Any], receive: Any, send: Any) -> None:
        extension = {"client_cert_chain": [certificate]}
        scope["extensions"] = {**scope.get("extensions", {}), "tls": extension}
        await app(scope, receive, send)

    return presented
