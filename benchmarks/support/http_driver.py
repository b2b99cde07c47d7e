"""Asks one server for pages, over and over, and says how long each answer took. As cheap as Python can be.

wrk would take less of the processor, but is not there everywhere, and cannot ask at a steady rate.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from starter.page.session.cookies import SESSION_COOKIE

#: Requests under way at most: a server that cannot keep up is measured, not drowned.
MAX_CONCURRENT = 100


@dataclass
class Timed:
    """What came of many requests: how long each took, in seconds, and how long all of them."""

    seconds: list[float] = field(default_factory=list)
    took: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def failed(self) -> dict[int, int]:
        """How many answers were errors or led elsewhere, by status."""
        return {status: count for status, count in self.statuses.items() if status >= 300}

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return len(self.seconds) / self.took if self.took else 0.0

    def percentile(self, share: float) -> float:
        """So many milliseconds or less did this share of the answers take."""
        ordered = sorted(self.seconds) or [0.0]
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Caller(NamedTuple):
    """Who asks, and whom: the port of a server, a token for its API, and a session of its page."""

    port: int
    token: str = ""
    session: str = ""

    @property
    def head(self) -> str:
        """The first line of each request after its path, and all headers that say who asks."""
        cookie = f"Cookie: {SESSION_COOKIE}={self.session}\r\n" if self.session else ""
        return f"HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nAuthorization: Bearer {self.token}\r\n{cookie}"


class Connection:
    """One kept connection of a caller, for one request at a time."""

    def __init__(self, caller: Caller) -> None:
        self._port = caller.port
        self._rest = caller.head
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> int:
        """Read the whole response; return its status."""
        return await self._send(f"GET {path} {self._rest}\r\n".encode())

    async def post(self, path: str, content: bytes, key: str) -> int:
        """Send a body of JSON with an idempotency key; return the status of the response."""
        head = (
            f"POST {path} {self._rest}Idempotency-Key: {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        return await self._send(head.encode() + content)

    async def _send(self, request: bytes) -> int:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        _, _, length = head.partition(b"content-length:")
        await reader.readexactly(int(length.split(b"\r\n", 1)[0]))
        return int(head.split(b" ", 2)[1])

    def close(self) -> None:
        """Close it."""
        if self._streams:
            self._streams[1].close()


async def closed_loop(caller: Caller, path: str, *, connections: int, seconds: float) -> Timed:
    """Each of so many connections asks again as soon as it has an answer, for so long."""
    timed, started = Timed(), time.monotonic()

    async def ask() -> None:
        connection = Connection(caller)
        while time.monotonic() - started < seconds:
            await _timed(connection, path, time.monotonic(), timed)
        connection.close()

    await asyncio.gather(*(ask() for _ in range(connections)))
    timed.took = time.monotonic() - started
    return timed


async def open_loop(
    caller: Caller, paths: Sequence[str], *, per_second: float, until: asyncio.Event
) -> Timed:
    """Ask at a steady rate, whatever the answers do; late ones count from when they were due."""
    timed, started, number = Timed(), time.monotonic(), 0
    idle: list[Connection] = []
    gate = asyncio.Semaphore(MAX_CONCURRENT)
    asking: set[asyncio.Task[None]] = set()

    async def ask(path: str, due: float) -> None:
        connection = idle.pop() if idle else Connection(caller)
        await _timed(connection, path, due, timed)
        idle.append(connection)
        gate.release()

    while not until.is_set():
        due = started + number / per_second
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        await gate.acquire()
        task = asyncio.create_task(ask(paths[number % len(paths)], due))
        asking.add(task)
        task.add_done_callback(asking.discard)
        number += 1
    await asyncio.gather(*asking)
    timed.took = time.monotonic() - started
    for connection in idle:
        connection.close()
    return timed


async def _timed(connection: Connection, path: str, since: float, timed: Timed) -> None:
    status = await connection.get(path)
    timed.seconds.append(time.monotonic() - since)
    timed.statuses[status] += 1
