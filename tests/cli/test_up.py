"""`moorage up`: the settings that it passes on and those that it names, and its last words."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest
from click.testing import CliRunner

import moorage
from embedded.stack import stack as stacks
from embedded.stack.processes import ProcessSpecs
from embedded.stack.stack import Options, Stack
from embedded.stack.state_dir import StackFolder
from starter.cli.app import build


def started_with(
    monkeypatch: pytest.MonkeyPatch, folder: Path, given: Mapping[str, str]
) -> tuple[Options, str]:
    """What `moorage up` starts a stack with, and what it prints."""
    found: list[Options] = []

    async def run(_: Path, options: Options, *__: object) -> None:
        found.append(options)

    monkeypatch.setattr(stacks, "up", run)
    done = CliRunner(env=dict(given)).invoke(moorage.up, ["--state", str(folder)])
    assert done.exit_code == 0, done.output
    [options] = found
    return options, done.output


def test_settings_are_honoured_or_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ensures that what fits any stack reaches its processes, and that every other setting is named."""
    honoured = {
        "MOORAGE_TEMPLATES": str(tmp_path),
        "MOORAGE_LOG__LEVEL": "debug",
        "MOORAGE_QUOTAS__PERSON__ENVIRONMENTS": "3",
        "MOORAGE_TIMEOUTS__STEP_TIMEOUT": "9m",
    }
    foreign = {"MOORAGE_CONTROL_PLANE__URL": "https://example.com", "MOORAGE_CONFIG": "x.toml"}
    used_otherwise = {"MOORAGE_URL": "https://example.com", "MOORAGE_TOKEN": "secret-token"}
    for name in [name for name in os.environ if name.startswith("MOORAGE_")]:
        monkeypatch.delenv(name)
    options, printed = started_with(
        monkeypatch,
        tmp_path / "state",
        {**honoured, **foreign, **used_otherwise, "MOORAGE_API__PORT": "7400"},
    )
    assert (options.environment, options.api_port) == (honoured, 7400)
    assert printed == f"Ignored, because this stack has its own: {', '.join(sorted(foreign))}\n"
    folder = StackFolder(tmp_path / "state")
    folder.open(fresh=True)
    try:
        settings = ProcessSpecs(folder, options).settings()
    finally:
        folder.close()
    assert settings.items() >= honoured.items()
    assert settings.get("MOORAGE_CONTROL_PLANE__URL") != foreign["MOORAGE_CONTROL_PLANE__URL"]


def test_nothing_is_named_without_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("MOORAGE_")]:
        monkeypatch.delenv(name)
    assert started_with(monkeypatch, tmp_path, {})[1] == ""


@pytest.mark.parametrize("prepared", [True, False])
async def test_its_last_words_say_what_to_do(tmp_path: Path, prepared: bool) -> None:
    """Ensures that it ends with "ready", how to stop it, and three commands that exist."""
    printed: list[str] = []

    async def prepare(_: Stack) -> str:
        return "by moorage setup"

    stack = cast(Stack, SimpleNamespace(folder=tmp_path, wait_for_host=AsyncMock()))
    show: Callable[[str], Any] = printed.append
    await stacks._prepare(stack, show, prepare if prepared else None)
    assert len(printed) == 1 + prepared, "something comes after it, or the set-up before it is missing"
    ready, elsewhere, *commands = printed[-1].strip().splitlines()
    assert re.match(r"Ready\. Ctrl-C stops it", ready)
    assert str(tmp_path) in ready
    assert elsewhere == "In another terminal, from any folder:"
    assert len(commands) == 3
    for line in commands:
        program, *arguments = line.split()
        shown = CliRunner().invoke(build(), [*arguments, "--help"])
        assert (program, shown.exit_code) == ("moorage", 0), line
