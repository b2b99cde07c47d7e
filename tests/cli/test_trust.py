"""What stands between a command and the API: certificates, proxies, names, ports, and pages of others."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from embedded.host.tls import authority, server_certificate
from starter.cli.client.api import Api
from starter.cli.client.connection import Connection
from starter.cli.errors import CliError, Code

TEMPLATES = json.dumps({"templates": []})
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


class Handler(BaseHTTPRequestHandler):
    status, kind, text = 200, "application/json", TEMPLATES

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Type", self.kind)
        self.end_headers()
        self.wfile.write(self.text.encode())

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self.do_GET
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        pass


class Quiet(ThreadingHTTPServer):
    """A server whose clients break off: that is what is tried here."""

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def serving(
    status: int = 200, kind: str = "application/json", text: str = TEMPLATES, tls: Path | None = None
) -> Iterator[int]:
    """The port of a server that gives this answer to everything, with TLS by the authority in that folder."""
    handler = type("Fixed", (Handler,), {"status": status, "kind": kind, "text": text})
    with Quiet(("127.0.0.1", 0), handler) as server:
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*server_certificate(tls))
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def ask(url: str, ca_file: Path | None = None, setting: str = "") -> object:
    with Api(Connection(url, "t", ca_file, setting), tries=1) as api:
        return api.call("GET", "templates")


def refusal(url: str, ca_file: Path | None = None, setting: str = "") -> CliError:
    with pytest.raises(CliError) as failed:
        ask(url, ca_file, setting)
    return failed.value


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_whose_certificates_are_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """Ensures that SSL_CERT_FILE and a file that is named count for every host."""
    ca_file = authority(tmp_path)
    with serving(tls=tmp_path) as port:
        url = f"https://{host}:{port}"
        failed = refusal(url)
        assert failed.code is Code.UNREACHABLE
        assert "its certificate is not trusted: no trusted authority has signed it" in str(failed)
        assert "--ca-file" in failed.next_steps[0]
        assert ask(url, ca_file, "--ca-file") == {"templates": []}
        monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
        assert ask(url) == {"templates": []}
        other = tmp_path / "other"
        other.mkdir()
        assert "not trusted" in str(refusal(url, authority(other), "--ca-file"))


def test_the_systems_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that the system's store is what is asked when nothing is named."""
    import truststore

    from clients.transport.tls_trust import tls_context

    assert isinstance(tls_context(environ={}), truststore.SSLContext)
    monkeypatch.setattr("clients.transport.tls_trust._system_has_any", lambda: False)
    found = tls_context(environ={})
    assert not isinstance(found, truststore.SSLContext)
    assert len(found.get_ca_certs()) > 50  # the list that comes with httpx
    assert tls_context(environ={"SSL_CERT_DIR": str(tmp_path)}).get_ca_certs() == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "cannot be read: No such file"),
        ("", "no certificate in PEM"),
        ("hello", "no certificate in PEM"),
    ],
)
def test_a_file_of_authorities_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, expected: str
) -> None:
    """Ensures that the sentence names the setting and the file, and that a URL without TLS needs none."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    failed = refusal("https://moorage.example", file, "MOORAGE_CA_FILE")
    assert failed.code is Code.BAD_INPUT
    assert str(failed).startswith(f"MOORAGE_CA_FILE: {file}")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    assert f"SSL_CERT_FILE: {file} " in str(refusal("https://moorage.example"))
    assert expected in str(refusal("https://moorage.example"))
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("SSL_CERT_DIR", str(file))
    assert "SSL_CERT_DIR" in str(refusal("https://moorage.example"))
    with serving() as port:
        assert ask(f"http://127.0.0.1:{port}") == {"templates": []}


def test_tls_where_there_is_none_and_none_where_there_is(tmp_path: Path) -> None:
    """Ensures that http:// in place of https://, and the other way round, is reported as such."""
    with serving() as port:
        assert "does not speak TLS: is it http://?" in str(refusal(f"https://127.0.0.1:{port}"))
    authority(tmp_path)
    with serving(tls=tmp_path) as port:
        assert "is it https://?" in str(refusal(f"http://127.0.0.1:{port}"))
    with serving(400, "text/plain", "Client sent an HTTP request to an HTTPS server.\n") as port:
        assert "https://" in refusal(f"http://127.0.0.1:{port}").next_steps[0]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:1", "connection refused"),
        ("http://[::1]:1", "cannot reach the API at http://[::1]:1: "),
        ("https://127.0.0.1:1", "connection refused"),
        ("http://moorage.invalid", "unknown host"),
    ],
)
def test_why_there_is_no_answer(url: str, expected: str) -> None:
    """Ensures that the sentence has the reason in words."""
    failed = refusal(url)
    assert failed.code is Code.UNREACHABLE
    assert expected in str(failed)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_login(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """Ensures that a proxy's 407 is reported as such, with where to write the login and without the login."""
    with serving(407, "text/html", "<html>") as port:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://me:hunter2@127.0.0.1:{port}")
        failed = refusal(f"{scheme}://moorage.example")
    assert "a login (407)" in str(failed)
    assert "http://USER:PASSWORD@" in failed.next_steps[0]
    assert "hunter2" not in str(failed) + str(failed.next_steps)


def test_a_proxy_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that a proxy that is unreachable, or refuses all calls, is named."""
    with serving(403, "text/html", "<html>") as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        assert "the proxy refuses it (403" in str(refusal("https://moorage.example"))
    with socket.socket() as unheard:
        # Nothing listens at a port that is only bound, and no other program gets it.
        unheard.bind(("127.0.0.1", 0))
        port = unheard.getsockname()[1]
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        failed = refusal("https://moorage.example")
    assert f"through the proxy 127.0.0.1:{port}: connection refused" in str(failed)
    assert "NO_PROXY" in failed.next_steps[0]


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """Ensures that a SOCKS proxy can be named, as that of `ssh -D`."""
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:1")
    assert "connection refused" in str(refusal("https://moorage.example"))


@pytest.mark.parametrize("proxy", ["ftp://proxy.example", "http://[::1", "socks4://proxy.example"])
def test_a_proxy_that_is_none(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    """Ensures that a proxy that cannot be used is bad input, and that the sentence names the variables."""
    monkeypatch.setenv("ALL_PROXY", proxy)
    failed = refusal("https://moorage.example")
    assert failed.code is Code.BAD_INPUT
    assert "proxy" in str(failed)


Answer = tuple[int, str, str]
PAGES: dict[str, Answer] = {
    "a page to sign in": (200, "text/html; charset=utf-8", "<!DOCTYPE html><html></html>"),
    "JSON that is called a page": (200, "text/html", TEMPLATES),
    "no type": (200, "", "hello"),
    "no JSON": (200, "application/json", "<html>"),
    "null": (200, "application/json", "null"),
    "a list": (200, "application/json", "[]"),
    "nothing in it": (200, "application/json", "{}"),
    "other types": (
        200,
        "application/json",
        '{"templates": 1, "environments": {}, "kind": []}',
    ),
    "nested a thousandfold": (200, "application/json", "[" * 100_000),
    "an error of another server": (500, "application/json", "[]"),
    "an error without words": (404, "text/plain", "404 page not found"),
}
CALLS = [
    ("GET", "templates"), ("GET", "templates/small"), ("GET", "environments"), ("GET", "environments/demo"),
    ("GET", "environments/demo/history"), ("POST", "environments"), ("DELETE", "environments/demo"),
    ("POST", "environments/demo/cancel"), ("POST", "environments/demo/extend"), ("PUT", "freeze"),
    ("POST", "environments/demo/resume-teardown"), ("DELETE", "freeze"), ("POST", "sweeps"),
    ("GET", "sweeps/x"), ("GET", "capacity"),
]  # fmt: skip


@pytest.mark.parametrize("answer", PAGES.values(), ids=PAGES.keys())
def test_an_answer_that_is_not_moorages(answer: Answer) -> None:
    """Ensures that no command takes the answer of another server for Moorage's, whatever it asked for."""
    with serving(*answer) as port, Api(Connection(f"http://127.0.0.1:{port}", "t"), tries=1) as api:
        asks: list[Callable[[], object]] = [lambda call=call: api.call(*call) for call in CALLS]  # type: ignore[misc]
        for one in (
            *asks,
            lambda: api.text("environments/demo/kubeconfig"),
            lambda: list(api.follow("demo")),
        ):
            with pytest.raises(CliError, match="is not Moorage's API") as failed:
                one()
            assert failed.value.code is Code.UNREACHABLE
