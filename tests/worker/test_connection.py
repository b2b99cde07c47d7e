"""The connection to Temporal: what a person reads when there is none, or not the right one."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from queue import Queue

import pytest
from temporalio.testing import WorkflowEnvironment

from embedded.asgi_server import listening_socket
from embedded.host.tls import authority, server_certificate
from tests.support.deadline import HANG
from worker.connection import NotConnected, check_namespace, connect
from worker.data_converter import PLAIN

#: For what is there. What is not there is waited for no longer than this.
MAX_WAIT = timedelta(seconds=HANG)
SHORT = timedelta(seconds=0.3)


@pytest.fixture(autouse=True)
def only_what_a_test_sets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = (
        "ADDRESS",
        "NAMESPACE",
        "API_KEY",
        "TLS",
        "PROFILE",
        "TLS_SERVER_NAME",
        "TLS_SERVER_CA_CERT_PATH",
    )
    for name in names:
        monkeypatch.delenv(f"TEMPORAL_{name}", raising=False)
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path / "temporal.toml"))


async def test_no_server_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that the sentence names the address and both ways out."""
    with listening_socket() as sock:
        address = f"127.0.0.1:{sock.getsockname()[1]}"
    monkeypatch.setenv("TEMPORAL_ADDRESS", address)
    with pytest.raises(NotConnected, match=f"no Temporal server answers at {address}") as error:
        await connect(PLAIN, timeout=SHORT)
    assert "moorage up" in str(error.value)
    assert "TEMPORAL_ADDRESS" in str(error.value)


@contextmanager
def serving(tls: Path | None = None) -> Iterator[int]:
    """The port of a server that is no Temporal: it answers with HTTP/1.1, in TLS if it has a folder."""
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*server_certificate(tls))
        context.set_alpn_protocols(["h2"])

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def serve(ready: "Queue[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]]") -> None:
        over = asyncio.Event()
        async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
            port = server.sockets[0].getsockname()[1]
            ready.put((port, asyncio.get_running_loop(), over))
            await over.wait()

    ready: Queue[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Queue()
    thread = threading.Thread(target=lambda: asyncio.run(serve(ready)))
    thread.start()
    port, loop, over = ready.get()
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()


async def test_tls_that_does_not_match(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ensures that a mismatch of TLS is reported as such, in both directions."""
    ca_file = authority(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    with serving() as port:
        monkeypatch.setenv("TEMPORAL_ADDRESS", f"127.0.0.1:{port}")
        monkeypatch.setenv("TEMPORAL_TLS", "true")
        with pytest.raises(NotConnected, match="it does not speak TLS"):
            await connect(PLAIN)  # without waiting for what will not change
    with serving(tmp_path) as port:
        monkeypatch.setenv("TEMPORAL_ADDRESS", f"localhost:{port}")
        with pytest.raises(NotConnected, match="no trusted authority has signed its certificate") as failed:
            await connect(PLAIN)
        assert "TEMPORAL_TLS_SERVER_CA_CERT_PATH" in str(failed.value)
        monkeypatch.setenv("TEMPORAL_TLS_SERVER_CA_CERT_PATH", str(authority(other)))
        with pytest.raises(NotConnected, match="cannot be used: "):
            await connect(PLAIN)
        monkeypatch.setenv("TEMPORAL_TLS_SERVER_CA_CERT_PATH", str(ca_file))
        monkeypatch.setenv("TEMPORAL_TLS_SERVER_NAME", "temporal.example")
        with pytest.raises(NotConnected, match="its certificate is for another name"):
            await connect(PLAIN)
        monkeypatch.delenv("TEMPORAL_TLS_SERVER_NAME")
        monkeypatch.delenv("TEMPORAL_TLS_SERVER_CA_CERT_PATH")
        monkeypatch.delenv("TEMPORAL_TLS")
        with pytest.raises(NotConnected, match="set TEMPORAL_TLS=true"):
            await connect(PLAIN, timeout=SHORT)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:1", r"\(the connection was refused\): start one"),
        ("temporal.invalid:7233", r"\(the host name is unknown\)"),
        ("http://localhost:7233", "without http://"),
    ],
)
async def test_why_no_server_answers(monkeypatch: pytest.MonkeyPatch, address: str, expected: str) -> None:
    """Ensures that the sentence has the reason in words."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", address)
    with pytest.raises(NotConnected, match=expected):
        await connect(PLAIN, timeout=SHORT)


async def test_settings_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ensures that a broken file of Temporal's settings is reported as such."""
    (tmp_path / "temporal.toml").write_text("[profile\n")
    with pytest.raises(NotConnected, match=r"TEMPORAL_\* settings"):
        await connect(PLAIN, timeout=MAX_WAIT)


async def test_prepared_namespace(
    monkeypatch: pytest.MonkeyPatch, temporal_server: WorkflowEnvironment
) -> None:
    """Ensures that a server with our search attributes is taken as it is."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_server.client.service_client.config.target_host)
    await check_namespace(await connect(PLAIN, timeout=MAX_WAIT), timeout=MAX_WAIT)


async def test_namespace_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, temporal_server: WorkflowEnvironment
) -> None:
    """Ensures that the error for a missing namespace has the command that creates it."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_server.client.service_client.config.target_host)
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "elsewhere")
    client = await connect(PLAIN, timeout=MAX_WAIT)
    with pytest.raises(NotConnected, match="temporal operator namespace create --namespace elsewhere"):
        await check_namespace(client, timeout=SHORT)


async def test_search_attributes_that_are_missing(
    monkeypatch: pytest.MonkeyPatch, temporal_server: WorkflowEnvironment
) -> None:
    """Ensures that the error for an unprepared namespace has the command that prepares it."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_server.client.service_client.config.target_host)
    # The server's own namespace: it is always there, and never has ours.
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "temporal-system")
    client = await connect(PLAIN, timeout=MAX_WAIT)
    with pytest.raises(NotConnected, match="--name EnvExpiresAt --type Datetime"):
        await check_namespace(client, timeout=SHORT)
