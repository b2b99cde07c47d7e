"""What is read from files that are changed while Moorage runs: the catalogue and the tokens."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from starter.config_files.yaml_source import FilesUnusable

#: Looking at the files costs a few system calls; once in this many seconds is soon enough for people.
LOOK_EVERY_SECONDS = 1.0

_log = structlog.get_logger(__name__)

_T = TypeVar("_T")


class Reloaded(Generic[_T]):
    """The value of a file or folder, read again when it has changed.

    The first reading must succeed (`FilesUnusable`). Later, a file with problems changes nothing: the last
    good value stays in force, and `problems` says what is wrong until it is mended.
    """

    def __init__(self, path: Path, load: Callable[[Path], _T]) -> None:
        self._path = path
        self._load = load
        self._seen = _look(path)
        self._looked_at = time.monotonic()
        self._value = load(path)
        self.problems: tuple[str, ...] = ()

    def current(self) -> _T:
        """The value as the files have it now, or had it when they were last good."""
        if time.monotonic() - self._looked_at >= LOOK_EVERY_SECONDS:
            self._looked_at = time.monotonic()
            seen = _look(self._path)
            if seen != self._seen:
                self._seen = seen
                self._read()
        return self._value

    def _read(self) -> None:
        try:
            self._value = self._load(self._path)
            self.problems = ()
        except FilesUnusable as unusable:
            self.problems = tuple(map(str, unusable.problems))
            _log.warning("a changed file cannot be used; the last good one is", problems=self.problems)
        except Exception as error:
            # Whatever it is, it must be told: nobody else sees that the last good one goes on for ever.
            self.problems = (f"{self._path} cannot be read: {type(error).__name__}, a fault of Moorage",)
            _log.exception("a changed file cannot be used; the last good one is", problems=self.problems)


def _look(path: Path) -> object:
    """Something that differs after every change that matters."""
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        # Inode, mode and change time too: an editor replaces the file, a mount swaps a link.
        return [(file, (s := file.stat()).st_ino, s.st_mode, s.st_size, s.st_mtime_ns) for file in files]
    except OSError as error:
        return type(error)
