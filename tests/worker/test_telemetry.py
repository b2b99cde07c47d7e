"""Logs: one form, the context of what they are about, and no secret."""

import errno
import json
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from temporalio.testing import ActivityEnvironment

from contracts.telemetry.trace_context import current_trace, new_trace
from starter.auth import security_log
from starter.auth.security_log import Verdict
from worker.settings.groups.process import Log, LogFormat, LogLevel
from worker.telemetry import HIDDEN, SECURITY_LOGGER, configure_logging


@pytest.fixture(autouse=True)
def afterwards_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # `configure_logging` makes a logger keep its form, which would stay for the tests of other files.
    monkeypatch.setattr(security_log, "_log", structlog.stdlib.get_logger(SECURITY_LOGGER))
    root, security = logging.getLogger(), logging.getLogger(SECURITY_LOGGER)
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    for handler in security.handlers:
        handler.close()
    security.handlers, security.propagate = [], True
    current_trace.set(None)
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_secrets_are_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    """Ensures that no value under a key that sounds like a secret is written, however deep it is."""
    configure_logging(Log(format=LogFormat.JSON))
    structlog.stdlib.get_logger("test").info(
        "hello",
        api_key="planted",
        headers={"X-Api-Key": "planted", "accept": "json"},
        of=[{"kubeconfig": "planted"}],
        answer={"bootstrap-manifest": "planted"},
        name="kept",
    )
    [line] = lines(capsys)
    assert "planted" not in json.dumps(line)
    assert line["api_key"] == HIDDEN
    assert line["headers"] == {"X-Api-Key": HIDDEN, "accept": "json"}
    assert (line["event"], line["name"], line["level"]) == ("hello", "kept", "info")


def test_lines_of_libraries_have_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    """Ensures that a line of the SDK, or any library, is JSON like ours, and errors carry their trace."""
    configure_logging(Log(format=LogFormat.JSON))
    logging.getLogger("temporalio.worker").warning("poll %s failed", 3, extra={"token": "planted"})
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("temporalio.worker").exception("gone")
    warning, error = lines(capsys)
    assert (warning["event"], warning["logger"]) == ("poll 3 failed", "temporalio.worker")
    assert "planted" not in json.dumps(warning)
    assert error["exception"][0]["exc_value"] == "broken"


@pytest.mark.parametrize("form", [LogFormat.JSON, LogFormat.CONSOLE])
def test_a_trace_shows_no_values(capsys: pytest.CaptureFixture[str], form: LogFormat) -> None:
    """Ensures that an error is written with its place, and without what the variables there held."""
    configure_logging(Log(format=form))

    def call(manifest: str) -> None:
        raise ValueError("broken")

    try:
        call("".join(["plan", "ted"]))
    except ValueError:
        structlog.stdlib.get_logger("test").exception("gone")
    text = capsys.readouterr().err
    assert "broken" in text
    assert "test_a_trace_shows_no_values" in text, "it does not say where"
    assert "planted" not in text


def test_level(capsys: pytest.CaptureFixture[str]) -> None:
    """Ensures that less than the level is not written, and that a client's line a call never is."""
    configure_logging(Log(format=LogFormat.JSON, level=LogLevel.INFO))
    logging.getLogger("any").debug("no")
    logging.getLogger("httpx").info("HTTP Request: GET https://console.example")
    logging.getLogger("any").info("yes")
    assert [line["event"] for line in lines(capsys)] == ["yes"]


async def test_activity_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Ensures that a line from within a step says of which environment and which try it is."""
    configure_logging(Log(format=LogFormat.JSON))

    async def step() -> None:
        structlog.stdlib.get_logger("test").info("working")

    environment = ActivityEnvironment()
    await environment.run(step)
    [line] = lines(capsys)
    assert line["workflow_id"] == environment.info.workflow_id
    assert line["activity"] == environment.info.activity_type
    assert line["attempt"] == environment.info.attempt


def test_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Ensures that the form for people is one line, not JSON."""
    configure_logging(Log(format=LogFormat.CONSOLE))
    structlog.stdlib.get_logger("test").info("hello", name="kept", token="planted")
    text = capsys.readouterr().err
    assert "hello" in text
    assert "name=kept" in text
    assert "planted" not in text


def test_a_line_names_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    """Ensures that a line has the ids of the trace by OpenTelemetry's names, ours or a library's."""
    configure_logging(Log(format=LogFormat.JSON))
    logging.getLogger("any").info("before")
    trace = new_trace()
    current_trace.set(trace)
    structlog.stdlib.get_logger("test").info("ours")
    logging.getLogger("any").info("theirs")
    before, ours, theirs = lines(capsys)
    assert "trace_id" not in before
    for line in (ours, theirs):
        assert (line["trace_id"], line["span_id"]) == (trace.trace_id, trace.span_id)


def record_access() -> None:
    security_log.record(Verdict.DENIED, actor="eve@example.com", verb="show", object="demo", peer="192.0.2.1")


def test_the_security_log_is_with_all_others_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Log(format=LogFormat.JSON))
    record_access()
    written = capsys.readouterr()
    assert not written.out
    assert json.loads(written.err)["logger"] == SECURITY_LOGGER


@pytest.mark.parametrize("form", [LogFormat.JSON, LogFormat.CONSOLE])
def test_the_security_log_as_a_stream_of_its_own(capsys: pytest.CaptureFixture[str], form: LogFormat) -> None:
    """Ensures that standard output has the security log and nothing else, always as JSON, at any level."""
    configure_logging(Log(format=form, level=LogLevel.ERROR, security="stdout"))
    trace = new_trace()
    current_trace.set(trace)
    record_access()
    logging.getLogger("any").error("other")
    written = capsys.readouterr()
    line = json.loads(written.out)
    assert (line["actor"], line["verdict"], line["trace_id"]) == ("eve@example.com", "denied", trace.trace_id)
    assert line["timestamp"].endswith("Z")
    assert "other" in written.err
    assert "eve@" not in written.err


def test_the_security_log_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ensures that only its owner reads the file, that it is appended to, and that it can be rotated."""
    file = tmp_path / "security.jsonl"
    for _ in range(2):
        configure_logging(Log(security=str(file)))
        record_access()
    assert len(file.read_text().splitlines()) == 2
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.rename(tmp_path / "security.jsonl.1")
    record_access()
    assert json.loads(file.read_text())["actor"] == "eve@example.com"
    assert "eve" not in capsys.readouterr().err


def test_a_security_log_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        configure_logging(Log(security=str(tmp_path / "missing" / "security.jsonl")))


def test_a_security_log_that_can_no_longer_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ensures that its lines are on standard error meanwhile, and that no request fails for it."""
    file = tmp_path / "folder" / "security.jsonl"
    file.parent.mkdir()
    configure_logging(Log(format=LogFormat.JSON, level=LogLevel.ERROR, security=str(file)))
    file.rename(tmp_path / "security.jsonl.1")
    file.parent.rmdir()
    for _ in range(2):
        record_access()
    for line in lines(capsys):
        assert (line["actor"], line["not_written_to"]) == ("eve@example.com", str(file))
        assert "No such file" in line["cause"]
    file.parent.mkdir()
    for _ in range(2):
        record_access()
    assert len(file.read_text().splitlines()) == 2
    assert not capsys.readouterr().err


def test_a_full_disk_loses_no_line_of_the_security_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "security.jsonl"
    configure_logging(Log(format=LogFormat.JSON, security=str(file)))
    [handler] = logging.getLogger(SECURITY_LOGGER).handlers

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    assert isinstance(handler, logging.StreamHandler)
    with monkeypatch.context() as now:
        now.setattr(handler, "flush", full)
        record_access()
    [line] = lines(capsys)
    assert line["actor"] == "eve@example.com"
    assert "No space left" in line["cause"]
    record_access()
    assert json.loads(file.read_text().splitlines()[-1])["actor"] == "eve@example.com"
    assert not capsys.readouterr().err


def test_a_security_log_that_others_have_put_there(tmp_path: Path) -> None:
    """Ensures that it is never a link, a second name, a pipe, or a file that others can write."""
    victim, file = tmp_path / "victim", tmp_path / "security.jsonl"
    victim.write_text("")

    def refused(why: str) -> None:
        with pytest.raises(OSError, match=why):
            configure_logging(Log(security=str(file)))
        file.unlink()

    file.symlink_to(victim)
    refused("it is a link")
    file.symlink_to("/dev/stdout")
    refused("it is a link")
    file.hardlink_to(victim)
    refused("second name")
    os.mkfifo(file)
    refused("No such device|it is no file")
    file.write_text("")
    file.chmod(0o622)
    refused("other users can write it")
    file.write_text("")
    file.chmod(0o640)
    configure_logging(Log(security=str(file)))
    record_access()
    assert file.read_text()
    assert not victim.read_text()


@pytest.mark.parametrize("place", ["", "log.jsonl", "STDOUT", "syslog://x"])
def test_places_that_the_security_log_cannot_have(place: str) -> None:
    with pytest.raises(ValueError, match="must be stderr, stdout or the absolute path of a file"):
        Log(security=place)
