"""An API server that says what a test wants it to, over real connections."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

Answer = Callable[[web.Request], web.StreamResponse]


class Server:
    """An API server that answers what a test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answer: Answer = lambda _: web.json_response({})
        #: Called before each answer, for one that takes a while.
        self.wait: Callable[[web.Request], Awaitable[None]] | None = None
        self.asked: list[web.Request] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        self.asked.append(request)
        if self.wait:
            await self.wait(request)
        return self.answer(request)


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, int]]:
    server = Server()
    runner = web.ServerRunner(web.Server(server.handle))  # type: ignore[arg-type]
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    yield server, site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    await runner.cleanup()
