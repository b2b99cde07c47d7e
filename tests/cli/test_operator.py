"""The operator's commands for programs: their answers and failures as JSON."""

import asyncio
import json
import signal
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.cli.test_commands import MAX_WAIT, Cli, ended
from tests.support.deadline import HANG

pytestmark = pytest.mark.slow


async def test_up_tells_programs_where_everything_is(tmp_path: Path) -> None:
    """Ensures that standard output is one line of JSON with the addresses, and that they answer."""
    process = await Cli(tmp_path).start("up", "--output", "json", "--state", "state")
    assert process.stdout is not None
    try:
        async with asyncio.timeout(MAX_WAIT):
            found = json.loads(await process.stdout.readline())
        assert set(found) == {
            "page", "api", "temporal_ui", "temporal", "control_plane", "directory", "host", "openid_provider",
            "codec_server", "person", "accounts", "connection", "environment", "logs",
        }  # fmt: skip
        answer = await asyncio.to_thread(urllib.request.urlopen, f"{found['api']}/healthz", timeout=HANG)
        answer.close()
        assert answer.status == 200
        assert found["connection"] == str(tmp_path / "state" / "connection.json")
        [context] = (await Cli(tmp_path)("context", "list", "-o", "json")).json
        assert (context["name"], context["url"], context["current"]) == ("local", found["api"], True)
        who = (await Cli(tmp_path)("whoami", "-o", "json")).json
        assert (who["email"], who["credential"]["source"]) == (found["person"], "the local stack")
    finally:
        process.send_signal(signal.SIGTERM)
        result = await ended(process)
    assert (result.code, result.out) == (0, ""), "more than the one line, or no good end"
    assert "Stopping." in result.err
    assert (await Cli(tmp_path)("context", "list", "-o", "json")).json == []


@pytest.mark.parametrize("command", ["worker", "api", "codec-server"])
async def test_a_process_that_cannot_start_says_so_to_programs(tmp_path: Path, command: str) -> None:
    """Ensures that with --output json a failure is a document with its exit code, on standard error."""
    result = await Cli(tmp_path)(command, "--output", "json")
    assert (result.code, result.out) == (2, "")
    assert json.loads(result.err)["exit_code"] == 2


async def test_up_says_what_to_do_when_a_part_has_ended(tmp_path: Path) -> None:
    process = await Cli(tmp_path).start("up", "--output", "json", "--state", "state")
    assert process.stdout is not None
    async with asyncio.timeout(MAX_WAIT):
        await process.stdout.readline()
    [server] = [
        each
        for each in psutil.process_iter(["cmdline", "cwd"])
        if each.info["cwd"] == str(tmp_path) and "start-dev" in (each.info["cmdline"] or ())
    ]
    server.kill()
    result = await ended(process)
    assert result.code == 1
    assert "the Temporal server ended by itself; its log is " in result.err
    assert "start it again with moorage up: its environments go on" in result.err
