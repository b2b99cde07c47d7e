"""The folder in which a stack keeps its state between runs, and the lock that lets one stack use it."""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import socket
import string
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from clients.private_files import ensure_private_folder, foreign_entries, open_private, write_private
from clients.safe_yaml import compose_yaml, text_value_of
from embedded.asgi_server import listening_socket

#: What a stack creates in its folder: `--fresh` removes these and nothing else.
_STACK_FILES = (
    "accounts.json", "audit-log.jsonl", "connection.json", "control-plane.sqlite", "directory.sqlite",
    "environment", "host", "issuers.yaml", "logs", "openid-provider.sqlite", "people", "state.json",
    "temporal.sqlite", "tokens.yaml", "worker.ready",
)  # fmt: skip
_LOCK = "lock"
_SQLITE_SIDE_FILES = ("-wal", "-shm", "-journal")
#: How long a new stack waits for the processes of one that was killed; see `embedded.stack.fork_server`.
TAKEOVER_SECONDS = 8.0

#: Where free ports are looked for: below those that systems give to outgoing connections, so that nothing
#: takes one by chance between two runs, or before the part that it is for has started.
_PORTS = range(20000, 32000)
#: Descriptors of the UDP sockets that claim a port for this process, by port, oldest first.
_claims: dict[int, int] = {}
#: More than a stack has parts.
_MAX_CLAIMS = 64

_LETTERS = string.ascii_lowercase + string.digits
#: Maximum length of an installation's name: none is the same by chance.
_INSTALLATION_LENGTH = 12


class StackError(Exception):
    """The embedded stack cannot run; the text is a sentence for the user at the terminal."""


class AlreadyRunning(StackError):
    """Another process runs a stack from the same folder; the text says where."""


class _State(BaseModel):
    """What is kept from run to run: secrets by name, ports by part."""

    model_config = ConfigDict(extra="forbid")

    installation: str
    secrets: dict[str, str] = {}
    ports: dict[str, int] = {}


class StackFolder:
    """The folder of one stack, for as long as this process holds its lock.

    Everything in it that is or holds a secret can be read by its owner only.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None
        self._state = _State(installation="")
        #: The port of each part in this run.
        self._assigned: dict[str, int] = {}

    def open(self, *, fresh: bool) -> None:
        """Create the folder if it is missing, lock it, and read the state; `fresh` removes the state first.

        Raises:
            AlreadyRunning: another process has locked it.
            StackError: the folder cannot be used.
        """
        try:
            ensure_private_folder(self.path)
        except OSError as error:
            raise StackError(f"the folder {self.path} cannot be used: {error.strerror}") from None
        try:
            self._take_lock()
        except OSError as error:
            raise StackError(f"{self.path / _LOCK} cannot be used: {error.strerror}") from None
        try:
            self._read_last_run(fresh=fresh)
        except BaseException:
            self.close()
            raise

    def _read_last_run(self, *, fresh: bool) -> None:
        """Read the state of the last run; refuse files that others put in its place."""
        if fresh:
            self._clear()
        for path in self._existing_files():
            for intruder in foreign_entries(path):
                raise StackError(
                    f"{intruder}; a stack did not make it so: remove it, or start over with --fresh"
                )
        ensure_private_folder(self.path / "logs")
        # The state of a stack that was started in a checkout is never committed.
        self.write(".gitignore", "*\n")
        self._state = self._read_state()

    def close(self) -> None:
        """Release the lock; the state stays for the next run."""
        if self._lock is not None:
            for name in ("connection.json", "environment"):
                (self.path / name).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    @property
    def lock_descriptor(self) -> int:
        """The descriptor of the lock, for a process that keeps the folder locked until it ends."""
        if self._lock is None:
            raise RuntimeError("the folder is not open")
        return self._lock

    @property
    def installation(self) -> str:
        """The random name of this stack's installation."""
        return self._state.installation

    def secret(self, name: str) -> str:
        """Return the secret of that name: the same in every run."""
        if name not in self._state.secrets:
            self._state.secrets[name] = secrets.token_urlsafe(32)
            self._save()
        return self._state.secrets[name]

    def port(self, name: str, wanted: int | None = None) -> int:
        """Return the port of that name on 127.0.0.1: the wanted one, that of the last run, or a free one.

        Raises:
            StackError: the wanted one is taken, by another part of this stack or by anything else.
        """
        given = {number: other for other, number in self._assigned.items() if other != name}
        port = wanted or self._state.ports.get(name, 0)
        if wanted is not None and (wanted in given or not _is_free(wanted)):
            by = f" by the {given[wanted]}" if wanted in given else ""
            raise StackError(f"port {wanted} for the {name} is taken{by}: free it, or choose another")
        if not port or port in given or not _claim(port):
            port = free_port({*given, *self._state.ports.values()})
        self._assigned[name] = port
        self._state.ports[name] = port
        self._save()
        return port

    def announce(self, **where: str) -> None:
        """Write the addresses into the lock, where a second `up` reads them."""
        text = json.dumps({"pid": os.getpid(), **where})
        os.ftruncate(self.lock_descriptor, 0)
        os.pwrite(self.lock_descriptor, text.encode(), 0)

    def write(self, name: str, content: str) -> Path:
        """Write a file that only its owner can read, whole or not at all."""
        path = self.path / name
        write_private(path, content)
        return path

    def write_tokens(self, people: Sequence[Mapping[str, Any]]) -> Path:
        """Write the API's file of tokens: each of `people` has the secret `token of <email>`.

        People who were added to the file keep their tokens.
        """
        entries = self._tokens_of_others({str(person["email"]) for person in people})
        for person in people:
            token = self.secret(f"token of {person['email']}")
            entries.append({"sha256": hashlib.sha256(token.encode()).hexdigest(), **person})
        return self.write("tokens.yaml", json.dumps({"tokens": entries}, indent=2))

    def _tokens_of_others(self, emails: Container[str]) -> list[Any]:
        try:
            content = text_value_of(compose_yaml((self.path / "tokens.yaml").read_text(encoding="utf-8")))
            return [one for one in content["tokens"] if str(one["email"]).lower() not in emails]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
            file = self.path / "tokens.yaml"
            raise StackError(f"{file} cannot be read: mend it, or start over with --fresh") from None

    def _take_lock(self) -> None:
        lock = open_private(self.path / _LOCK, os.O_RDWR | os.O_CREAT)
        deadline = time.monotonic() + TAKEOVER_SECONDS
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._lock = lock
                self.announce()
                return
            where = _read_json(self.path / _LOCK)
            # Its process has ended and its children are ending: the lock is free soon.
            if _is_alive(where.get("pid")) or time.monotonic() > deadline:
                os.close(lock)
                raise AlreadyRunning(_already_running(self.path, where))
            time.sleep(0.05)

    def _clear(self) -> None:
        for path in self._existing_files():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _existing_files(self) -> Iterator[Path]:
        for name in _STACK_FILES:
            yield from (self.path / (name + side) for side in ("", *_SQLITE_SIDE_FILES))

    def _read_state(self) -> _State:
        path = self.path / "state.json"
        if path.exists():
            try:
                return _State.model_validate_json(path.read_text(encoding="utf-8"))
            except ValidationError:
                raise StackError(f"{path} cannot be read: start over with --fresh") from None
        installation = "".join(secrets.choice(_LETTERS) for _ in range(_INSTALLATION_LENGTH))
        return _State(installation=installation)

    def _save(self) -> None:
        self.write("state.json", self._state.model_dump_json(indent=2))


def _already_running(path: Path, where: Mapping[str, Any]) -> str:
    places = [f"{what} {where[what]}" for what in ("API", "Web UI") if what in where]
    at = f": {', '.join(places)}" if places else ", and still starting"
    return f"a stack runs already from {path} (process {where.get('pid', 'unknown')}){at}"


def _read_json(path: Path) -> Mapping[str, Any]:
    with suppress(OSError, ValueError):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
    return {}


def _is_alive(pid: object) -> bool:
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def free_port(taken: Container[int] = ()) -> int:
    """Return a port of 127.0.0.1 on which nothing listens, and none of those that are taken.

    No other process gets the same port from this function while this process has it.
    """
    while True:
        port = secrets.choice(_PORTS)
        if port not in taken and port not in _claims and _claim(port):
            return port


def _is_free(port: int) -> bool:
    try:
        listening_socket(port).close()
    except OSError:
        return False
    return True


def _claim(port: int) -> bool:
    """Claim a port on which nothing listens for this process; return whether it has it.

    Between the choice of a port and the start of the part that listens on it, seconds pass. Stacks that start
    together would choose the same port too often: one time in thirty with four of them. The UDP port of the
    same number serves nothing else, and the system frees it when this process ends.
    """
    if port not in _claims:
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            return False
        _claims[port] = claim.detach()
    while len(_claims) > _MAX_CLAIMS:
        os.close(_claims.pop(next(iter(_claims))))
    return _is_free(port)
