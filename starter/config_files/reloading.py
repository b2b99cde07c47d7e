"""Values from files that users change while Moorage runs: the catalogue and the tokens."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from starter.config_files.yaml_source import FilesUnusable

#: Interval between checks of the files, in seconds: a check costs a few system calls, and users notice no
#: delay.
LOOK_EVERY_SECONDS = 1.0

_log = structlog.get_logger(__name__)

_T = TypeVar("_T")


class Reloaded(Generic[_T]):
    """The value of a file or folder, which is loaded again when it has changed.

    The first load must succeed, otherwise the constructor raises `FilesUnusable`. Later, a file with problems
    changes nothing: the last valid value stays in use, and `problems` says what is wrong until the file is
    corrected.
    """

    def __init__(self, path: Path, load: Callable[[Path], _T]) -> None:
        self._path = path
        self._load = load
        self._seen = _look(path)
        self._looked_at = time.monotonic()
        self._value = load(path)
        self.problems: tuple[str, ...] = ()
        #: How many files have problems.
        self.unusable_files = 0

    def current(self) -> _T:
        """Return the current value of the files, or their last valid value."""
        if time.monotonic() - self._looked_at >= LOOK_EVERY_SECONDS:
            self._looked_at = time.monotonic()
            seen = _look(self._path)
            if seen != self._seen:
                self._seen = seen
                self._read()
        return self._value

    def count_unusable(self) -> int:
        """Return how many files have problems, after another look at them."""
        self.current()
        return self.unusable_files

    def _read(self) -> None:
        try:
            self._value = self._load(self._path)
            self.problems, self.unusable_files = (), 0
        except FilesUnusable as unusable:
            self.problems = tuple(map(str, unusable.problems))
            self.unusable_files = len({problem.file for problem in unusable.problems})
            _log.warning("a changed file cannot be used; the last good one is", problems=self.problems)
        except Exception as error:
            # Report every exception: otherwise the last valid value stays in use forever without a sign of
            # it.
            self.unusable_files = 1
            self.problems = (f"{self._path} cannot be read: {type(error).__name__}, a fault of Moorage",)
            _log.exception("a changed file cannot be used; the last good one is", problems=self.problems)


def _look(path: Path) -> object:
    """Return a fingerprint of the files that differs after every relevant change."""
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        # Include inode, mode and modification time, because an editor replaces the file and a mount swaps a
        # link.
        return [(file, (s := file.stat()).st_ino, s.st_mode, s.st_size, s.st_mtime_ns) for file in files]
    except OSError as error:
        return type(error)
