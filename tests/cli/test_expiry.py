"""The commands about ends as people run them: what they say, in whose zone, and with which exit code."""

import re
from pathlib import Path

import pytest

from embedded.stack.stack import Stack
from tests.cli.test_commands import Cli
from tests.support.stack import BOB, unique


@pytest.fixture
def in_tokyo(stack: Stack, tmp_path: Path) -> Cli:
    """Bob's command, on a machine that is nine hours ahead of UTC."""
    token = stack.token_of(BOB.email)
    return Cli(tmp_path, MOORAGE_URL=stack.api_url, MOORAGE_TOKEN=token, TZ="Asia/Tokyo")


async def test_an_end_is_moved_and_told_in_the_readers_zone(in_tokyo: Cli) -> None:
    """Ensures that extend and history say moments as whoever reads them has them."""
    name = unique()
    assert (await in_tokyo("request", name, "small", "--ttl", "2h")).code == 0
    extended = await in_tokyo("extend", name, "--by", "1d")
    assert extended.code == 0, extended.err
    assert re.search(r"it ends \w{3} \d{4}-\d\d-\d\d \d\d:\d\d JST, in 1d 1h", extended.out)
    told = await in_tokyo("history", name)
    assert re.search(rf"{BOB.email} extended it by 1d: ends .* JST$", told.out, re.MULTILINE)
    assert "UTC" not in told.out
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
