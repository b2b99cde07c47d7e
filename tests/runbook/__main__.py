"""`python -m tests.runbook PAGE.md`: print what the commands of a page print now, for its author."""

import asyncio
import sys
import tempfile
from pathlib import Path

from embedded.stack.stack import Stack
from tests.runbook.consoles import Situation, parts_in
from tests.runbook.operator import Operator
from tests.runbook.situations import SITUATIONS, options_of


async def _print(page: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with (
            Stack(Path(folder) / "stack", options_of(page.stem)) as stack,
            Operator(stack, Path(folder)) as operator,
        ):
            for part in parts_in(page):
                if isinstance(part, Situation):
                    print(f"<!-- situation: {part.name} -->")
                    await SITUATIONS[part.name](operator)
                else:
                    ended = await operator.run(part.text)
                    print(f"$ {part.text}\n{ended.out}[exit code {ended.code}]\n", flush=True)


if __name__ == "__main__":
    asyncio.run(_print(Path(sys.argv[1])))
