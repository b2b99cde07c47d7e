"""`python -m tests.support.run_stack FOLDER PART...`: a stack in its own process, for a test to end."""

import asyncio
import dataclasses
import sys
from pathlib import Path

from embedded.stack.stack import Part, StackError, up
from tests.support.stack import hurried


def main() -> None:
    """Run it until a signal stops it; print what `moorage up` would."""
    folder, *parts = sys.argv[1:]
    options = dataclasses.replace(hurried(), parts=frozenset(Part(part) for part in parts))
    try:
        asyncio.run(up(Path(folder), options, lambda text: print(text, flush=True)))
    except StackError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
