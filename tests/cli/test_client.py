"""Following an environment past what stands between: gateways that are away, and odd characters in texts."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from contracts.environment.models import Phase
from starter.cli.client import api as api_module
from starter.cli.client import http_client, slow_notice
from starter.cli.client.api import Api
from starter.cli.client.connection import Connection
from starter.cli.errors import CliError, Code
from starter.environments.schemas import EnvironmentView

Answer = tuple[int, str, str]

STREAM = "text/event-stream"
#: The method and key of each request to the server, and its Accept-Encoding. And what ends its silence.
asked: list[tuple[str, str | None]] = []
encodings: list[str] = []
quiet = threading.Event()


def event(remark: str = "", *, ended: bool = False) -> str:
    view = EnvironmentView(
        name="demo", life="l", owner="a@example.com", team="blue", template="small", host="main",
        phase=Phase.GONE if ended else Phase.READY, ended=ended, remark=remark,
        requested_at=datetime.now(UTC),
    )  # fmt: skip
    return f"event: {'end' if ended else 'status'}\ndata: {view.model_dump_json()}\n\n"


@pytest.fixture
def served() -> Iterator[Callable[[list[Answer]], Api]]:
    """The client of a server that gives these answers one after the other, and the last one for ever."""
    answers: list[Answer] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append((self.command, self.headers.get("Idempotency-Key")))
            encodings.append(self.headers.get("Accept-Encoding", ""))
            status, kind, text = answers.pop(0) if len(answers) > 1 else answers[0]
            if kind == "silent":
                quiet.wait(20)
                return
            self.send_response(status)
            self.send_header("Content-Type", kind)
            if kind == "moved":
                self.send_header("Location", text)
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_GET  # noqa: N815 (the library's name)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def begin(wanted: list[Answer]) -> Api:
            answers[:] = wanted
            asked.clear()
            encodings.clear()
            quiet.clear()
            return Api(Connection(f"http://127.0.0.1:{server.server_port}", "t"))

        yield begin
        quiet.set()
        server.shutdown()


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_gateway_that_is_away_for_a_moment(served: Callable[[list[Answer]], Api], status: int) -> None:
    """Ensures that a stream is taken up again when what stands before the API says that it is away."""
    away = (status, "text/html", "<html>away</html>")
    with served([(200, STREAM, event()), away, away, (200, STREAM, event(ended=True))]) as api:
        assert [view.ended for view in api.follow("demo")] == [False, True]


def test_a_gateway_that_stays_away(
    served: Callable[[list[Answer]], Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensures that a stream that does not come back ends as unreachable, in the words of who answered."""
    monkeypatch.setattr(http_client, "RECONNECT_SECONDS", 0.7)
    problem = {
        "title": "A system that is needed does not answer",
        "detail": "Temporal is away.",
        "status": 503,
    }
    with (
        served([(503, "application/problem+json", json.dumps(problem))]) as api,
        pytest.raises(CliError, match="temporal is away") as failed,
    ):
        list(api.follow("demo"))
    assert failed.value.code is Code.UNREACHABLE


def test_streams_are_requested_uncompressed(served: Callable[[list[Answer]], Api]) -> None:
    """Ensures that no proxy compresses a stream, because it would hold events back until it has enough."""
    with served([(200, STREAM, event(ended=True)), (200, "application/json", "{}")]) as api:
        assert [view.ended for view in api.follow("demo")] == [True]
    assert encodings == ["identity"]


def test_texts_with_odd_line_separators(served: Callable[[list[Answer]], Api]) -> None:
    """Ensures that a reason with Unicode line separators does not break the stream of a watcher."""
    remark = "a\u2028b\u2029c\x85d"
    with served([(200, STREAM, event(remark) + event(remark, ended=True))]) as api:
        assert [view.remark for view in api.follow("demo")] == [remark, remark]


def test_what_is_no_event_of_ours(served: Callable[[list[Answer]], Api]) -> None:
    """Ensures that a stream of another server is reported as such, not as a crash."""
    with (
        served([(200, STREAM, "event: status\ndata: hello\n\n")]) as api,
        pytest.raises(CliError, match="is not Moorage's API"),
    ):
        list(api.follow("demo"))


HTML = "text/html"


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_answers_for_a_moment(
    served: Callable[[list[Answer]], Api], monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """Ensures that a call is repeated with its key when a proxy says that the API is away."""
    monkeypatch.setattr(http_client, "PAUSE_SECONDS", 0.0)
    away = (status, HTML, "<html>away</html>")
    done = {"kind": "created", "message": "It is being made.", "name": "demo"}
    with served([away, away, (200, "application/json", json.dumps(done))]) as api:
        assert api.call("POST", "environments", body={}, key="k") == done
    assert asked == [("POST", "k")] * 3


@pytest.mark.parametrize(("method", "may_be_taken"), [("POST", True), ("GET", False)])
def test_a_proxy_goes_on_answering(
    served: Callable[[list[Answer]], Api],
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    may_be_taken: bool,
) -> None:
    """Ensures that it is said that a proxy answered, and of a change that it may have accepted."""
    monkeypatch.setattr(http_client, "PAUSE_SECONDS", 0.0)
    with served([(502, HTML, "<html>")]) as api, pytest.raises(CliError) as failed:
        api.call(method, "environments", key="k")
    assert failed.value.code is Code.UNREACHABLE
    assert "a proxy in front of the API at http://127.0.0.1" in str(failed.value)
    assert "answered 502 Bad Gateway" in str(failed.value)
    assert ("may have accepted" in str(failed.value)) == may_be_taken


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_named_and_not_followed(served: Callable[[list[Answer]], Api], status: int) -> None:
    """Ensures that a token goes to no other place than the one that was named."""
    target = "https://moorage.example.com/api/v1/environments"
    with served([(status, "moved", target)]) as api, pytest.raises(CliError) as failed:
        api.call("POST", "environments", body={}, key="k")
    assert len(asked) == 1
    assert f"redirects to {target}" in str(failed.value)
    assert failed.value.next_steps == ("if the API is there: MOORAGE_URL=https://moorage.example.com",)
    assert failed.value.code is Code.UNREACHABLE


def test_a_page_of_something_else(served: Callable[[list[Answer]], Api]) -> None:
    """Ensures that an answer of another server is reported as such."""
    with (
        served([(200, HTML, "<html>hello</html>")]) as api,
        pytest.raises(CliError, match="is not Moorage's API"),
    ):
        api.call("GET", "environments")


def test_a_slow_api(
    served: Callable[[list[Answer]], Api],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Ensures that the wait is reported once, and that a read gives up after one timeout in all."""
    monkeypatch.setattr(slow_notice, "NOTICE_AFTER_SECONDS", 0.1)
    monkeypatch.setattr(api_module, "READ_SECONDS", 0.5)
    monkeypatch.setattr(http_client, "READ_SECONDS", 0.5)
    with served([(200, "silent", "")]) as api, pytest.raises(CliError, match="no answer in time") as failed:
        api.call("GET", "environments")
    assert failed.value.code is Code.UNREACHABLE
    assert asked == [("GET", None)], "each try has waited for as long again"
    assert capfd.readouterr().err == "waiting for the API …\n"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:1", "connection refused"),
        ("http://nowhere.invalid:1", "unknown host"),
    ],
)
def test_why_it_cannot_be_reached(monkeypatch: pytest.MonkeyPatch, url: str, reason: str) -> None:
    """Ensures that the reason is named."""
    monkeypatch.setattr(http_client, "PAUSE_SECONDS", 0.0)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with (
        Api(Connection(url, "t")) as api,
        pytest.raises(CliError, match=f"cannot reach the API at {re.escape(url)}: {reason}"),
    ):
        api.call("GET", "environments")


@pytest.mark.parametrize(
    ("method", "error", "is_open"),
    [
        ("POST", httpx.RemoteProtocolError("it was closed"), True),
        ("POST", httpx.ReadTimeout("too slow"), True),
        ("DELETE", httpx.ReadError("reset"), True),
        ("POST", httpx.ConnectError("refused"), False),
        ("POST", httpx.WriteError("reset"), False),
        ("GET", httpx.ReadTimeout("too slow"), False),
    ],
)
def test_a_change_whose_answer_is_lost(
    monkeypatch: pytest.MonkeyPatch, method: str, error: httpx.HTTPError, is_open: bool
) -> None:
    """Ensures that a person learns that it may have happened, also if later attempts did not connect."""
    monkeypatch.setattr(http_client, "PAUSE_SECONDS", 0.0)
    errors: list[Exception] = [error, *(httpx.ConnectError("refused") for _ in range(9))]

    def fail(*_: object, **__: object) -> httpx.Response:
        raise errors.pop(0)

    with Api(Connection("http://127.0.0.1:1", "t")) as api:
        monkeypatch.setattr(api._client._http, "request", fail)
        with pytest.raises(CliError) as failed:
            api.call(method, "environments/demo/resize", body={})
    assert ("may have accepted the request nevertheless" in str(failed.value)) is is_open
    assert ("check before you try again: moorage list" in failed.value.next_steps) is is_open


def test_a_url_that_is_none() -> None:
    """Ensures that a broken URL is bad input."""
    with Api(Connection("http://[::1", "t")) as api, pytest.raises(CliError, match="is not a URL") as failed:
        api.call("GET", "environments")
    assert failed.value.code is Code.BAD_INPUT
