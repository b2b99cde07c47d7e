"""Contexts: the installations of Moorage that this user uses, by name, and which of them is the current one.

A context is an installation that the user has signed in to, or a stack of `moorage up` while it runs. They
are in one file of the user's state folder, which has no secret: tokens are in `credentials`, and the token of
a stack is in its own folder.
"""

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clients.private_files import ensure_private_folder, read_private, write_private
from starter.cli.errors import CliError, Code
from starter.cli.state_folder import state_folder

#: Files that `moorage up` writes into its folder while it runs.
CONNECTION_FILE = "connection.json"
ENVIRONMENT_FILE = "environment"
#: The context of a stack of `moorage up`; a second stack at the same time is local-2.
STACK = "local"
#: Maximum size of such a file, in bytes; a person has a few contexts of some 200 bytes.
LONGEST_FILE = 100_000
#: Longest wait for another command: longer than an issuer may take to renew a token.
LOCK_SECONDS = 20.0
_FILE = "contexts.json"
#: A name is a part of a file name, and an argument that needs no quotes in a shell.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,99}")
_LONGEST_NAME = 100
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Context:
    """An installation. `stack` is the folder of a stack of `moorage up`; None for all others.

    `ca_file` has the authorities that must have signed the certificate of its API; None: the system's.
    `person` is the address of the person who signed in last; "" for a stack.
    """

    name: str
    url: str
    ca_file: Path | None = None
    stack: Path | None = None
    person: str = ""

    def matches(self, url: str) -> bool:
        """Return whether this is the URL of the installation, also if it is written differently."""
        return canonical(url) == canonical(self.url)


@dataclass(frozen=True)
class Contexts:
    """All contexts by name, the name of the current one, and the one that was current before a stack ran."""

    by_name: Mapping[str, Context]
    current: str = ""
    previous: str = ""

    def find(self, name: str) -> Context:
        """Return the context of this name; raise CliError (not found) if there is none."""
        if found := self.by_name.get(name):
            return found
        known = f"there are {', '.join(self.by_name)}" if self.by_name else "there is none yet"
        message = f'there is no context "{name[:100]}": {known}'
        raise CliError(Code.NOT_FOUND, message, next_steps=["moorage context list"])


def canonical(url: str) -> str:
    """Return the one form of all spellings of a URL: "https://moorage.example:443/path"."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
        return f"{parts.scheme}://{parts.hostname}:{port}{parts.path.rstrip('/')}"
    except ValueError:
        return url


def ensure_name(name: str) -> str:
    """Return the name; raise CliError if a context cannot have it."""
    if not _NAME.fullmatch(name):
        message = f'"{name[:100]}" cannot be the name of a context: use letters, digits and . _ : @ -'
        raise CliError(Code.BAD_INPUT, message)
    return name


def name_of(url: str) -> str:
    """Return the default name of the context for the URL: its host, its port and its path."""
    parts = urlsplit(url)
    words = re.findall(r"[a-z0-9.:-]+", f"{re.sub('[][]', '', parts.netloc)}{parts.path}".lower())
    return "-".join(words).lstrip(".:-")[:_LONGEST_NAME]


def read_contexts(environ: Mapping[str, str] = os.environ) -> Contexts:
    """Return the contexts of this user; none if there is no file that is private to the user.

    MOORAGE_STATE names the folder of a stack, which is then the current context.

    Raises:
        CliError: the file exists and cannot be used.
    """
    found = _read(environ)
    if named := environ.get("MOORAGE_STATE"):
        if connection := stack_connection(Path(named)):
            context = Context(STACK, connection[0], stack=Path(named))
            return replace(found, by_name={**found.by_name, STACK: context}, current=STACK)
        # The variable names that stack or none: another context would be a surprise.
        return replace(found, current="")
    return found


def change_contexts(
    change: Callable[[Contexts], Contexts], environ: Mapping[str, str] = os.environ
) -> Contexts:
    """Replace the contexts by what `change` returns for them, as the only command that does so at a time.

    Raises:
        CliError: the file cannot be written.
    """
    with locked_state("contexts", environ) as folder:
        contexts = change(_read(environ))
        entries = {
            name: {
                "url": context.url,
                **({"ca_file": str(context.ca_file)} if context.ca_file else {}),
                **({"stack": str(context.stack)} if context.stack else {}),
                **({"person": context.person} if context.person else {}),
            }
            for name, context in contexts.by_name.items()
        }
        document = {"current": contexts.current, "previous": contexts.previous, "contexts": entries}
        try:
            write_private(folder / _FILE, json.dumps(document, indent=2))
        except OSError as error:
            raise CliError(Code.FAILED, f"cannot write {folder / _FILE}: {error.strerror}") from None
        return contexts


def with_context(contexts: Contexts, context: Context) -> Contexts:
    """Return the contexts with this one as the current one."""
    previous = contexts.previous
    if context.stack and not _is_stack(contexts, contexts.current):
        previous = contexts.current
    return Contexts({**contexts.by_name, context.name: context}, context.name, previous)


def without_context(contexts: Contexts, name: str) -> Contexts:
    """Return the contexts without this one; after a stack, the one before it is current again."""
    removed = contexts.find(name)
    left = {other: context for other, context in contexts.by_name.items() if other != name}
    current, previous = contexts.current, contexts.previous
    if current == name:
        current = previous if removed.stack and previous in left else ""
    return Contexts(left, current, "" if previous == name else previous)


def add_stack(folder: Path, url: str, environ: Mapping[str, str] = os.environ) -> Context:
    """Add the running stack of this folder as a context, and make it the current one."""
    folder = folder.absolute()
    context = Context(STACK, url, stack=folder)

    def add(contexts: Contexts) -> Contexts:
        nonlocal context
        number = 1
        while (there := contexts.by_name.get(context.name)) and there.stack != folder:
            number += 1
            context = replace(context, name=f"{STACK}-{number}")
        return with_context(contexts, context)

    change_contexts(add, environ)
    return context


def remove_stack(folder: Path, environ: Mapping[str, str] = os.environ) -> None:
    """Remove the context of the stack of this folder, if there is one."""
    folder = folder.absolute()

    def remove(contexts: Contexts) -> Contexts:
        for name, context in list(contexts.by_name.items()):
            if context.stack == folder:
                contexts = without_context(contexts, name)
        return contexts

    change_contexts(remove, environ)


def stack_connection(folder: Path) -> tuple[str, str] | None:
    """Return URL and token of the stack that runs from this folder; None if none does.

    A file that is not private to the user is ignored, so that a foreign folder cannot decide where a token is
    sent.
    """
    content = _private_json(folder / CONNECTION_FILE)
    try:
        url, token = str(content["url"]), str(content["token"])
        return (url, token) if urlsplit(url).hostname == "127.0.0.1" else None
    except (KeyError, TypeError, ValueError):
        return None


def stack_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of the stack that is the current context; empty if it is none."""
    contexts = read_contexts(environ)
    context = contexts.by_name.get(contexts.current)
    if context is None or context.stack is None:
        return {}
    try:
        lines = read_private(context.stack / ENVIRONMENT_FILE, longest=LONGEST_FILE).splitlines()
    except (OSError, ValueError):
        return {}
    words = [shlex.split(line.removeprefix("export ")) for line in lines]
    return dict(word[0].split("=", 1) for word in words if len(word) == 1 and "=" in word[0])


@contextmanager
def locked_state(name: str, environ: Mapping[str, str] = os.environ) -> Iterator[Path]:
    """Hold the lock of this name in the user's state folder, and return the folder.

    The lock ends with its process, however that ends.

    Raises:
        CliError: the folder cannot be used, or another command keeps the lock.
    """
    # Import it here: it imports asyncio, which a command that changes nothing here does not need.
    from filelock import FileLock, Timeout

    try:
        folder = state_folder(environ)
        ensure_private_folder(folder)
        lock = FileLock(folder / f"{name}.lock", timeout=LOCK_SECONDS, mode=0o600)
        lock.acquire()
    except RuntimeError:
        step = "set HOME or XDG_STATE_HOME"
        message = "there is no folder for contexts and tokens: you have no home folder"
        raise CliError(Code.BAD_INPUT, message, next_steps=[step]) from None
    except Timeout:
        raise CliError(Code.FAILED, f"another command keeps {folder / name}.lock: try again") from None
    except OSError as error:
        raise CliError(Code.FAILED, f"the folder {folder} cannot be used: {error.strerror}") from None
    try:
        yield folder
    finally:
        lock.release()


def _read(environ: Mapping[str, str]) -> Contexts:
    try:
        file = state_folder(environ) / _FILE
    except RuntimeError:
        return Contexts({})
    content = _private_json(file)
    if content is None:
        return Contexts({})
    try:
        by_name = {
            name: Context(
                ensure_name(name),
                str(entry["url"]),
                Path(entry["ca_file"]) if "ca_file" in entry else None,
                Path(entry["stack"]) if "stack" in entry else None,
                str(entry.get("person", "")),
            )
            for name, entry in content["contexts"].items()
        }
        return Contexts(by_name, str(content.get("current", "")), str(content.get("previous", "")))
    except (CliError, KeyError, TypeError, AttributeError):
        step = f"remove {file}, and sign in again: moorage login URL"
        raise CliError(Code.BAD_INPUT, f"{file} is not a file of contexts", next_steps=[step]) from None


def _private_json(file: Path) -> Any:
    """Return the content of a JSON file that is private to this user; None for any other file."""
    try:
        return json.loads(read_private(file, longest=LONGEST_FILE))
    except (OSError, ValueError, RecursionError):
        return None


def _is_stack(contexts: Contexts, name: str) -> bool:
    context = contexts.by_name.get(name)
    return context is not None and context.stack is not None
