"""Logs: one form, the context of what they are about, and no secret."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from temporalio.testing import ActivityEnvironment

from worker.settings.groups.process import Log, LogFormat, LogLevel
from worker.telemetry import HIDDEN, configure_logging


@pytest.fixture(autouse=True)
def afterwards_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
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
