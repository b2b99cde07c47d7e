"""Ensures that a credential that was changed in its file is taken up when the former one is refused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from clients.errors import Denied
from clients.identity.scim import Scim
from clients.rafay import Rafay
from clients.rafay.transport import RafayTransport
from clients.simulated_host.host import SimulatedHost
from clients.transport.http import Answer, HttpSystem, bearer_headers
from worker.settings.loading import load_settings
from worker.settings.sources import SecretOfFile, SettingsError, reader_of

TIMEOUT = timedelta(seconds=5)


class Server:
    """Knows one credential at a time, in whatever header, and counts what it is asked."""

    def __init__(self, good: str) -> None:
        self.good = good
        self.asked: list[int] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        length = [line for line in asked.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if length:
            await reader.readexactly(int(length[0].split(b":")[1]))
        is_good = any(line.endswith(f" {self.good}".encode()) for line in asked.split(b"\r\n"))
        self.asked.append(200 if is_good else 401)
        head = f"HTTP/1.1 {self.asked[-1]} .\r\nContent-Length: 2\r\nConnection: close"
        writer.write(f"{head}\r\n\r\n{{}}".encode())
        await writer.drain()
        writer.close()


@asynccontextmanager
async def serving(good: str) -> AsyncIterator[Server]:
    server = Server(good)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with listening:
        yield server


def system_of(kind: str, url: str, secret: SecretOfFile) -> HttpSystem:
    """What a client of that kind calls its system with."""
    value, reread = secret.get_secret_value(), reader_of(secret)
    if kind == "control plane":
        return Rafay(url, value, timeout=TIMEOUT, reread=reread)._wire
    if kind == "directory":
        return Scim(url, value, timeout=TIMEOUT, reread=reread)._http
    return SimulatedHost("one", url, value, timeout=TIMEOUT, reread=reread)._api


@pytest.mark.parametrize("kind", ["control plane", "directory", "host"])
async def test_a_rotated_credential(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "key"
    file.write_text("first\n")
    async with serving("first") as server:
        system = system_of(kind, server.url, SecretOfFile(file))
        await system.call("GET", "/x", "look")
        server.good = "second"
        with pytest.raises(Denied):
            await system.call("POST", "/x", "make", body={})
        file.write_text("second\n")
        await system.call("POST", "/x", "make", body={"a": 1})
        await system.call("GET", "/x", "look")
        assert server.asked == [200, 401, 401, 200, 200], "asked once more than needed, or not again"
        file.unlink()
        server.good = "third"
        with pytest.raises(Denied):
            await system.call("GET", "/x", "look")
        file.write_text("")
        with pytest.raises(Denied):
            await system.call("GET", "/x", "look")
        file.write_text("third")
        answers = await asyncio.gather(*(system.call("GET", "/x", "look") for _ in range(5)))
        assert {answer.status for answer in answers} == {200}
        await system.close()


async def test_a_credential_without_a_file_is_refused_once() -> None:
    async with serving("good") as server:
        host = SimulatedHost("one", server.url, "bad", timeout=TIMEOUT)
        with pytest.raises(Denied):
            await host._api.call("GET", "/x", "look")
        assert server.asked == [401]
        await host.close()


def test_neither_key_is_quoted() -> None:
    keys = iter(["ra2.id.second-secret"])
    wire = RafayTransport(
        "Rafay",
        "http://127.0.0.1:9",
        "ra2.id.first-secret",
        timeout=TIMEOUT,
        verify=True,
        reread=lambda: next(keys),
    )
    assert wire._renewed
    wire._renewed()
    text = wire._explain(Answer(403, {}, b'{"message": "first-secret, second-secret"}'))
    assert "secret" not in text.replace("…", "")


def test_files_that_everybody_may_write_give_no_settings(tmp_path: Path) -> None:
    """Ensures that neither a secret nor the file of settings is taken from what others may have written."""
    for name in ("secret", "moorage.toml"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o606)
    environ = {
        "MOORAGE_CONFIG": str(tmp_path / "moorage.toml"),
        "MOORAGE_CONTROL_PLANE__API_KEY_FILE": str(tmp_path / "secret"),
    }
    with pytest.raises(SettingsError) as refused:
        load_settings(environ)
    for name in environ:
        assert f"{name}: cannot read" in str(refused.value)
    assert str(refused.value).count("all users can write it (mode 0606): chmod o-w") == 2


def test_a_secret_of_the_settings_knows_its_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("planted\n")
    settings = load_settings(
        {
            "MOORAGE_INSTALLATION": "k3x9q0vb",
            "MOORAGE_ENCRYPTION__KEYS": "cGxhbnRlZC1rZXktb2YtdGhpcnR5LXR3by1ieXRlcyE=",
            "MOORAGE_CONTROL_PLANE__URL": "https://console.example",
            "MOORAGE_CONTROL_PLANE__API_KEY_FILE": str(file),
            "MOORAGE_HOSTS__MAIN__KIND": "simulated",
            "MOORAGE_HOSTS__MAIN__URL": "http://127.0.0.1:7003/",
            "MOORAGE_HOSTS__MAIN__TOKEN": "planted-token",
        }
    )
    reread = reader_of(settings.control_plane.api_key)
    assert reread
    file.write_text("another\n")
    assert reread() == "another"
    assert reader_of(settings.hosts["main"].token) is None  # type: ignore[union-attr,arg-type]
    assert bearer_headers("") == bearer_headers("a\nb") == {}
