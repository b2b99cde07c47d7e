"""The main job from end to end, as a developer would do it, on a stack of its own: `make demo`.

It types the commands that anybody can type; what it adds is the first call with the kubeconfig.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

from clients.virtual_cluster import kubernetes_version
from embedded.stack.options import Options
from embedded.stack.stack import DEFAULT_FOLDER, Stack, StackError, where

NAME = "demo"


class CommandFailed(Exception):
    """A command of the demo did not succeed; it has said why."""


async def demo(folder: Path, *, keep: bool) -> None:
    """Ask, use, list, delete, with a stack in `folder`; `keep` leaves the stack up until Ctrl-C."""
    started = time.monotonic()
    _title("Starting the embedded stack: Temporal, control plane, directory, host, worker, API")
    async with Stack(folder, Options(fresh=not keep)) as stack:
        print(where(stack))
        await _moorage(stack, "request", NAME, "small")
        kubeconfig = stack.folder / f"{NAME}.kubeconfig"
        await _moorage(stack, "kubeconfig", NAME, "--file", str(kubeconfig))
        _title("GET /version, with the kubeconfig as it was written")
        print(f"Kubernetes {await kubernetes_version(await asyncio.to_thread(kubeconfig.read_text))}")
        await _moorage(stack, "list")
        await _moorage(stack, "delete", NAME, "--yes")
        kubeconfig.unlink()
        _title(f"Done in {time.monotonic() - started:.0f} s")
        if keep:
            print("The stack stays up; ask for more from another terminal, for example:")
            print(f"    {_shown(stack, 'request', 'my-first', 'small')}")
            print("Ctrl-C stops it.")
            await stack.failed()


async def _moorage(stack: Stack, *arguments: str) -> None:
    _title(f"$ {_shown(stack, *arguments)}")
    command = [str(Path(sys.executable).with_name("moorage")), *arguments]
    environment = os.environ | {"MOORAGE_STATE": str(stack.folder)}
    process = await asyncio.create_subprocess_exec(*command, env=environment)
    if code := await process.wait():
        raise CommandFailed(f"moorage {arguments[0]} ended with exit code {code}")


def _shown(stack: Stack, *arguments: str) -> str:
    default = stack.folder.resolve() == DEFAULT_FOLDER.resolve()
    state = "" if default else f"MOORAGE_STATE={stack.folder} "
    return f"{state}moorage {' '.join(arguments)}"


def _title(text: str) -> None:
    print(f"\n{text}", flush=True)


def main() -> int:
    """Run the demo; the exit code says whether all of it went well."""
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
