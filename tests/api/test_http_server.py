"""Ensures that no client can hold up the API or the codec server by sending, reading or asking slowly."""

import asyncio
import errno
import os
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import structlog

from starter.http_server import sockets
from starter.http_server.connections import Connections, Proxies, peer_of
from starter.http_server.protocol import Deadlines
from starter.http_server.server import Server
from starter.http_server.sockets import Acceptor, open_listening_socket, room_for_connections
from tests.support.deadline import HANG
from tests.support.stand_ins import TLS

#: Longest wait for what takes moments: only a test that fails waits so long.
MAX_WAIT = HANG
#: So short that a test waits for one, and so long that no other one comes first.
SOON, NEVER = 0.2, 3600.0
PATIENT = Deadlines(head=NEVER, body=NEVER, rest=NEVER, next=3600, unread=NEVER)


class App:
    """Reads the body of POST /read and of no other, streams at /stream, holds /hold, and answers the rest."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.disconnected = asyncio.Event()
        self.held = asyncio.Event()
        self.streaming = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": f"{message['type']}.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.asked.append(scope["path"])
        if scope["path"] == "/read":
            while (message := await receive()).get("more_body"):
                pass
            if message["type"] == "http.disconnect":
                self.disconnected.set()
        if scope["path"] == "/hold":
            self.held.set()
            await receive()
            await receive()
        headers = [(b"x-client", str(scope["client"][0]).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["path"] == "/stream":
            self.streaming.set()
            await receive()
            gone = asyncio.create_task(receive())
            while not gone.done():
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
                await asyncio.sleep(0)
            self.disconnected.set()
        await send({"type": "http.response.body", "body": b"done"})


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[tuple[App, str, int]]:
    app = App()
    options = {"max_connections": 1000, "deadlines": PATIENT, **options}
    with open_listening_socket("127.0.0.1", 0) as sock:
        server = Server(app, **options)
        running = asyncio.create_task(server.serve(sockets=[sock]))
        try:
            yield app, *sock.getsockname()
        finally:
            app.disconnected.set()
            server.should_exit = True
            await running


async def exchange(host: str, port: int, sent: bytes, *, drip: bytes = b"") -> bytes:
    """What comes back until the server closes; `drip` is sent over and over meanwhile."""
    reader, writer = await asyncio.open_connection(host, port)

    async def dripping() -> None:
        while True:
            writer.write(drip)
            await asyncio.sleep(SOON / 10)

    writer.write(sent)
    task = asyncio.create_task(dripping()) if drip else None
    try:
        return await asyncio.wait_for(reader.read(), MAX_WAIT)
    except ConnectionError:
        return b"(cut)"
    finally:
        if task:
            task.cancel()
        writer.close()


POST = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"


@pytest.mark.parametrize(
    ("deadline", "sent", "drip", "expected"),
    [
        ("head", b"", b"", (b"",)),
        ("head", b"GET / HTTP/1.1\r\nHo", b"", (b"HTTP/1.1 408",)),
        ("head", b"GET / HTTP/1.1\r\nX: ", b"x", (b"HTTP/1.1 408", b"(cut)")),
        ("body", POST % b"/read", b"", (b"HTTP/1.1 408",)),
        ("body", POST % b"/read", b"x", (b"HTTP/1.1 408", b"(cut)")),
        ("rest", POST % b"/deny", b"x", (b"HTTP/1.1 200", b"(cut)")),
        ("next", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"", (b"HTTP/1.1 200",)),
        ("head", b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET", b"", (b"HTTP/1.1 200",)),
    ],
    ids=["silence", "half a head", "a head without an end", "no body", "a body that drips",
         "a body that no route reads", "no next request", "half a next head"],
)  # fmt: skip
async def test_who_is_slow_is_cut(
    deadline: str, sent: bytes, drip: bytes, expected: tuple[bytes, ...]
) -> None:
    seconds = 1 if deadline == "next" else SOON
    deadlines = Deadlines(**{**vars(PATIENT), deadline: seconds})
    async with serving(deadlines=deadlines) as (app, host, port):
        answer = await exchange(host, port, sent, drip=drip)
        assert answer.startswith(expected), answer
        if b"/read" in sent:
            await asyncio.wait_for(app.disconnected.wait(), MAX_WAIT)


async def test_who_does_not_read_is_cut() -> None:
    async with serving(deadlines=Deadlines(unread=SOON)) as (app, host, port):
        _, writer = await asyncio.open_connection(host, port, limit=1024)
        writer.write(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        transport = writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        transport.pause_reading()
        await asyncio.wait_for(app.streaming.wait(), MAX_WAIT)
        answer = await exchange(host, port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"done" in answer
        await asyncio.wait_for(app.disconnected.wait(), MAX_WAIT)
        writer.close()


@pytest.mark.parametrize(
    "head",
    [
        b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        b"POST /read HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody",
        b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: +4\r\n\r\nbody",
        b"POST /read HTTP/1.1\r\nHost: x\r\nHost: y\r\nContent-Length: 4\r\n\r\nbody",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=range(9),
)
async def test_what_two_servers_could_read_differently_is_refused(
    head: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Ensures that it is answered 400 or 501, that nothing after it is read, and that it leaves no line."""
    async with serving() as (app, host, port):
        answer = await exchange(host, port, head + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501", b"(cut)")), answer
        assert b"connection: close" in answer.lower() or answer == b"(cut)"
        assert app.asked == []
        assert not [line for line in caplog.records if line.name.startswith(("moorage", "uvicorn"))]


async def test_kept_and_pipelined_requests_are_answered() -> None:
    async with serving() as (app, host, port):
        get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        last = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert (await exchange(host, port, get + get + last)).count(b"done") == 3
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False, verify=TLS) as http:
            for _ in range(3):
                assert (await http.post("/read", content=b"x" * 50_000)).text == "done"
        assert len(app.asked) == 6


async def test_idle_and_half_open_connections_make_room() -> None:
    """Ensures that 300 of them hold nothing up where there is room for 32."""
    async with serving(max_connections=32) as (_, host, port):
        held = []
        for number in range(300):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET / HTTP/1.1\r\nHo" if number % 2 else b"")
            held.append((reader, writer))
        answer = await exchange(host, port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"done" in answer
        closed = 0
        for reader, writer in held[:200]:
            with_nothing = await asyncio.wait_for(_read(reader), MAX_WAIT)
            closed += with_nothing == b""
            writer.close()
        assert closed == 200, "the longest idle go first"
        for _, writer in held[200:]:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def test_requests_under_way_are_never_cut_for_others() -> None:
    """Ensures that one address gets a half with them, and 503 beyond; that another one still gets in."""
    async with serving(max_connections=16) as (app, host, port):
        held = []
        for _ in range(8):
            app.held.clear()
            reader, writer = await asyncio.open_connection(host, port, local_addr=("127.0.0.2", 0))
            writer.write(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.wait_for(app.held.wait(), MAX_WAIT)
            held.append(writer)
        reader, writer = await asyncio.open_connection(host, port, local_addr=("127.0.0.2", 0))
        refused = await asyncio.wait_for(_read(reader), MAX_WAIT)
        assert refused.startswith(b"HTTP/1.1 503"), refused
        writer.close()
        answer = await exchange(host, port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"done" in answer
        for writer in held:
            writer.close()


@pytest.mark.parametrize(("proxies", "client"), [((), "127.0.0.1"), (("127.0.0.0/8",), "203.0.113.7")])
async def test_only_a_proxy_of_the_settings_says_who_asks(proxies: tuple[str, ...], client: str) -> None:
    async with (
        serving(proxies=proxies) as (_, host, port),
        httpx.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False, verify=TLS) as http,
    ):
        answer = await http.get("/", headers={"X-Forwarded-For": "198.51.100.1, 203.0.113.7"})
        assert answer.headers["x-client"] == client


def test_a_trusted_proxy_may_hold_all_connections() -> None:
    connections = Connections(10, Proxies(["10.0.0.0/8", "fd00::/8"]))
    for proxy in ("10.1.2.3", "::ffff:10.1.2.3"):
        slots = [connections.admit(proxy) for _ in range(10)]
        for slot in slots:
            assert slot
            slot.set_waiting(False)
        assert len(connections) == 10
        assert connections.admit(proxy) is None
        for slot in slots:
            assert slot
            slot.release()
            slot.release()
    assert len(connections) == 0


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_one_subscriber_is_one_peer(address: str, peer: str) -> None:
    assert peer_of(address) == peer


class _Short:
    """A listening socket of a process that has no descriptor left for `times` tries."""

    def __init__(self, sock: socket.socket, number: int, times: int) -> None:
        self._sock, self._number, self.left = sock, number, times

    def fileno(self) -> int:
        return self._sock.fileno()

    def accept(self) -> Any:
        if self.left:
            self.left -= 1
            raise OSError(self._number, os.strerror(self._number))
        return self._sock.accept()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_a_shortage_of_descriptors_is_logged_once(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that accepting pauses, leaves one line, closes idle connections, and goes on."""
    monkeypatch.setattr(sockets, "PAUSE_SECONDS", 0.001)
    connections, accepted = Connections(10, Proxies()), asyncio.Event()
    closed = []
    idle = connections.admit("203.0.113.1")
    assert idle
    idle.close = lambda: closed.append(idle)

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.set()
            transport.close()

    with open_listening_socket("127.0.0.1", 0) as sock, structlog.testing.capture_logs() as lines:
        short = _Short(sock, number, 50)
        protocol: Callable[[Any], asyncio.Protocol] = lambda slot: Protocol()  # noqa: E731
        acceptor = Acceptor(short, connections, protocol)  # type: ignore[arg-type]
        with socket.create_connection(sock.getsockname()):
            await asyncio.wait_for(accepted.wait(), MAX_WAIT)
        acceptor.close()
        await acceptor.wait_closed()
    assert short.left == 0
    assert [line["event"] for line in lines] == ["no connection can be accepted for a moment"]
    assert closed == [idle]


def test_the_soft_limit_of_descriptors_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that what is left of the hard limit, and no more, is for connections."""
    limits = {"soft": 256, "hard": 4096}
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limits["soft"], limits["hard"]))
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.update(soft=pair[0]))
    assert room_for_connections(1000) == 1000
    assert limits["soft"] == 4096
    limits["hard"] = limits["soft"] = 256
    assert room_for_connections(1000) == 128
    limits["hard"] = limits["soft"] = 64
    assert room_for_connections(1000) == 16
    assert room_for_connections(8) == 8


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_by_returning(number: signal.Signals) -> None:
    stopped = []
    # Set the default action: a test run under nohup inherits an ignored SIGHUP.
    outside = signal.signal(number, signal.SIG_DFL)
    try:
        with open_listening_socket("127.0.0.1", 0) as sock:
            server = Server(App(), max_connections=16, stopping=lambda: stopped.append(number))
            running = asyncio.create_task(server.serve(sockets=[sock]))
            host, port = sock.getsockname()
            answer = await exchange(host, port, b"GET / HTTP/1.0\r\n\r\n")
            assert b"done" in answer
            os.kill(os.getpid(), number)
            await asyncio.wait_for(running, MAX_WAIT)
        assert stopped == [number]
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, outside)


async def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    """Ensures that nohup does what it promises."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        async with serving() as (_, host, port):
            os.kill(os.getpid(), signal.SIGHUP)
            answer = await exchange(host, port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b"done" in answer
    finally:
        signal.signal(signal.SIGHUP, before)
