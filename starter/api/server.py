"""Runs the API until a signal stops it; open event streams do not delay the shutdown."""

import socket

from fastapi import FastAPI

from starter.api.dependencies import Parts
from starter.http_server.server import Server
from starter.http_server.sockets import open_listening_socket
from worker.settings.models import Api


async def serve(app: FastAPI, settings: Api, host: str, port: int) -> None:
    """Serve the app until a signal stops it; raise OSError if it cannot listen on the address."""
    with open_listening_socket(host, port) as listening:
        await serve_on(app, settings, listening)


async def serve_on(app: FastAPI, settings: Api, listening: socket.socket) -> None:
    """Serve the app on a listening socket until a signal stops it."""
    parts: Parts = app.state.parts
    await Server(
        app,
        max_connections=settings.max_connections,
        proxies=settings.trusted_proxies,
        # End the streams at shutdown, because they would last as long as their environments.
        stopping=parts.watches.stop,
    ).serve(sockets=[listening])
