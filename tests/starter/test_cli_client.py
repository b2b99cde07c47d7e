"""Following an environment past what stands between: gateways that are away, and odd characters in texts."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from contracts.environment import Phase
from starter.cli import client
from starter.cli.client import Api
from starter.cli.connection import Connection
from starter.cli.failing import CliError, Code
from starter.views import EnvironmentView

Answer = tuple[int, str, str]

STREAM = "text/event-stream"


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
            status, kind, text = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def begin(wanted: list[Answer]) -> Api:
            answers[:] = wanted
            return Api(Connection(f"http://127.0.0.1:{server.server_port}", "t"))

        yield begin
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
    monkeypatch.setattr(client, "RECONNECT_SECONDS", 0.7)
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


def test_texts_with_odd_line_separators(served: Callable[[list[Answer]], Api]) -> None:
    """Ensures that a reason with characters that some take for the end of a line breaks nobody's watching."""
    remark = "a\u2028b\u2029c\x85d"
    with served([(200, STREAM, event(remark) + event(remark, ended=True))]) as api:
        assert [view.remark for view in api.follow("demo")] == [remark, remark]


def test_what_is_no_event_of_ours(served: Callable[[list[Answer]], Api]) -> None:
    """Ensures that a stream of something else is told as that, not as a crash."""
    with (
        served([(200, STREAM, "event: status\ndata: hello\n\n")]) as api,
        pytest.raises(CliError, match="is not Moorage's API"),
    ):
        list(api.follow("demo"))


def test_a_url_that_is_none() -> None:
    """Ensures that a broken URL is bad input."""
    with pytest.raises(CliError, match="is not a URL") as failed:
        Api(Connection("http://[::1", "t"))
    assert failed.value.code is Code.BAD_INPUT
