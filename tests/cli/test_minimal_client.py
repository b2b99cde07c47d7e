"""The first call of a command: without httpx if it succeeds, else as the whole client tells it."""

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import pytest

from starter.cli.client import http_client, minimal_client
from starter.cli.client.api import Api
from starter.cli.client.connection import Connection
from starter.cli.client.credentials.session import Session
from starter.cli.client.minimal_client import NoAnswer, RawAnswer, call_once
from starter.cli.client.time_limits import TRIES
from starter.cli.errors import CliError, Code

CREDENTIAL = {
    "certificate": "c", "person": "ada@example.com", "life": "l", "valid_seconds": 600,
    "expires_at": datetime(2030, 1, 1, tzinfo=UTC).isoformat(),
}  # fmt: skip
PATH = "environments/demo/credential"
JSON = "application/json"


def post(connection: Connection) -> Any:
    with Api(connection, quiet=True) as api:
        return api.call("POST", PATH, body={}, once=True)


class Server:
    """Answers each request with the next of the answers, the last one always: status, type and content."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str, Any]] = [(200, JSON, CREDENTIAL)]
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.url = ""


@pytest.fixture
def server() -> Iterator[Server]:
    answering = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.loads(sent) if sent else None
            answering.requests.append((self.path, dict(self.headers), body))
            answers = answering.answers
            status, media_type, content = answers.pop(0) if len(answers) > 1 else answers[0]
            encoded = content.encode() if isinstance(content, str) else json.dumps(content).encode()
            if status:
                self.send_response(status)
                self.send_header("Content-Type", media_type)
                self.send_header("Content-Length", str(len(encoded)))
                self.end_headers()
                self.wfile.write(encoded)

        do_GET = do_POST  # noqa: N815 (the library's name)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        answering.url = f"http://127.0.0.1:{serving.server_port}"
        yield answering
        serving.shutdown()


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def test_sends_the_body_with_the_token(server: Server) -> None:
    answer = call_once(Connection(f"{server.url}/moorage", "the-token"), "POST", PATH, body={"a": "ä"})
    assert isinstance(answer, RawAnswer)
    assert (answer.status, json.loads(answer.content)) == (200, CREDENTIAL)
    [(path, headers, body)] = server.requests
    assert (path, body) == (f"/moorage/api/v1/{PATH}", {"a": "ä"})
    assert (headers["Authorization"], headers["Content-Type"]) == ("Bearer the-token", JSON)


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "http_proxy", "ALL_PROXY"])
def test_leaves_a_proxy_to_the_client(server: Server, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    assert call_once(Connection(server.url, "t"), "POST", PATH, body={}) is None
    assert not server.requests


@pytest.mark.parametrize(
    "url",
    [
        "http://bücher.invalid",
        "http://a:b@127.0.0.1:1",
        "http://x:99999",
        "http://[::1",
    ],
)
def test_leaves_an_odd_url_to_the_client(url: str) -> None:
    assert call_once(Connection(url, "t"), "POST", PATH, body={}) is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:1", "connection refused"),
        ("https://127.0.0.1:1", "connection refused"),
        ("http://nowhere.invalid", "unknown host"),
    ],
)
def test_a_call_that_does_not_arrive_is_reported_as_by_the_client(
    monkeypatch: pytest.MonkeyPatch, url: str, words: str
) -> None:
    monkeypatch.setattr(http_client, "PAUSE_SECONDS", 0.0)
    found = call_once(Connection(url, "t"), "POST", PATH, body={})
    assert isinstance(found, NoAnswer)
    assert not found.was_sent
    with pytest.raises(CliError, match=words) as failed:
        post(Connection(url, "t"))
    assert "may have accepted" not in str(failed.value)


def test_a_change_whose_answer_is_lost_may_have_been_accepted(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "PAUSE_SECONDS", 0.0)
    server.answers = [(0, "", "")]
    with pytest.raises(CliError, match="may have accepted the request nevertheless"):
        post(Connection(server.url, "t"))
    assert len(server.requests) == TRIES


def test_the_query_is_as_the_client_writes_it(server: Server) -> None:
    """Ensures that each type and each character arrives alike, whichever of both makes the call."""
    query = {
        "mine": True,
        "ended": False,
        "owner": "ü b&c@x+y.org",
        "none": None,
        "label": ["a=1", "b"],
        "limit": 200,
    }
    server.answers = [(200, JSON, {"environments": [], "next": None, "frozen": None})]
    with Api(Connection(server.url, "t")) as api:
        for _ in range(2):
            api.call("GET", "environments", query=query)
    direct, by_httpx = (parse_qsl(urlsplit(path).query) for path, _, _ in server.requests)
    assert direct == by_httpx
    assert ("owner", "ü b&c@x+y.org") in direct
    assert "Accept-Encoding" in server.requests[1][1], "the second read was made without httpx as well"


def test_gives_nothing_for_a_file_of_authorities_that_cannot_be_read(tmp_path: Path) -> None:
    """Ensures that the client, which names the setting, tells the problem."""
    connection = Connection("https://127.0.0.1:1", "t", tmp_path / "none.pem", "--ca-file")
    assert call_once(connection, "POST", PATH, body={}) is None
    with pytest.raises(CliError, match="--ca-file"):
        post(connection)


def test_gives_nothing_for_an_answer_that_is_too_large(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minimal_client, "LONGEST_ANSWER", 10)
    assert call_once(Connection(server.url, "t"), "POST", PATH, body={}) is None


class Renewing:
    """A session whose first token is withdrawn before it ends."""

    def access_token(self, *, rejected: str = "", timeout: float | None = None) -> str:
        return "second" if rejected == "first" else "first"


def test_a_withdrawn_token_of_a_sign_in_is_renewed_by_the_client(server: Server) -> None:
    refused = (401, JSON, {"title": "t", "detail": "Who are you"})
    server.answers = [refused, refused, (200, JSON, CREDENTIAL)]
    connection = Connection(server.url, session=cast(Session, Renewing()))
    assert post(connection) == CREDENTIAL
    sent = [headers["Authorization"] for _, headers, _ in server.requests]
    assert sent == ["Bearer first", "Bearer first", "Bearer second"]


def test_a_success_is_one_request(server: Server) -> None:
    assert post(Connection(server.url, "t")) == CREDENTIAL
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        ((403, JSON, {"title": "t", "detail": "It is for others"}), Code.NOT_ALLOWED, "it is for others"),
        ((429, JSON, {"title": "t", "detail": "Too many"}), Code.UNREACHABLE, "too many"),
        ((401, JSON, {"title": "t", "detail": "Who are you"}), Code.NOT_ALLOWED, "who are you"),
        ((200, "text/html", "<p>"), Code.UNREACHABLE, "is not Moorage's API"),
        ((200, JSON, "no JSON"), Code.UNREACHABLE, "is not Moorage's API"),
        ((302, "text/html", ""), Code.UNREACHABLE, "redirect"),
    ],
)
def test_a_refusal_is_reported_as_by_the_client_and_not_retried(
    server: Server, answer: tuple[int, str, Any], code: Code, message: str
) -> None:
    """Ensures that a refusal counts once in the API's limits and in its security log."""
    server.answers = [answer]
    with pytest.raises(CliError, match=message) as raised:
        post(Connection(server.url, "t"))
    assert raised.value.code is code
    assert len(server.requests) == 1


@pytest.mark.parametrize("first", [(502, "text/html", "<p>"), (0, "", "")])
def test_an_answer_of_a_proxy_and_a_cut_connection_are_tried_again(
    server: Server, first: tuple[int, str, Any]
) -> None:
    server.answers = [first, (200, JSON, CREDENTIAL)]
    assert post(Connection(server.url, "t")) == CREDENTIAL
    assert len(server.requests) == 2


PLUGIN = ("credential", "demo", "--life", "l", "--person", "ada@example.com")
LIST: dict[str, Any] = {"environments": [], "next": None, "frozen": None}


@pytest.mark.parametrize(
    ("command", "answer", "printed"),
    [
        (PLUGIN, CREDENTIAL, '"clientCertificateData": "c"'),
        (("list", "-o", "json"), LIST, "[]"),
        (("templates", "-o", "json"), {"templates": []}, "[]"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_command_of_one_call_imports_no_http_client(
    server: Server, tmp_path: Path, command: tuple[str, ...], answer: Any, printed: str
) -> None:
    """Ensures that it starts fast: the plugin runs beside each `kubectl`."""
    server.answers = [(200, JSON, answer)]
    script = (
        "import sys, moorage\n"
        f"sys.argv = {['moorage', *command]!r}\n"
        "try: moorage.main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'httpx', 'httpcore', 'yaml', 'asyncio', 'urllib.request'} & set(sys.modules)))\n"
    )
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "MOORAGE_URL": server.url, "MOORAGE_TOKEN": "t"
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    *shown, imported = done.stdout.splitlines()
    assert printed in "\n".join(shown)
    assert imported == "[]"
