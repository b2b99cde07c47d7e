"""The commands about ends as people run them: what they say, in whose zone, and with which exit code."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from embedded.stack.stack import Stack
from starter.cli.app import build
from starter.cli.client.api import Api
from tests.cli.test_commands import Cli
from tests.support.stack import BOB, unique


@pytest.fixture
def in_tokyo(stack: Stack, tmp_path: Path) -> Cli:
    """Bob's command, on a machine that is nine hours ahead of UTC."""
    token = stack.token_of(BOB.email)
    return Cli(tmp_path, MOORAGE_URL=stack.api_url, MOORAGE_TOKEN=token, TZ="Asia/Tokyo")


@pytest.mark.slow
async def test_an_end_is_moved_and_shown_in_the_readers_zone(in_tokyo: Cli) -> None:
    """Ensures that extend and history print times in the zone of the reader."""
    name = unique()
    assert (await in_tokyo("request", name, "small", "--ttl", "2h")).code == 0
    extended = await in_tokyo("extend", name, "--by", "1d")
    assert extended.code == 0, extended.err
    assert re.search(r"it ends \w{3} \d{4}-\d\d-\d\d \d\d:\d\d JST, in 1d 1h", extended.out)
    history = await in_tokyo("history", name)
    assert re.search(rf"{BOB.email} extended it by 1d: ends .* JST$", history.out, re.MULTILINE)
    assert "UTC" not in history.out
    refused = await in_tokyo("extend", name, "--by", "9d")
    assert refused.code == 1
    assert re.search(r"next: the latest possible end is .* JST", refused.err)
    assert (await in_tokyo("extend", name, "--until", "soon")).code == 2
    assert (await in_tokyo("extend", name, "--by", "1d", "--override", "--reason", "x")).code == 4
    assert (await in_tokyo("extend", name)).code == 2
    assert (await in_tokyo("freeze", "--reason", "x")).code == 4
    assert (await in_tokyo("sweep", "--dry-run")).code == 4
    deleted = await in_tokyo("delete", name, "--yes")
    assert deleted.code == 0, deleted.err
    after = await in_tokyo("history", name)
    assert "certificate: nothing left" in after.out
    assert (await in_tokyo("history", unique())).code == 3


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["leavers"], 0), (["leavers", "--now"], 1), (["leavers", "--now", "-o", "json"], 1), (["sweep"], 1)],
)
def test_a_sweep_that_was_stopped_is_a_failure_of_the_command_that_started_it(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int
) -> None:
    """Ensures that a program does not take a sweep without a result for one that was done."""
    sentence = "The sweep was stopped before its end."
    answers = {
        "POST": {"id": "x", "dry_run": False, "over": True, "message": sentence},
        "GET": {"over": True, "message": "No leaver sweep was completed yet."},
    }
    monkeypatch.setattr(Api, "call", lambda _, method, *__, **___: answers[method])
    env = {"MOORAGE_URL": "http://127.0.0.1:9", "MOORAGE_TOKEN": "t", "MOORAGE_STATE": None}
    done = CliRunner(env=env).invoke(build(), arguments)
    assert (done.exit_code, "the sweep was stopped" in done.stderr) == (code, code == 1), done.output
