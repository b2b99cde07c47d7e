"""Kubeconfig files: written so that only their owner can read them, with changes only to our entries.

The choice of the file and of the current context follows kubectl's rules for a list of files.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from clients import private_files
from starter.cli.errors import CliError, Code
from starter.cli.kubeconfig.text_edits import SECTIONS, Config, UnusableKubeconfig, with_entries

#: Prefix of our contexts, clusters and users; a merge changes nothing else in a file.
OURS = "moorage-"
#: Name of our extension of a context, by which `moorage delete` finds what Moorage has created. Other tools
#: keep extensions.
MARK = "moorage.dev"
#: kubectl holds its lock only during a write; an older lock was left by a crash.
LOCK_TIMEOUT_SECONDS = 5.0
#: Byte order marks that kubectl understands. Without a mark, the encoding is UTF-8.
_MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


@dataclass(frozen=True)
class MergeResult:
    """The result of a merge. `files`: the changed files, each with its backup if it existed before."""

    context: str
    #: The file with the context.
    file: Path
    is_current: bool
    files: Mapping[Path, Path | None]


@dataclass(frozen=True)
class RemovalResult:
    """The result of removing the context of an environment that is gone."""

    context: str
    file: Path
    #: Why the context is still there; "" if it was removed.
    kept: str = ""
    was_current: bool = False


def write_private(path: Path, text: str | bytes) -> None:
    """Write the file atomically, readable only by its owner; of a link, the target changes."""
    path = _real(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        private_files.write_private(path, text)
    except OSError as error:
        raise CliError(Code.FAILED, f"cannot write {path}: {error.strerror}") from None


def kubeconfig_files(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Return the files that kubectl reads, in its order: those of KUBECONFIG, or ~/.kube/config."""
    listed = [Path(part) for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    if listed:
        return list(dict.fromkeys(listed))
    try:
        return [Path.home() / ".kube" / "config"]
    except RuntimeError:
        step = "set HOME or KUBECONFIG, or name a file: --merge --file FILE"
        raise CliError(
            Code.BAD_INPUT, "cannot find your kubeconfig: HOME and KUBECONFIG are not set", next_steps=[step]
        ) from None


def default_file(files: Sequence[Path]) -> Path:
    """Return the file to which kubectl adds: the first that exists; the last if none exists."""
    return next((file for file in files if file.exists()), files[-1])


def parse_kubeconfig(text: str) -> Config:
    """Parse the kubeconfig from the API; raise CliError if it is none, or has no usable context."""
    try:
        given = Config(text)
    except UnusableKubeconfig:
        given = Config("")
    context = given.entry("contexts", given.current)
    cluster = given.entry("clusters", str(context.get("cluster"))) if isinstance(context, dict) else None
    user = given.entry("users", str(context.get("user"))) if isinstance(context, dict) else None
    if not isinstance(cluster, dict) or not isinstance(user, dict) or not _is_server(cluster.get("server")):
        # Do not show the text or a parser's message, because they can quote a credential.
        raise CliError(
            Code.UNREACHABLE,
            "the response is not a kubeconfig with a current context, so nothing was written",
            next_steps=["check that MOORAGE_URL is Moorage's API, and that no proxy answers for it"],
        )
    return given


def _is_server(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("https://", "http://"))


def renamed_entries(text: str, name: str, url: str = "") -> tuple[str, dict[str, Any]]:
    """Return the name `moorage-<name>`, and the current context, cluster and user for it.

    The extension of the context records which API gave it, and what it gave.
    """
    given = parse_kubeconfig(text)
    own = f"{OURS}{name}"
    context = given.entry("contexts", given.current)
    cluster = given.entry("clusters", context["cluster"])
    user = given.entry("users", context["user"])
    mark = {"name": MARK, "extension": {"api": url, "server": cluster["server"], "user": _digest(user)}}
    context = {**context, "cluster": own, "user": own, "extensions": [mark]}
    return own, {"clusters": cluster, "users": user, "contexts": context}


def _digest(user: object) -> str:
    return hashlib.sha256(json.dumps(user, sort_keys=True).encode()).hexdigest()[:20]


def merge_context(
    files: Path | Sequence[Path], text: str, name: str, *, switch: bool, url: str = ""
) -> MergeResult:
    """Merge the kubeconfig into the files that kubectl reads, and keep their other content.

    An existing entry of that name is replaced in its file; a new entry goes where kubectl would put it. A
    backup is written before the first byte of a file changes. With `switch`, or if no file names a current
    context, our context becomes the current one.
    """
    files = [files] if isinstance(files, Path) else list(files)
    own, entries = renamed_entries(text, name, url)
    target = default_file(files)
    with _locked([file for file in files if file == target or file.exists()]):
        texts = {file: _Text.read(file) for file in files if file == target or file.exists()}
        places = {
            section: next(
                (file for file, there in texts.items() if there.config.entries(section, own)), target
            )
            for section in SECTIONS
        }
        current = next((there.config.current for there in texts.values() if there.config.current), "")
        is_current = switch or not current or current == own
        for file, there in texts.items():
            here = {section: entry for section, entry in entries.items() if places[section] == file}
            there.change(own, here, own if is_current and current != own and file == target else None)
        done = {file: there.write() for file, there in texts.items() if there.is_changed}
    return MergeResult(own, places["contexts"], is_current, done)


def remove_context(files: Sequence[Path], name: str, url: str) -> RemovalResult | None:
    """Remove what `merge_context` created for this environment, if unchanged; None if there is nothing.

    If it was the current context, there is no current context afterwards, so that another one is not used by
    accident.
    """
    own = f"{OURS}{name}"
    there = [file for file in files if file.exists()]
    with _locked(there):
        texts = {file: _Text.read(file) for file in there}
        places = {section: _place(texts, section, own) for section in SECTIONS}
        cluster, user, context = (
            texts[place].config.entry(section, own) if place else None for section, place in places.items()
        )
        file, mark = places["contexts"], _mark_of(context)
        if file is None or context is None or mark is None or mark.get("api") != url:
            return None
        if (
            (context.get("cluster"), context.get("user")) != (own, own)
            or not isinstance(cluster, dict)
            or (cluster.get("server"), _digest(user)) != (mark.get("server"), mark.get("user"))
        ):
            return RemovalResult(own, file, kept="it was changed")
        if _is_used(texts.values(), own):
            return RemovalResult(own, file, kept="another context uses its cluster or user")
        current = next((text for text in texts.values() if text.config.current), None)
        was_current = current is not None and current.config.current == own
        for place, text in texts.items():
            here = {section: None for section, where in places.items() if where == place}
            text.change(own, here, "" if was_current and text is current else None)
        for text in texts.values():
            if text.is_changed:
                text.write(backup=False)
    return RemovalResult(own, file, was_current=was_current)


def _place(texts: "Mapping[Path, _Text]", section: str, own: str) -> Path | None:
    """Return the first file that has our entry, because kubectl uses the first."""
    return next((file for file, text in texts.items() if text.config.entries(section, own)), None)


def _mark_of(context: object) -> dict[str, Any] | None:
    extensions = context.get("extensions") if isinstance(context, dict) else None
    for one in extensions if isinstance(extensions, list) else []:
        if isinstance(one, dict) and one.get("name") == MARK and isinstance(one.get("extension"), dict):
            return dict(one["extension"])
    return None


def _is_used(texts: "Iterable[_Text]", own: str) -> bool:
    """Return whether a context of another name uses the cluster or the user."""
    contexts = [
        text.config.entry("contexts", name)
        for text in texts
        for name in text.config.names("contexts")
        if name != own
    ]
    return any(own in (one.get("cluster"), one.get("user")) for one in contexts if isinstance(one, dict))


class _Text:
    """The text of a file before and after a change; the encoding stays."""

    def __init__(self, path: Path, content: bytes) -> None:
        self.path = path
        self._before = content
        self._mark = next((mark for mark in _MARKS if content.startswith(mark)), b"")
        self._encoding = _MARKS.get(self._mark, "utf-8")
        try:
            self.text = content.removeprefix(self._mark).decode(self._encoding)
            self.config = Config(self.text)
        except UnicodeDecodeError:
            raise CliError(Code.FAILED, f"cannot read {path}: it is not text") from None
        except UnusableKubeconfig as error:
            raise CliError(Code.FAILED, f"{path} {error}, so nothing was changed") from None

    @classmethod
    def read(cls, path: Path) -> "_Text":
        try:
            return cls(path, path.read_bytes())
        except FileNotFoundError:
            return cls(path, b"")
        except OSError as error:
            raise CliError(Code.FAILED, f"cannot read {path}: {error.strerror}") from None

    @property
    def is_changed(self) -> bool:
        return self._mark + self.text.encode(self._encoding) != self._before

    def change(self, own: str, entries: Mapping[str, Any], current: str | None) -> None:
        """Change the text; entries that already have the right content keep their form."""
        needed = {
            section: entry
            for section, entry in entries.items()
            if entry is None or self.config.entry(section, own) != entry
        }
        if not needed and current is None:
            return
        try:
            self.text = with_entries(self.text, own, needed, current)
        except UnusableKubeconfig as error:
            step = "write it to another file, and add that to KUBECONFIG: moorage kubeconfig NAME --file FILE"
            message = f"{self.path} {error}, so nothing was changed"
            raise CliError(Code.FAILED, message, next_steps=[step]) from error

    def write(self, *, backup: bool = True) -> Path | None:
        """Write the file, and return the path of its backup if one was requested and it existed."""
        kept = _back_up(_real(self.path), self._before) if backup and self._before else None
        write_private(self.path, self._mark + self.text.encode(self._encoding))
        return kept


def _back_up(path: Path, content: bytes) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")  # noqa: DTZ005 (for the person at this machine)
    backup = path.with_name(f"{path.name}.backup-{stamp}")
    number = 1
    while backup.exists():
        number += 1
        backup = path.with_name(f"{path.name}.backup-{stamp}-{number}")
    write_private(backup, content)
    return backup


@contextmanager
def _locked(files: Sequence[Path]) -> Iterator[None]:
    """Lock the files against all writers that follow kubectl's convention.

    kubectl locks the path that it is given, also if it is a link; Moorage writes the target, so it locks
    both. All Moorage processes lock in the same order, so that two cannot wait for each other.
    """
    paths = {path for file in files for path in (_real(file.parent) / file.name, _real(file))}
    with ExitStack() as held:
        for path in sorted(paths):
            held.enter_context(_lock(path))
        yield


def _real(path: Path) -> Path:
    """Resolve the path as far as possible; `Path.resolve` raises for links that form a circle."""
    return Path(os.path.realpath(path))


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    # Import it here: it imports asyncio, which a command without a kubeconfig does not need.
    from filelock import SoftFileLock, Timeout

    lock = SoftFileLock(path.with_name(f"{path.name}.lock"), timeout=LOCK_TIMEOUT_SECONDS, mode=0o600)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock.acquire()
    except Timeout:
        raise CliError(
            Code.FAILED,
            f"{path} is locked by another program",
            next_steps=[f"if no program is using it, remove {lock.lock_file}"],
        ) from None
    except OSError as error:
        raise CliError(Code.FAILED, f"cannot write {path}: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()
