"""An engineer of the platform team with a terminal: runs commands beside a stack, and waits as people do."""

import asyncio
import os
import re
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Self

import pytest

from embedded.stack.stack import Part, Stack
from embedded.stack.temporal_server import find_server
from tests.runbook.consoles import Command
from tests.support.deadline import HANG
from tests.support.processes import CHECKOUT, Ended, run_module
from tests.support.worker_processes import WorkerProcess

#: Commands that can be repeated: people do that until they see what they wait for.
_REPEATABLE = re.compile(
    r"moorage (show|list|doctor|capacity|history|freeze)\b|moorage (leavers|teardown [a-z-]+)$"
    r"|moorage \S+ --dry-run|curl (?!.*-X)|temporal worker deployment set-current-version"
)
#: What needs a shell.
_SHELL = re.compile(r"[|&;<>$`*?(){}=]")
#: Pause between two tries, in seconds: each takes a good part of a second of a processor.
PAUSE = 0.3


class Operator:
    """Types the commands of a page, with the settings of the stack and a token of the platform team."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        #: Workers beside that of the stack, by version.
        self.workers: dict[str, WorkerProcess] = {}
        programs = folder / "bin"
        programs.mkdir()
        (programs / "temporal").symlink_to(find_server())
        moorage = programs / "moorage"
        moorage.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m moorage "$@"\n')
        moorage.chmod(0o700)
        self.env = {
            **stack.env,
            "PYTHONPATH": str(CHECKOUT),
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "COLUMNS": "120",
            # Both outputs in the order in which a terminal has them.
            "PYTHONUNBUFFERED": "1",
            "MOORAGE_URL": stack.api_url,
            "MOORAGE_TOKEN": stack.token,
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in self.workers.values():
            if worker.runs:
                await worker.drain()

    async def configure(self, **settings: str) -> None:
        """Change settings of the installation, and restart what reads them."""
        changed = self.stack.options.environment
        assert isinstance(changed, dict)
        changed.update(settings)
        self.env.update(settings)
        for part in (Part.WORKER, Part.API):
            await self.stack.restart(part)

    async def succeed(self, command: str) -> None:
        """Run a command that belongs to a situation."""
        ended = await self.run(command)
        assert ended.code == 0, f"$ {command}\n{ended.out}"

    async def type(self, command: Command, where: str) -> None:
        """Run it, and fail unless it prints what the page says; repeat a command that can be repeated."""
        ends = time.monotonic() + HANG
        while True:
            ended = await self.run(command.text)
            assert "Traceback" not in ended.out, f"{where}: $ {command.text}\n{ended.out}"
            if command.prints(ended.out) if command.has_known_output else ended.code == 0:
                return
            if not _REPEATABLE.match(command.text) or time.monotonic() > ends:
                expected = "\n".join(command.output) or "exit code 0"
                pytest.fail(
                    f"{where}: $ {command.text}\n--- the page:\n{expected}\n"
                    f"--- it printed (exit code {ended.code}):\n{ended.out}"
                )
            await asyncio.sleep(PAUSE)

    async def run(self, command: str) -> Ended:
        """Run a command to its end, with both outputs in one."""
        if _SHELL.search(command):
            program, arguments = shutil.which("sh") or "sh", ["-c", command]
        else:
            program, *arguments = shlex.split(command)
            if program == "moorage":
                return await asyncio.to_thread(
                    run_module,
                    "moorage",
                    arguments,
                    self.env,
                    cwd=self.folder,
                    together=True,
                    timeout=3 * HANG,
                )
        process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            cwd=self.folder,
            env=self.env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(HANG):
            out, _ = await process.communicate()
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), "")
