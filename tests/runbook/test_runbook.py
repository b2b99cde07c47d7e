"""Ensures that the commands of the runbook do and print what their page says, in its situation."""

import re
from pathlib import Path

import pytest

from embedded.stack.stack import Stack
from tests.runbook.consoles import Command, Situation, parts_in, parts_of
from tests.runbook.operator import Operator
from tests.runbook.situations import SITUATIONS, options_of
from tests.support.deadline import HANG

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "how-to" / "operate"
PAGES = sorted(FOLDER.glob("*.md"))


@pytest.mark.slow
@pytest.mark.timeout(10 * HANG)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
async def test_page_tells_what_happens(page: Path, tmp_path: Path) -> None:
    async with (
        Stack(tmp_path / "stack", options_of(page.stem)) as stack,
        Operator(stack, tmp_path) as operator,
    ):
        for part in parts_in(page):
            if isinstance(part, Situation):
                await SITUATIONS[part.name](operator)
            else:
                await operator.type(part, f"{page.name}:{part.line}")


def test_situations_are_those_of_the_pages() -> None:
    parts = [part for page in PAGES for part in parts_in(page)]
    assert {part.name for part in parts if isinstance(part, Situation)} == set(SITUATIONS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_has_commands_that_are_run(page: Path) -> None:
    """Ensures that no command hides from the test in a block of another language."""
    text = page.read_text(encoding="utf-8")
    commands = [part for part in parts_of(text) if isinstance(part, Command)]
    assert commands
    assert len(re.findall(r"^ *\$ ", text, re.MULTILINE)) == len(commands)
