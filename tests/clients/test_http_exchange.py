"""Kept connections over aiohttp: they keep the promises of `HttpSystem` as those over httpx do."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from clients.errors import Denied, MalformedAnswer, NotFound, Rejected, Throttled, Unreachable
from clients.host.kubeconfig import Kubeconfig
from clients.transport.http import HttpSystem
from clients.transport.http_exchange import KeptConnections
from clients.virtual_cluster import VirtualClusterApi
from tests.support.deadline import soon

TIMEOUT = timedelta(seconds=20)


class Server:
    """Answers each request with the next of the answers, the last one always; b"" cuts the connection."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[str] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
                body = await reader.readexactly(int(length[1]) if length else 0)
                self.requests.append(head + body.decode())
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if not answer:
                    return
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def answered(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@asynccontextmanager
async def calling(
    *answers: bytes, timeout: timedelta = TIMEOUT, limit: int = 1000
) -> AsyncIterator[tuple[Server, HttpSystem]]:
    answering = Server(*answers)
    server = await asyncio.start_server(answering.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/prefix/"
    async with system_at(url, timeout, limit) as system:
        yield answering, system
    server.close()


@asynccontextmanager
async def system_at(url: str, timeout: timedelta = TIMEOUT, limit: int = 1000) -> AsyncIterator[HttpSystem]:
    verify = ssl.create_default_context()
    exchange = KeptConnections(url, verify=verify, timeout=timeout, connect_timeout=timeout)
    system = HttpSystem(
        "it", url, headers={"Authorization": "Bearer t"}, timeout=timeout, explain=lambda _: "",
        verify=verify, max_answer_bytes=limit, exchange=exchange,
    )  # fmt: skip
    async with system:
        yield system


async def test_sends_what_it_is_given_over_one_connection() -> None:
    async with calling(answered("200 OK", b'{"a": 1}')) as (server, system):
        query: dict[str, str | int] = {"continue": "a b&c", "limit": 5}
        assert await system.call_json("GET", "/things/a%2Fb", "read", query=query) == {"a": 1}
        await system.call("PATCH", "/things", "apply", body={"b": "ä"}, headers={"Content-Type": "x/y"})
        await system.call("POST", "/things", "make", body={})
        assert server.connections == 1
    read, applied, made = server.requests
    assert read.startswith("GET /prefix/things/a%2Fb?continue=a+b%26c&limit=5 HTTP/1.1\r\n")
    assert "Authorization: Bearer t\r\n" in read
    assert "Content-Type: x/y\r\n" in applied
    assert applied.endswith('{"b": "\\u00e4"}')
    assert "Content-Type: application/json\r\n" in made


@pytest.mark.parametrize(
    ("method", "ambiguous"), [("PUT", True), ("DELETE", True), ("POST", True), ("GET", False)]
)
async def test_repeats_no_call_whose_connection_was_cut(method: str, ambiguous: bool) -> None:
    """Ensures that a lost answer raises an error: the answer to a repeat would hide that it is in doubt."""
    async with calling(answered("200 OK"), b"", answered("409 Conflict")) as (server, system):
        await system.call("GET", "/", "read")
        with pytest.raises(Unreachable, match="the connection was cut") as error:
            await system.call(method, "/", "do a thing")
        assert error.value.ambiguous is ambiguous
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (answered("404 Not Found"), NotFound),
        (answered("401 Unauthorized"), Denied),
        (answered("429 Too Many Requests", b"", "Retry-After: 7"), Throttled),
        (answered("302 Found", b"", "Location: http://127.0.0.1:1/"), Rejected),
        (answered("200 OK", b'"%s"' % (b"x" * 1000)), MalformedAnswer),
        (answered("200 OK", b"no JSON"), MalformedAnswer),
        (b"no HTTP\r\n\r\n", Unreachable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-Encoding: gzip\r\n\r\nno gzip!!", Unreachable),
    ],
)
async def test_tells_each_failure_by_its_kind(answer: bytes, error: type[Exception]) -> None:
    async with calling(answer) as (_, system):
        with pytest.raises(error) as raised:
            await system.call_json("GET", "/", "read")
    if isinstance(raised.value, Throttled):
        assert raised.value.retry_after == timedelta(seconds=7)


async def test_a_server_that_does_not_answer_is_reported_after_the_timeout() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with system_at(url, timedelta(seconds=0.2)) as system, soon("it waits for ever"):
        with pytest.raises(Unreachable, match=r"no answer within 0\.2 s") as error:
            await system.call("POST", "/", "make a thing")
    assert error.value.ambiguous
    server.close()


@pytest.mark.parametrize("host", ["127.0.0.1:1", "no-such-host.invalid", "a..b"])
async def test_a_server_that_is_not_there_has_got_nothing(host: str) -> None:
    async with system_at(f"http://{host}") as system:
        with pytest.raises(Unreachable, match="cannot connect to") as error:
            await system.call("POST", "/", "make a thing")
    assert not error.value.ambiguous
    if host == "127.0.0.1:1":
        assert "connection refused" in str(error.value)


KUBECONFIG = """
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://v.example"}}]
users: [{name: u, user: {token: admin}}]
"""


@pytest.mark.parametrize(("no_proxy", "is_direct"), [("", False), ("v.example", True)])
async def test_a_vcluster_behind_a_proxy_is_called_through_it(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, is_direct: bool
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    monkeypatch.setenv("no_proxy", no_proxy)
    async with VirtualClusterApi(Kubeconfig(KUBECONFIG, secret_name="k"), timeout=TIMEOUT) as virtual:
        assert (virtual._http._exchange is not None) is is_direct
