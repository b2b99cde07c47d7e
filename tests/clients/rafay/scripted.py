"""A server that gives scripted answers, for answers that no stand-in gives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from clients.rafay import Rafay
from tests.support.deadline import HANG
from tests.support.stand_ins import TLS

KEY = "ra2.0a1b2c.the-secret-part"


@dataclass
class Script:
    """`answers` are given in turn, the last one again and again; `requests` are the heads that came."""

    answers: list[tuple[int, str]]
    requests: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            (
                int(line.split(":")[1])
                for line in head.splitlines()
                if line.lower().startswith("content-length")
            ),
            0,
        )
        await reader.readexactly(length)
        self.requests.append(head)
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        content = body.encode()
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\n".encode())
        writer.write(b"Connection: close\r\n\r\n" + content)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def scripted(*answers: tuple[int, str]) -> AsyncIterator[tuple[Rafay, Script]]:
    """A client of a control plane that gives these answers (status, body), and the script."""
    script = Script(list(answers))
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        client = Rafay(f"http://127.0.0.1:{port}", KEY, timeout=timedelta(seconds=HANG), verify=TLS)
        async with client:
            yield client, script
