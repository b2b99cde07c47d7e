"""The main job from end to end, as a developer does it, on a new stack: `make demo`.

It runs the commands that a developer types: `moorage templates try` requests an environment, makes a first
call with its kubeconfig, and deletes it.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

from embedded.stack.processes import ACCOUNTS_FILE
from embedded.stack.stack import DEFAULT_FOLDER, Options, Stack, StackError, describe


class CommandFailed(Exception):
    """A command of the demo failed, and has printed why."""


async def demo(folder: Path, *, keep: bool) -> None:
    """Show the templates and try one, with a stack in `folder`; `keep` leaves the stack up until Ctrl-C."""
    started = time.monotonic()
    _print("Starting the embedded stack: Temporal, control plane, directory, host, worker, API")
    async with Stack(folder, Options(fresh=not keep)) as stack:
        print(describe(stack))
        await _moorage(stack, "templates")
        await _moorage(stack, "templates", "try", "small")
        _print(f"Done in {time.monotonic() - started:.0f} s")
        if keep:
            print(f"The stack stays up. Its page is {stack.api_url}/: sign in as one of the accounts in")
            print(f"    {stack.folder / ACCOUNTS_FILE}")
            print("Or request an environment from another terminal, for example:")
            print(f"    {_command(stack, 'request', 'my-first', 'small')}")
            print("Ctrl-C stops it.")
            await stack.wait_for_failure()


async def _moorage(stack: Stack, *arguments: str) -> None:
    _print(f"$ {_command(stack, *arguments)}")
    command = [str(Path(sys.executable).with_name("moorage")), *arguments]
    environment = os.environ | {"MOORAGE_STATE": str(stack.folder)}
    process = await asyncio.create_subprocess_exec(*command, env=environment)
    if code := await process.wait():
        raise CommandFailed(f"moorage {' '.join(arguments)} ended with exit code {code}")


def _command(stack: Stack, *arguments: str) -> str:
    is_default = stack.folder.resolve() == DEFAULT_FOLDER.resolve()
    state = "" if is_default else f"MOORAGE_STATE={stack.folder} "
    return f"{state}moorage {' '.join(arguments)}"


def _print(text: str) -> None:
    print(f"\n{text}", flush=True)


def main() -> int:
    """Run the demo; return the exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the stack up until Ctrl-C")
    keep = parser.parse_args().keep
    with (
        nullcontext(DEFAULT_FOLDER) if keep else tempfile.TemporaryDirectory(prefix="moorage-demo-") as folder
    ):
        try:
            asyncio.run(demo(Path(folder), keep=keep))
        except (CommandFailed, StackError) as error:
            print(f"\nThe demo failed: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\nStopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
