"""Runs the API until a signal stops it; open event streams do not delay the shutdown."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from clients.transport.measured_calls import measure_calls
from starter.environments.watcher import EnvironmentWatcher
from starter.http_server.server import Server
from starter.http_server.sockets import FEWEST_CONNECTIONS, open_listening_socket
from starter.monitoring.metrics import ApiMetrics
from worker.settings.groups.api import Api


async def serve(app: FastAPI, settings: Api, host: str, port: int) -> None:
    """Serve the app until a signal stops it; raise OSError if it cannot listen on its addresses."""
    async with AsyncExitStack() as closing:
        listening = closing.enter_context(open_listening_socket(host, port))
        if settings.metrics:
            address, _, metrics_port = settings.metrics.rpartition(":")
            metrics = closing.enter_context(open_listening_socket(address, int(metrics_port)))
            measure_calls(app.state.metrics.observe_call)
            closing.callback(measure_calls, None)
            await closing.enter_async_context(_metrics_on(app, metrics))
        await serve_on(app, settings, listening)


async def serve_on(app: FastAPI, settings: Api, listening: socket.socket) -> None:
    """Serve the app on a listening socket until a signal stops it."""
    watcher: EnvironmentWatcher = app.state.watcher
    await Server(
        app,
        max_connections=settings.max_connections,
        proxies=settings.trusted_proxies,
        # End the streams at shutdown, because they would last as long as their environments.
        stopping=watcher.stop,
    ).serve(sockets=[listening])


@asynccontextmanager
async def _metrics_on(app: FastAPI, listening: socket.socket) -> AsyncIterator[None]:
    """Serve the metrics of the app on a listening socket while the block runs."""
    metrics: ApiMetrics = app.state.metrics
    # A few scrapers need few connections. More of them would take descriptors away from the API.
    server = Server(metrics.app(), max_connections=FEWEST_CONNECTIONS, stopped_by_signals=False)
    running = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await running
