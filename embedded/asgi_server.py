"""Runs one ASGI server of the embedded stack on a socket that its parent has opened, until told to stop."""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

import uvicorn

#: How long open requests may finish when told to stop; clients of the embedded stack retry anyway.
GRACE_SECONDS = 2
#: Longer than any client keeps an idle connection, so that it is never we who cut one in use.
KEEP_ALIVE_SECONDS = 75


def listening_socket(port: int = 0, address: str = "127.0.0.1") -> socket.socket:
    """A listening socket on the address: the given port, or a free one for 0. Inheritable by children.

    Raises OSError if the port is taken.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    sock.listen(1024)
    sock.set_inheritable(True)
    return sock


def stop_with_parent() -> None:
    """Exit when the parent process ends, however it ends: nothing of the embedded stack outlives it.

    The parent holds the write end of a pipe that is this process's standard input, and writes nothing.
    """

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="stop-with-parent", daemon=True).start()


def serve(
    app: Callable[..., Any],
    fd: int,
    *,
    tls: tuple[str, str] | None = None,
) -> None:
    """Serve `app` on the inherited listening socket `fd` until SIGTERM or SIGINT.

    `tls` is the paths of a certificate and its key; without it the server speaks plain HTTP.
    """
    config = uvicorn.Config(
        app,
        log_level=logging.CRITICAL,
        access_log=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        ssl_certfile=tls[0] if tls else None,
        ssl_keyfile=tls[1] if tls else None,
    )
    asyncio.run(uvicorn.Server(config).serve(sockets=[socket.socket(fileno=fd)]))
