"""The launcher: what it starts sees what any new process sees, and ends with who asked for it."""

import asyncio
import importlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from embedded.stack.fork_server import PYTHON
from embedded.stack.options import Options
from embedded.stack.processes import MODULES, ProcessSpecs, base_environment
from embedded.stack.state_dir import StackFolder
from embedded.stack.supervisor import ChildFailed, Children, ProcessSpec
from tests.support.deadline import HANG


@pytest.fixture
async def children(tmp_path: Path) -> AsyncIterator[Children]:
    children = Children(tmp_path)
    children.open(base_environment(), ["fractions", "no_such_module"])
    yield children
    await children.close()


def spec(*command: str, name: str = "it", **variables: str) -> ProcessSpec:
    async def is_ready() -> bool:
        return True

    return ProcessSpec(name, command, {"PATH": os.environ["PATH"], **variables}, is_ready)


async def line_of(log: Path, number: int = 0) -> str:
    """The line of the log, as soon as it is whole."""
    found: list[str] = []

    def is_whole() -> bool:
        found[:] = log.read_text().splitlines(keepends=True)
        return len(found) > number and found[number].endswith("\n")

    await until(is_whole)
    return found[number]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(HANG):
        while not condition():  # noqa: ASYNC110 - what other processes do is no event here
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("more", [{}, {"PYTHONHASHSEED": "7"}], ids=["forked", "executed"])
async def test_python_process_sees_its_own_arguments_environment_and_folder(
    children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    variables = {name: value for name, value in base_environment().items() if name.startswith("PYTHON")}
    variables |= {"MINE": "ü", **more}
    await children.start(spec(*PYTHON, "tests.support.show_process", "--flag", "a b", **variables))
    seen = json.loads(await line_of(tmp_path / "it.log"))
    assert seen["arguments"] == ["--flag", "a b"]
    assert {**variables, "PATH": os.environ["PATH"]}.items() <= seen["variables"].items()
    assert "HOME" not in seen["variables"]
    assert seen["folder"] == str(tmp_path)
    assert seen["leads_group"]
    assert seen["has_fractions"] == (sys.platform == "linux" and not more), "it was not forked, or was"
    assert await line_of(tmp_path / "it.log", 1) == "to standard error\n"


async def test_program_that_is_missing_ends_at_its_start(children: Children) -> None:
    async def is_never_ready() -> bool:
        return False

    missing = ProcessSpec("it", ["/no/such/program"], {}, is_never_ready)
    with pytest.raises(ChildFailed, match="/no/such/program cannot be started: No such file"):
        await children.start(missing)


async def test_process_that_ignores_sigterm_is_killed(
    children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedded.stack.supervisor.STOP_SECONDS", 0.2)
    await children.start(spec("/bin/sh", "-c", "trap '' TERM; echo ready; sleep 600; sleep 600"))
    await line_of(tmp_path / "it.log")
    pid = children["it"].pid
    await children.stop("it")
    assert not is_alive(pid)


async def test_what_a_process_started_ends_with_it(children: Children, tmp_path: Path) -> None:
    failed = asyncio.create_task(children.wait_for_failure())
    await children.start(spec("/bin/sh", "-c", "sleep 600 & echo $!; wait"))
    helper = int(await line_of(tmp_path / "it.log"))
    os.kill(children["it"].pid, signal.SIGKILL)
    with pytest.raises(ChildFailed, match="the it ended by itself"):
        await asyncio.wait_for(failed, HANG)
    await until(lambda: not is_alive(helper))


def is_alive(pid: int) -> bool:
    """Whether it runs; a process that has ended and that nothing has reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_modules_to_import_exist() -> None:
    for module in {name for names in MODULES.values() for name in names}:
        importlib.import_module(module)


def test_a_stack_imports_what_its_parts_need(tmp_path: Path) -> None:
    folder = StackFolder(tmp_path)
    folder.open(fresh=True)
    try:
        everything = ProcessSpecs(folder, Options()).modules
    finally:
        folder.close()
    assert set(everything) == {name for names in MODULES.values() for name in names}
