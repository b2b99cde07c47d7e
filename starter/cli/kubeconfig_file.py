"""Kubeconfig files: written so that only their owner can read them, and changed in nothing but our entries.

Which file is written, and which context is the current one, follows kubectl's rules for a list of files.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from clients import private_files
from starter.cli.errors import CliError, Code
from starter.cli.kubeconfig_text import SECTIONS, Config, Unusable, changed

#: Contexts, clusters and users of ours begin so; nothing else in a merged file is touched.
OURS = "moorage-"
#: Our extension of a context, by which `moorage delete` knows what it has made. Others' tools keep it.
MARK = "moorage.dev"
#: kubectl holds its lock for the moment of a write; one that is older was left behind by a crash.
LOCK_SECONDS = 5.0
#: Byte order marks that kubectl understands. Without one it is UTF-8.
_MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


@dataclass(frozen=True)
class Merged:
    """What a merge did. `files` are the changed ones, each with its backup, if it was there before."""

    context: str
    #: The file that has the context.
    file: Path
    is_current: bool
    files: Mapping[Path, Path | None]


@dataclass(frozen=True)
class Forgotten:
    """What became of the context of an environment that is gone."""

    context: str
    file: Path
    #: Why it is still there; "" if it is not.
    kept: str = ""
    was_current: bool = False


def write_private(path: Path, text: str | bytes) -> None:
    """Write the file whole or not at all, readable by its owner only; a link stays, its target changes."""
    path = _real(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        private_files.write_private(path, text)
    except OSError as error:
        raise CliError(Code.FAILED, f"{path} cannot be written: {error.strerror}") from None


def kubeconfig_files(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """The files that kubectl reads, in its order: those of KUBECONFIG, or ~/.kube/config."""
    listed = [Path(part) for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    if listed:
        return list(dict.fromkeys(listed))
    try:
        return [Path.home() / ".kube" / "config"]
    except RuntimeError:
        step = "set HOME or KUBECONFIG, or name a file: --merge --file FILE"
        raise CliError(
            Code.BAD_INPUT, "it is not known where your kubeconfig is", next_steps=[step]
        ) from None


def default_file(files: Sequence[Path]) -> Path:
    """The file that kubectl adds to: the first that is there; the last one if none is."""
    return next((file for file in files if file.exists()), files[-1])


def checked(text: str) -> Config:
    """The kubeconfig that the API gave; CliError if it is none, or has no current context to use."""
    try:
        given = Config(text)
    except Unusable:
        given = Config("")
    context = given.entry("contexts", given.current)
    cluster = given.entry("clusters", str(context.get("cluster"))) if isinstance(context, dict) else None
    user = given.entry("users", str(context.get("user"))) if isinstance(context, dict) else None
    if not isinstance(cluster, dict) or not isinstance(user, dict) or not _is_server(cluster.get("server")):
        # Not the text itself, nor a parser's words on it: they may quote a credential.
        raise CliError(
            Code.UNREACHABLE,
            "what came in answer is no kubeconfig with a current context, so nothing was written",
            next_steps=["see that MOORAGE_URL leads to Moorage's API, and what a proxy in between answers"],
        )
    return given


def _is_server(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("https://", "http://"))


def renamed(text: str, name: str, url: str = "") -> tuple[str, dict[str, Any]]:
    """The current context of a kubeconfig as `moorage-<name>`, with its cluster and user named so too.

    Its extension says which API gave it, and what it gave.
    """
    given = checked(text)
    own = f"{OURS}{name}"
    context = given.entry("contexts", given.current)
    cluster = given.entry("clusters", context["cluster"])
    user = given.entry("users", context["user"])
    mark = {"name": MARK, "extension": {"api": url, "server": cluster["server"], "user": _digest(user)}}
    context = {**context, "cluster": own, "user": own, "extensions": [mark]}
    return own, {"clusters": cluster, "users": user, "contexts": context}


def _digest(user: object) -> str:
    return hashlib.sha256(json.dumps(user, sort_keys=True).encode()).hexdigest()[:20]


def merge(files: Path | Sequence[Path], text: str, name: str, *, switch: bool, url: str = "") -> Merged:
    """Put the kubeconfig into the files that kubectl reads, beside what is there.

    An entry of that name is replaced where it is; a new one goes where kubectl would put it. A backup is made
    before the first byte of a file changes. With `switch`, and where no file names a current context, ours
    becomes the current one.
    """
    files = [files] if isinstance(files, Path) else list(files)
    own, entries = renamed(text, name, url)
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
    return Merged(own, places["contexts"], is_current, done)


def forget(files: Sequence[Path], name: str, url: str) -> Forgotten | None:
    """Take out what `merge` made of this environment, if it is still as it made it; None if there is nothing.

    If it was the current context, there is none afterwards: another one must not be used by accident.
    """
    own = f"{OURS}{name}"
    there = [file for file in files if file.exists()]
    with _locked(there):
        texts = {file: _Text.read(file) for file in there}
        places = {section: _place(texts, section, own) for section in SECTIONS}
        cluster, user, context = (
            texts[place].config.entry(section, own) if place else None for section, place in places.items()
        )
        file, mark = places["contexts"], _mark(context)
        if file is None or context is None or mark is None or mark.get("api") != url:
            return None
        if (
            (context.get("cluster"), context.get("user")) != (own, own)
            or not isinstance(cluster, dict)
            or (cluster.get("server"), _digest(user)) != (mark.get("server"), mark.get("user"))
        ):
            return Forgotten(own, file, kept="it was changed since")
        if _is_used(texts.values(), own):
            return Forgotten(own, file, kept="another context uses its cluster or user")
        current = next((text for text in texts.values() if text.config.current), None)
        was_current = current is not None and current.config.current == own
        for place, text in texts.items():
            here = {section: None for section, where in places.items() if where == place}
            text.change(own, here, "" if was_current and text is current else None)
        for text in texts.values():
            if text.is_changed:
                text.write(backup=False)
    return Forgotten(own, file, was_current=was_current)


def _place(texts: "Mapping[Path, _Text]", section: str, own: str) -> Path | None:
    """The first file that has an entry of ours: that is the one that kubectl believes."""
    return next((file for file, text in texts.items() if text.config.entries(section, own)), None)


def _mark(context: object) -> dict[str, Any] | None:
    extensions = context.get("extensions") if isinstance(context, dict) else None
    for one in extensions if isinstance(extensions, list) else []:
        if isinstance(one, dict) and one.get("name") == MARK and isinstance(one.get("extension"), dict):
            return dict(one["extension"])
    return None


def _is_used(texts: "Iterable[_Text]", own: str) -> bool:
    """Whether a context of another name uses the cluster or the user."""
    contexts = [
        text.config.entry("contexts", name)
        for text in texts
        for name in text.config.names("contexts")
        if name != own
    ]
    return any(own in (one.get("cluster"), one.get("user")) for one in contexts if isinstance(one, dict))


class _Text:
    """A file's text, before and after. Its encoding stays."""

    def __init__(self, path: Path, content: bytes) -> None:
        self.path = path
        self._before = content
        self._mark = next((mark for mark in _MARKS if content.startswith(mark)), b"")
        self._encoding = _MARKS.get(self._mark, "utf-8")
        try:
            self.text = content.removeprefix(self._mark).decode(self._encoding)
            self.config = Config(self.text)
        except UnicodeDecodeError:
            raise CliError(Code.FAILED, f"{path} cannot be read: it is not text") from None
        except Unusable as error:
            raise CliError(Code.FAILED, f"{path} {error}, so nothing was changed") from None

    @classmethod
    def read(cls, path: Path) -> "_Text":
        try:
            return cls(path, path.read_bytes())
        except FileNotFoundError:
            return cls(path, b"")
        except OSError as error:
            raise CliError(Code.FAILED, f"{path} cannot be read: {error.strerror}") from None

    @property
    def is_changed(self) -> bool:
        return self._mark + self.text.encode(self._encoding) != self._before

    def change(self, own: str, entries: Mapping[str, Any], current: str | None) -> None:
        """Change the text. Entries that say already what they are to say stay as they are written."""
        needed = {
            section: entry
            for section, entry in entries.items()
            if entry is None or self.config.entry(section, own) != entry
        }
        if not needed and current is None:
            return
        try:
            self.text = changed(self.text, own, needed, current)
        except Unusable as error:
            step = "write it to another file, and add that to KUBECONFIG: moorage kubeconfig NAME --file FILE"
            message = f"{self.path} {error}, so nothing was changed"
            raise CliError(Code.FAILED, message, next_steps=[step]) from None

    def write(self, *, backup: bool = True) -> Path | None:
        """Write the file; the backup of what it was before, if it was there and one is wanted."""
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
    """Nobody who follows kubectl's convention writes the files meanwhile.

    kubectl locks the path that it is given, be it a link; we who write the target lock both. All lock in the
    same order, so that two cannot wait for each other.
    """
    paths = {path for file in files for path in (_real(file.parent) / file.name, _real(file))}
    with ExitStack() as held:
        for path in sorted(paths):
            held.enter_context(_lock(path))
        yield


def _real(path: Path) -> Path:
    """Where the path leads, as far as it does: `Path.resolve` raises for links that lead in a circle."""
    return Path(os.path.realpath(path))


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    lock = path.with_name(f"{path.name}.lock")
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            break
        except FileExistsError:
            if time.monotonic() > deadline:
                raise CliError(
                    Code.FAILED,
                    f"{path} is locked by another program",
                    next_steps=[f"if none is at work on it, remove {lock}"],
                ) from None
            time.sleep(0.05)
        except OSError as error:
            raise CliError(Code.FAILED, f"{path} cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        with suppress(OSError):
            lock.unlink()
