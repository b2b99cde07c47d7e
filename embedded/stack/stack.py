"""The whole product on a machine that has Python and nothing else: `Stack` for programs, `up` for a terminal.

Everything is on 127.0.0.1. Worker and API are separate processes with the command line and environment that
they have everywhere.
"""

import asyncio
import json
import os
import shlex
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from embedded.stack.options import LOCAL_PERSON, Options, Part, Person
from embedded.stack.processes import ACCOUNTS_FILE, HOST, UI, ProcessSpecs, base_environment
from embedded.stack.state_dir import AlreadyRunning, StackError, StackFolder
from embedded.stack.supervisor import PROBE_SECONDS, Child, ChildFailed, Children, get

__all__ = [
    "DEFAULT_FOLDER", "HOST", "LOCAL_PERSON", "AlreadyRunning", "ChildFailed", "Options", "Part", "Person",
    "Stack", "StackError", "addresses", "describe", "up",
]  # fmt: skip

#: Default folder of the state.
DEFAULT_FOLDER = Path(".moorage")
#: What the operator's commands need to work on a stack: `. .moorage/environment; moorage doctor`.
_OUR_VARIABLES = ("MOORAGE_", "TEMPORAL_")
#: What ends a stack in a terminal: Ctrl-C, a service manager, the end of the terminal.
_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


#: What places an environment, once the host has reported what it has.
_PLACING_PARTS = frozenset({Part.TEMPORAL, Part.HOST, Part.WORKER, Part.API})
#: Longest wait for the host's first report: a worker that gets no answer asks again after 15 to 20
#: seconds.
REPORT_SECONDS = 120.0
#: The last output of a start: how it ends, and what to do with it.
_NEXT = """
Ready. Ctrl-C stops it; the state stays in {folder}.
In another terminal, from any folder:
  moorage templates
  moorage request demo small
  moorage kubeconfig demo --merge"""

Prepare = Callable[["Stack"], Awaitable[str]]


class Stack:
    """A running stack, from entering the context to leaving it; its state stays in `folder`.

    Once entered, environments can be requested, unless a part for them is left out, or
    `Options.waits_for_host` is off. Entering raises StackError, with nothing left running, when a part does
    not start.
    """

    def __init__(self, folder: Path = DEFAULT_FOLDER, options: Options | None = None) -> None:
        self.options = options or Options()
        self._folder = StackFolder(folder)
        self._open: tuple[ProcessSpecs, Children] | None = None

    async def __aenter__(self) -> Self:
        self._folder.open(fresh=self.options.fresh)
        try:
            await self._start_all()
        except BaseExceptionGroup as group:
            await self._stop_all()
            # Several may have failed, one for want of another: the first one is the cause.
            failed = group.subgroup(StackError)
            raise (group if failed is None else _first(failed)) from None
        except BaseException:
            await self._stop_all()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop_all()

    @property
    def folder(self) -> Path:
        """The folder of the state."""
        return self._folder.path

    @property
    def api_url(self) -> str:
        """Base URL of the HTTP API."""
        return self.url(Part.API)

    @property
    def ui_url(self) -> str:
        """Base URL of Temporal's Web UI."""
        return self._specs.url(UI)

    @property
    def temporal_address(self) -> str:
        """Host and port of the Temporal server."""
        return self._specs.temporal_address

    @property
    def installation(self) -> str:
        """The installation's name, in every owner mark."""
        return self._folder.installation

    @property
    def token(self) -> str:
        """The bearer token of the local person."""
        return self.token_of(self.options.people[0].email)

    def token_of(self, email: str) -> str:
        """Return the bearer token of one of the people of the options.

        Raises:
            KeyError: the options do not have this person.
        """
        if email not in {person.email for person in self.options.people}:
            raise KeyError(email)
        return self._folder.secret(f"token of {email}")

    def password_of(self, email: str) -> str:
        """Return the password of one of those who can sign in at the OpenID provider.

        Raises:
            KeyError: there is no such account.
        """
        return {account.email: account.password for account in self._specs.accounts}[email]

    def url(self, part: Part) -> str:
        """Return the base URL of a part that serves HTTP; for faults of a stand-in see `embedded.faults`."""
        return self._specs.url(part)

    def log(self, part: Part) -> Path:
        """Return the log of the process of the part."""
        return self._child(part).log

    def pid(self, part: Part) -> int:
        """Return the id of the process of the part; the stand-ins share one.

        Raises:
            RuntimeError: it does not run.
        """
        return self._child(part).pid

    def command(self, part: Part) -> Sequence[str]:
        """Return the command of the process of the part, also where it was forked."""
        return self._child(part).spec.command

    @property
    def databases(self) -> Mapping[Part, Path]:
        """The SQLite files of the stand-ins, for checks that do not use Moorage."""
        return self._specs.databases

    @property
    def env(self) -> dict[str, str]:
        """The environment of worker and API: all settings, and the caller's own variables."""
        return self._specs.settings()

    async def start(self, part: Part) -> None:
        """Start the process of the part, on the port that it always has, and return when it is ready.

        The stand-ins share one process, except those in `Options.own_process`.

        Raises:
            ChildFailed: it does not start.
        """
        if part is Part.WORKER:
            self._specs.ready_file.unlink(missing_ok=True)
        await self._children.start(self._specs.spec(part))

    async def stop(self, part: Part) -> None:
        """Stop the process of the part in good order. Fine if it does not run."""
        await self._children.stop(self._specs.process_of(part))

    async def kill(self, part: Part) -> None:
        """Kill the process of the part with SIGKILL, as a crash would; `start` brings it back."""
        await self._children.stop(self._specs.process_of(part), signal.SIGKILL)

    async def restart(self, part: Part) -> None:
        """Stop the process of the part in good order if it runs, and start it again."""
        await self.stop(part)
        await self.start(part)

    async def wait_for_failure(self) -> None:
        """Wait until a process ends without being stopped.

        Raises:
            ChildFailed: in any case.
        """
        await self._children.wait_for_failure()

    async def wait_for_host(self) -> None:
        """Wait until the host has reported what it has: until then every request is refused.

        Returns at once if the stack does not have all parts that place an environment.

        Raises:
            StackError: it does not within its time.
            ChildFailed: a process has ended meanwhile.
        """
        if not self.options.parts >= _PLACING_PARTS:
            return
        port, caller = self._specs.ports[Part.API], {"Authorization": f"Bearer {self.token}"}
        deadline = time.monotonic() + REPORT_SECONDS
        while True:
            self._children.raise_failure()
            status, body = await get(port, "/api/v1/capacity", caller)
            hosts = json.loads(body)["hosts"] if status == 200 else []
            if any(host["name"] == HOST and host["known"] for host in hosts):
                return
            if time.monotonic() > deadline:
                logs = f"{self.log(Part.WORKER)} and {self.log(Part.API)}"
                raise StackError(
                    f"the host has not reported what it has within {REPORT_SECONDS:g} s "
                    f"(the API's status is {status}); see {logs}"
                )
            await asyncio.sleep(PROBE_SECONDS)

    @property
    def _specs(self) -> ProcessSpecs:
        return self._running()[0]

    def _child(self, part: Part) -> Child:
        return self._children[self._specs.process_of(part)]

    @property
    def _children(self) -> Children:
        return self._running()[1]

    def _running(self) -> tuple[ProcessSpecs, Children]:
        if self._open is None:
            raise RuntimeError("the stack does not run: it does within its context")
        return self._open

    async def _start_all(self) -> None:
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
        children = Children(self.folder / "logs", held=[self._folder.lock_descriptor])
        specs = ProcessSpecs(self._folder, self.options)
        if Part.OPENID_PROVIDER in self.options.parts:
            specs.write_sign_in()
        self._open = specs, children
        children.open(base_environment(), specs.modules)
        first_of = {self._specs.process_of(part): part for part in Part if part in self.options.parts}
        if self.options.temporal_command:
            # It may take longer than the others wait for it.
            await self.start(first_of.pop(Part.TEMPORAL))
        async with asyncio.TaskGroup() as starting:
            for part in first_of.values():
                starting.create_task(self.start(part))
        if self.options.waits_for_host:
            await self.wait_for_host()
        self._folder.announce(**{"API": self.api_url, UI: self.ui_url})
        ours = {name: value for name, value in self.env.items() if name.startswith(_OUR_VARIABLES)}
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in ours.items()]
        self._folder.write("environment", "".join(lines))
        connection = {"url": self.api_url, "token": self.token, "person": people[0].email}
        self._folder.write("connection.json", json.dumps(connection, indent=2))

    async def _stop_all(self) -> None:
        if self._open is not None:
            # First the two that call the others, so that no call fails meanwhile.
            await self._children.close(Part.API, Part.WORKER)
            self._open = None
        self._folder.close()


async def up(
    folder: Path,
    options: Options,
    show: Callable[[str], None],
    prepare: Prepare | None = None,
    announce: Callable[[Stack], None] | None = None,
) -> None:
    """Run a stack until Ctrl-C, SIGTERM or SIGHUP; `show` prints its progress.

    `announce` is called once it runs, to print the addresses; without it, `show` gets them as text. `prepare`
    does what a platform team does first, once the stack runs, and returns its result in words.

    Raises:
        StackError: it cannot start, or a process ended by itself; the others are stopped.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in _ENDING_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        running = asyncio.create_task(_run(folder, options, show, prepare, announce))
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not running.done():
            show("Stopping.")
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
    show: Callable[[str], None],
    prepare: Prepare | None,
    announce: Callable[[Stack], None] | None,
) -> None:
    # One that cannot place anything yet is left running: its worker may be of a version that is not current.
    stack = Stack(folder, replace(options, waits_for_host=False))
    show(f"Starting; the state is kept in {stack.folder}")
    async with stack:
        if announce is None:
            show(describe(stack))
        else:
            announce(stack)
        preparing = asyncio.create_task(_prepare(stack, show, prepare))
        try:
            await stack.wait_for_failure()
        finally:
            preparing.cancel()
            await asyncio.gather(preparing, return_exceptions=True)


async def _prepare(stack: Stack, show: Callable[[str], None], prepare: Prepare | None) -> None:
    if prepare is not None:
        show(f"{'set up':<16} {await prepare(stack)}")
    try:
        await stack.wait_for_host()
    except StackError as error:
        show(f"Nothing can be requested yet: {error}")
        return
    show(_NEXT.format(folder=stack.folder))


def addresses(stack: Stack) -> dict[str, str]:
    """Return all addresses, for programs; the files that it names hold what must not be printed."""
    folder = stack.folder.resolve()
    found = {
        "page": (Part.API, f"{stack.api_url}/"),
        "api": (Part.API, stack.api_url),
        "temporal_ui": (Part.TEMPORAL, stack.ui_url),
        "temporal": (Part.TEMPORAL, stack.temporal_address),
        "control_plane": (Part.CONTROL_PLANE, stack.url(Part.CONTROL_PLANE)),
        "directory": (Part.DIRECTORY, stack.url(Part.DIRECTORY)),
        "host": (Part.HOST, stack.url(Part.HOST)),
        "openid_provider": (Part.OPENID_PROVIDER, stack.url(Part.OPENID_PROVIDER)),
        "accounts": (Part.OPENID_PROVIDER, str(folder / ACCOUNTS_FILE)),
        "codec_server": (Part.CODEC_SERVER, stack.url(Part.CODEC_SERVER)),
        "person": (Part.API, stack.options.people[0].email),
    }
    return {name: text for name, (part, text) in found.items() if part in stack.options.parts} | {
        "connection": str(folder / "connection.json"),
        "environment": str(folder / "environment"),
        "logs": str(folder / "logs"),
    }


def describe(stack: Stack) -> str:
    """Return all addresses, for people, one in a line."""
    accounts = stack.folder / ACCOUNTS_FILE
    rows = {
        "page": (Part.API, f"{stack.api_url}/ (sign in as one of the accounts in {accounts})"),
        "API": (Part.API, stack.api_url),
        "API's docs": (Part.API, f"{stack.api_url}/docs"),
        "Temporal Web UI": (Part.TEMPORAL, stack.ui_url),
        "its codec server": (Part.CODEC_SERVER, f"{stack.url(Part.CODEC_SERVER)} (for you, on this machine)"),
        "Temporal": (Part.TEMPORAL, stack.temporal_address),
        "control plane": (Part.CONTROL_PLANE, f"{stack.url(Part.CONTROL_PLANE)} (a stand-in)"),
        "directory": (Part.DIRECTORY, f"{stack.url(Part.DIRECTORY)} (a stand-in)"),
        "host cluster": (Part.HOST, f"{stack.url(Part.HOST)} (simulated)"),
        "OpenID provider": (
            Part.OPENID_PROVIDER,
            f"{stack.url(Part.OPENID_PROVIDER)} (a stand-in)",
        ),
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
