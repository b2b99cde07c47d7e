"""`moorage login` as a process of its user, whose browser or other device is the test."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.sign_in import Provider
from tests.support.stand_ins import CHECKOUT

#: What `BROWSER` names: it hands the address that it is to open to the test.
_BROWSER = """#!{python}
import socket, sys
with socket.create_connection(("127.0.0.1", {port})) as test:
    test.sendall(sys.argv[1].encode())
"""


async def run(home: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """Run a command to its end; returns its exit code and what it has printed."""
    process = await _start(home, *arguments, **variables)
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def sign_in_by_browser(home: Path, url: str, provider: Provider, person: str) -> dict[str, Any]:
    """Run `moorage login`, and be the person in the browser that it opens; returns what it prints."""
    async with _browser(home) as (program, opened):
        login = asyncio.create_task(run(home, "login", url, "-o", "json", BROWSER=str(program)))
        both: list[asyncio.Future[Any]] = [login, opened]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        assert opened.done(), await login
        async with provider.client() as http:
            answer = await provider.submit(http, await http.get(opened.result()), person)
            shown = await http.get(answer.headers["location"])
    assert "Continue in the terminal" in shown.text
    return _printed(await login)


async def sign_in_by_device(home: Path, url: str, provider: Provider, person: str) -> dict[str, Any]:
    """Run `moorage login --device`, and approve its code as the person; returns what it prints."""
    process = await _start(home, "login", url, "--device", "-o", "json")
    assert process.stderr
    shown = ""
    while not (address := re.search(rf"{re.escape(provider.url)}\S*user_code=\S+", shown)):
        line = (await process.stderr.readline()).decode()
        assert line, f"the command ends without an address: {shown}"
        shown += line
    async with provider.client() as http:
        await provider.decide_device(provider, http, address[0], person, True)
    out, err = await process.communicate()
    return _printed((process.returncode or 0, out.decode(), shown + err.decode()))


async def who(home: Path) -> dict[str, Any]:
    """Run `moorage whoami`; returns what it prints."""
    return _printed(await run(home, "whoami", "-o", "json"))


def _printed(done: tuple[int, str, str]) -> dict[str, Any]:
    code, out, err = done
    assert code == 0, err
    printed: dict[str, Any] = json.loads(out)
    return printed


async def _start(home: Path, *arguments: str, **variables: str) -> asyncio.subprocess.Process:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(CHECKOUT),
        # Else the tokens would go into the keyring of the person who runs the tests.
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        **variables,
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "moorage", *arguments, env=env, cwd=home,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


@asynccontextmanager
async def _browser(folder: Path) -> AsyncIterator[tuple[Path, "asyncio.Future[str]"]]:
    """A program for `BROWSER`, and the address that it is given."""
    opened: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.set_result((await reader.read()).decode())
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        program = folder / "browser"
        program.write_text(_BROWSER.format(python=sys.executable, port=server.sockets[0].getsockname()[1]))
        program.chmod(0o700)
        yield program, opened
