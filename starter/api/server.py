"""Runs the API until it is told to stop; open streams do not hold it up."""

import logging
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from starter.api.parts import Parts
from starter.listening import open_listening_socket

#: How long open requests may finish when told to stop: an update has its answer within seconds.
GRACE_SECONDS = 5


class Server(uvicorn.Server):
    """Ends with the return of `serve` when told to stop: then whoever called can clean up, and exit with 0.

    uvicorn's own raises the signal anew, which ends the process there and then. `stopping` is called first.
    """

    def __init__(self, config: uvicorn.Config, stopping: Callable[[], None] = lambda: None) -> None:
        super().__init__(config)
        self._stopping = stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Stop; at once, if told a second time by Ctrl-C."""
        self._stopping()
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


async def serve(app: FastAPI, host: str, port: int) -> None:
    """Serve the app until SIGTERM or SIGINT. Raises OSError if the address cannot be listened on."""
    with open_listening_socket(host, port) as listening:
        await serve_on(app, listening)


async def serve_on(app: FastAPI, listening: socket.socket) -> None:
    """Serve the app on a listening socket until SIGTERM or SIGINT."""
    # Logs go where the process sends its own; uvicorn's line a request would tell who watches what.
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    parts: Parts = app.state.parts
    # Streams would last as long as their environments.
    await Server(config, parts.watches.stop).serve(sockets=[listening])
