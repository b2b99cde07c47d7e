"""Ensures that a command is one trace, that it goes on with that of a pipeline, and that it can be seen."""

import http.server
import json
import threading
from collections.abc import Iterator

import click.testing
import pytest

from contracts.telemetry.trace_context import new_trace, parse_traceparent
from starter.cli.app import build
from starter.cli.client import command_trace
from starter.cli.client.connection import Connection
from starter.cli.client.minimal_client import call_once
from starter.cli.terminal import verbosity


class Server:
    """Keeps the trace of each request, and answers all with the same."""

    def __init__(self) -> None:
        self.url = ""
        self.status, self.content = 200, {"name": "demo", "lives": []}  # type: tuple[int, object]
        self.traces: list[str] = []


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    serving = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            serving.traces.append(self.headers.get("Traceparent", ""))
            content = json.dumps(serving.content).encode()
            self.send_response(serving.status)
            kind = "application/json" if serving.status < 400 else "application/problem+json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815 (the library's name)

        def log_message(self, *_: object) -> None:
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving.url = f"http://127.0.0.1:{listening.server_port}"
    thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
    thread.start()
    monkeypatch.setenv("MOORAGE_URL", serving.url)
    monkeypatch.setenv("MOORAGE_TOKEN", "token-of-a-developer")
    monkeypatch.delenv("TRACEPARENT", raising=False)
    command_trace.command_trace.cache_clear()
    yield serving
    command_trace.command_trace.cache_clear()
    verbosity.set_verbose(False)
    listening.shutdown()
    listening.server_close()
    thread.join()


def run(*arguments: str) -> click.testing.Result:
    return click.testing.CliRunner().invoke(build(), arguments)


def test_all_calls_of_a_command_are_one_trace(server: Server) -> None:
    run("history", "demo")
    run("history", "demo")
    call_once(Connection(server.url, "t"), "POST", "environments/demo/credential", body={})
    first, *others = [parse_traceparent(trace) for trace in server.traces]
    assert first
    assert {trace.trace_id for trace in others if trace} == {first.trace_id}
    assert not first.sampled, "the command records nothing, so its parent is never there"


def test_a_command_goes_on_with_the_trace_of_a_pipeline(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = new_trace()
    monkeypatch.setenv("TRACEPARENT", trace.traceparent)
    run("history", "demo")
    assert server.traces == [trace.traceparent]


def test_nonsense_in_the_variable_is_ignored(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEPARENT", "nonsense\r\nX-Evil: 1")
    assert run("history", "demo").exit_code == 0
    assert parse_traceparent(server.traces[0])


@pytest.mark.parametrize("arguments", [("-v", "history", "demo"), ("history", "demo", "--verbose")])
def test_verbose_shows_each_call_on_standard_error(server: Server, arguments: tuple[str, ...]) -> None:
    shown = run(*arguments)
    [line] = [line for line in shown.stderr.splitlines() if "trace" in line]
    trace = parse_traceparent(server.traces[0])
    assert trace
    assert line.startswith("GET environments/demo/history: 200 in ")
    assert line.endswith(f"trace {trace.trace_id}")
    assert trace.trace_id not in shown.stdout
    assert "trace" not in run("history", "demo").stderr, "it stays verbose"


@pytest.mark.parametrize(("status", "is_shown"), [(500, True), (404, False)])
def test_a_failure_of_the_api_names_the_trace(server: Server, status: int, is_shown: bool) -> None:
    trace = new_trace().trace_id
    server.status = status
    server.content = {
        "type": "urn:moorage:problem:internal-error", "title": "Moorage has failed", "status": status,
        "detail": "This is a mistake in Moorage.", "trace": trace,
    }  # fmt: skip
    shown = run("history", "demo")
    assert (f"trace: {trace}" in shown.stderr) is is_shown
    assert json.loads(run("history", "demo", "--output", "json").stderr)["trace"] == trace
