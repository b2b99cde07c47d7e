"""The whole product on a machine that has Python and nothing else: `Stack` for programs, `up` for a terminal.

Everything is on 127.0.0.1, each part a process of its own. Worker and API are started as anybody would
start them: from the environment.
"""

import asyncio
import json
import os
import shlex
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from embedded.stack.options import LOCAL_PERSON, Options, Part, Person
from embedded.stack.pointer import forget, point_at
from embedded.stack.processes import HOST, UI, Recipes
from embedded.stack.state_dir import AlreadyRunning, StackError, StackFolder
from embedded.stack.supervisor import Child, ChildFailed, Children

__all__ = [
    "DEFAULT_FOLDER", "HOST", "LOCAL_PERSON", "AlreadyRunning", "ChildFailed", "Options", "Part", "Person",
    "Stack", "StackError", "addresses", "up", "where",
]  # fmt: skip

#: Where the state is when nobody says otherwise.
DEFAULT_FOLDER = Path(".moorage")
#: What the operator's own commands need to work on a stack: `. .moorage/environment; moorage doctor`.
_OUR_VARIABLES = ("MOORAGE_", "TEMPORAL_")
#: What ends a stack in a terminal: Ctrl-C, a service manager, the terminal's own end.
_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


#: What is said last: that it runs, how it ends, and what to do with it.
_NEXT = """
Ready. Ctrl-C stops it; the state stays in {folder}.
In another terminal, from any folder:
  moorage templates
  moorage request demo small
  moorage kubeconfig demo --merge"""

Prepare = Callable[["Stack"], Awaitable[str]]


class Stack:
    """A running stack, from entering the context to leaving it; its state stays in `folder`.

    Entering raises StackError, with nothing left running, when a part does not start.
    """

    def __init__(self, folder: Path = DEFAULT_FOLDER, options: Options | None = None) -> None:
        self.options = options or Options()
        self._folder = StackFolder(folder)
        self._open: tuple[Recipes, Children] | None = None

    async def __aenter__(self) -> Self:
        self._folder.open(fresh=self.options.fresh)
        try:
            await self._begin()
        except BaseExceptionGroup as group:
            await self._end()
            # Several may have failed, one for want of another: the first one is the cause.
            failed = group.subgroup(StackError)
            raise (group if failed is None else _first(failed)) from None
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    @property
    def folder(self) -> Path:
        """Where the state is."""
        return self._folder.path

    @property
    def api_url(self) -> str:
        """Base URL of the HTTP API."""
        return self.url(Part.API)

    @property
    def ui_url(self) -> str:
        """Base URL of Temporal's Web UI."""
        return self._recipes.url(UI)

    @property
    def temporal_address(self) -> str:
        """Host and port of the Temporal server."""
        return self._recipes.temporal_address

    @property
    def installation(self) -> str:
        """The installation's name, in every owner mark."""
        return self._folder.installation

    @property
    def token(self) -> str:
        """The bearer token of the local person."""
        return self.token_of(self.options.people[0].email)

    def token_of(self, email: str) -> str:
        """The bearer token of one of the people of the options."""
        if email not in {person.email for person in self.options.people}:
            raise KeyError(email)
        return self._folder.secret(f"token of {email}")

    def url(self, part: Part) -> str:
        """Base URL of a part that speaks HTTP. Faults of a stand-in are set there: see `embedded.faults`."""
        return self._recipes.url(part)

    def log(self, part: Part) -> Path:
        """Return the log of the process of the part."""
        return self._child(part).log

    def pid(self, part: Part) -> int:
        """Return the id of the process of the part; the stand-ins share one.

        Raises:
            RuntimeError: it does not run.
        """
        return self._child(part).pid

    @property
    def databases(self) -> Mapping[Part, Path]:
        """The SQLite files of the stand-ins, for those who look past Moorage."""
        return self._recipes.databases

    @property
    def env(self) -> dict[str, str]:
        """The environment of the worker and the API: all settings, `TEMPORAL_*`, the caller's own rest."""
        return self._recipes.settings()

    async def start(self, part: Part) -> None:
        """Start the process of the part, on the port that it always has, and return when it is ready.

        The stand-ins share one process, except those in `Options.own_process`.

        Raises:
            ChildFailed: it does not start.
        """
        if part is Part.WORKER:
            self._recipes.ready_file.unlink(missing_ok=True)
        await self._children.start(self._recipes.recipe(part))

    async def stop(self, part: Part) -> None:
        """Stop the process of the part in good order. Fine if it does not run."""
        await self._children.stop(self._recipes.process_of(part))

    async def kill(self, part: Part) -> None:
        """Kill the process of the part with SIGKILL, as a crash would; `start` brings it back."""
        await self._children.stop(self._recipes.process_of(part), signal.SIGKILL)

    async def restart(self, part: Part) -> None:
        """Stop the process of the part in good order if it runs, and start it again."""
        await self.stop(part)
        await self.start(part)

    async def failed(self) -> None:
        """Wait until a part ends that nobody stopped, and raise ChildFailed."""
        await self._children.first_to_end()

    @property
    def _recipes(self) -> Recipes:
        return self._running()[0]

    def _child(self, part: Part) -> Child:
        return self._children[self._recipes.process_of(part)]

    @property
    def _children(self) -> Children:
        return self._running()[1]

    def _running(self) -> tuple[Recipes, Children]:
        if self._open is None:
            raise RuntimeError("the stack does not run: it does within its context")
        return self._open

    async def _begin(self) -> None:
        people = self.options.people
        self._folder.write_tokens(
            [
                {
                    "person": each.email.partition("@")[0].capitalize(),
                    "email": each.email,
                    "teams": list(each.teams),
                    "role": each.role,
                }
                for each in people
            ]
        )
        children = Children(self.folder / "logs", keep_open=[self._folder.lock_descriptor])
        self._open = Recipes(self._folder, self.options), children
        await children.open()
        async with asyncio.TaskGroup() as starting:
            # The Temporal server is asked for last and ready first: what describes it has to be imported
            # here, while the others are at their own imports already.
            first_of = {self._recipes.process_of(part): part for part in Part if part in self.options.parts}
            for part in reversed(first_of.values()):
                starting.create_task(self.start(part))
                await asyncio.sleep(0)
        self._folder.announce(**{"API": self.api_url, UI: self.ui_url})
        ours = {name: value for name, value in self.env.items() if name.startswith(_OUR_VARIABLES)}
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in ours.items()]
        self._folder.write("environment", "".join(lines))
        connection = {"url": self.api_url, "token": self.token, "person": people[0].email}
        self._folder.write("connection.json", json.dumps(connection, indent=2))

    async def _end(self) -> None:
        if self._open is not None:
            # The two that call the others first, so that they do not see them vanish.
            await self._children.close(Part.API, Part.WORKER)
            self._open = None
        self._folder.close()


async def up(
    folder: Path,
    options: Options,
    say: Callable[[str], None],
    prepare: Prepare | None = None,
    announce: Callable[[Stack], None] | None = None,
) -> None:
    """Run a stack until Ctrl-C, SIGTERM or SIGHUP; `say` tells the person what happens.

    `announce` is called once it runs, to tell where everything is; without it, `say` is told in words.
    `prepare` does what a platform team does first, once the stack runs, and says what came of it.
    Raises StackError when it cannot start, or when one of its parts ends by itself; it stops the others.
    """
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in _ENDING_SIGNALS:
        loop.add_signal_handler(number, told.set)
    try:
        running = asyncio.create_task(_run(folder, options, say, prepare, announce))
        waiting = asyncio.create_task(told.wait())
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not running.done():
            say("Stopping.")
            running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        if not running.cancelled():
            running.result()
    finally:
        for number in _ENDING_SIGNALS:
            loop.remove_signal_handler(number)


async def _run(
    folder: Path,
    options: Options,
    say: Callable[[str], None],
    prepare: Prepare | None,
    announce: Callable[[Stack], None] | None,
) -> None:
    stack = Stack(folder, options)
    say(f"Starting; the state is kept in {stack.folder}")
    async with stack:
        point_at(stack.folder)
        if announce is None:
            say(where(stack))
        else:
            announce(stack)
        preparing = asyncio.create_task(_prepare(stack, say, prepare))
        try:
            await stack.failed()
        finally:
            forget(stack.folder)
            preparing.cancel()
            await asyncio.gather(preparing, return_exceptions=True)


async def _prepare(stack: Stack, say: Callable[[str], None], prepare: Prepare | None) -> None:
    if prepare is not None:
        say(f"{'set up':<16} {await prepare(stack)}")
    say(_NEXT.format(folder=stack.folder))


def addresses(stack: Stack) -> dict[str, str]:
    """Where everything is, for programs; the files named hold what must not be printed."""
    found = {
        "api": (Part.API, stack.api_url),
        "temporal_ui": (Part.TEMPORAL, stack.ui_url),
        "temporal": (Part.TEMPORAL, stack.temporal_address),
        "control_plane": (Part.CONTROL_PLANE, stack.url(Part.CONTROL_PLANE)),
        "directory": (Part.DIRECTORY, stack.url(Part.DIRECTORY)),
        "host": (Part.HOST, stack.url(Part.HOST)),
        "codec_server": (Part.CODEC_SERVER, stack.url(Part.CODEC_SERVER)),
        "person": (Part.API, stack.options.people[0].email),
    }
    folder = stack.folder.resolve()
    return {name: text for name, (part, text) in found.items() if part in stack.options.parts} | {
        "connection": str(folder / "connection.json"),
        "environment": str(folder / "environment"),
        "logs": str(folder / "logs"),
    }


def where(stack: Stack) -> str:
    """What there is and where, a line each."""
    rows = {
        "API": (Part.API, stack.api_url),
        "API's docs": (Part.API, f"{stack.api_url}/docs"),
        "Temporal Web UI": (Part.TEMPORAL, stack.ui_url),
        "its codec server": (Part.CODEC_SERVER, f"{stack.url(Part.CODEC_SERVER)} (for you, on this machine)"),
        "Temporal": (Part.TEMPORAL, stack.temporal_address),
        "control plane": (Part.CONTROL_PLANE, f"{stack.url(Part.CONTROL_PLANE)} (a stand-in)"),
        "directory": (Part.DIRECTORY, f"{stack.url(Part.DIRECTORY)} (a stand-in)"),
        "host cluster": (Part.HOST, f"{stack.url(Part.HOST)} (simulated)"),
        "you are": (Part.API, stack.options.people[0].email),
    }
    lines = [f"{name:<16} {text}" for name, (part, text) in rows.items() if part in stack.options.parts]
    return "\n".join(
        [
            *lines,
            f"{'logs':<16} {stack.folder / 'logs'}{os.sep}",
            f"{'for operators':<16} . {shlex.quote(str(stack.folder / 'environment'))}; moorage doctor",
        ]
    )


def _first(group: BaseExceptionGroup[StackError]) -> StackError:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
