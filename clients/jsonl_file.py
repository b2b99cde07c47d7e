"""An append-only file of JSON documents, one per line.

Several processes may append to it, and logrotate may rename it meanwhile: a document that was reported as
stored is found later, in the file or in a renamed one. This cannot be guaranteed with logrotate's
`copytruncate`, which loses lines that are appended between its copy and its truncation.
"""

import asyncio
import bz2
import errno
import fcntl
import glob
import gzip
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any

from clients.errors import ServerFailed

_MODE = 0o640
_END = b"\n"
#: Attempts to open a file that is renamed at the same time; each attempt needs a rotation to fail.
_TRIES = 5
#: Errors of file systems without locks: there a line is one write, which has to be enough.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
#: How to read compressed rotated files: logrotate's own formats, as far as Python reads them.
_OPENERS: dict[str, Callable[..., IO[Any]]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
#: For readers of records. A record stays below 1.2 MB (`contracts.environment.payload_limits`): a longer line
#: is none.
MAX_LINE_BYTES = 2 * 1024 * 1024
#: What reading a rotated file raises if it is damaged, still being compressed, or not readable.
UNREADABLE = (OSError, EOFError, lzma.LZMAError, zlib.error)


class JsonLinesFile:
    """One such file, and the files to which it was renamed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def add(self, document: str) -> None:
        """Append one document and sync it to disk; after a `ClientError` it may exist all the same."""
        try:
            await asyncio.to_thread(self._add, document)
        except OSError as error:
            detail = f"{self._path}: {error.strerror}"
            raise ServerFailed("audit log file", "add a line", detail, status=500) from None

    async def find(self, text: str) -> list[str]:
        """Return all lines that contain `text`, the oldest first; none if there is no file yet.

        Rotated files are searched as well. Those that cannot be read are skipped.
        """
        return await asyncio.to_thread(lambda: list(self._find(text)))

    def files(self) -> list[Path]:
        """Return the rotated files, oldest first, and then the file itself, whether it exists or not."""
        return [*self._rotated(), self._path]

    def _add(self, document: str) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        line = document.replace("\n", " ").encode() + _END
        for _ in range(_TRIES):
            with self._locked() as descriptor:
                if not self._is_current(descriptor):
                    continue
                _append(descriptor, line)
                # Write again if the file was renamed, because it may have been compressed before the write.
                # A duplicate line is better than a lost one.
                if self._is_current(descriptor):
                    return
        raise OSError(errno.EAGAIN, "it was renamed again and again during the write")

    @contextmanager
    def _locked(self) -> Iterator[int]:
        is_new = not self._path.exists()
        # Open for reading too, because the last byte shows whether the last line is complete.
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
        try:
            if is_new:
                _sync_folder(self._path.parent)
            _lock(descriptor)
            yield descriptor
        finally:
            os.close(descriptor)

    def _is_current(self, descriptor: int) -> bool:
        """Return whether the open file is still the one at the path."""
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def _find(self, text: str) -> Iterator[str]:
        for file in self._rotated():
            with suppress(*UNREADABLE):
                yield from _matching(file, text)
        with suppress(FileNotFoundError):
            yield from _matching(self._path, text)

    def _rotated(self) -> list[Path]:
        """Return the rotated files, oldest first: x.jsonl.1, x.jsonl-20300101.gz, x-20300101.jsonl(.gz)."""
        start, end = glob.escape(self._path.stem), glob.escape(self._path.suffix)
        forms = (f"{start}{end}[.-]*", f"{start}[.-]*{end}", f"{start}[.-]*{end}.*")
        named = {file for form in forms for file in _siblings(self._path, form)}
        aged = []
        for file in named - {self._path}:
            with suppress(OSError):
                if file.is_file():
                    aged.append((file.stat().st_mtime, file.name, file))
        return [file for _, _, file in sorted(aged)]


def _siblings(path: Path, form: str) -> Iterator[Path]:
    with suppress(OSError):
        yield from path.parent.glob(form)


def _append(descriptor: int, line: bytes) -> None:
    """Append the complete `line` as a separate line, or nothing."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != _END:
        # A full disk or a killed process has truncated the previous line: it must not spoil this one as
        # well.
        line = _END + line
    try:
        written = os.write(descriptor, line)
        if written != len(line):
            raise OSError(errno.ENOSPC, "no room for the whole line")
        os.fsync(descriptor)
    except OSError:
        with suppress(OSError):
            # Never extend the file: it may have been truncated meanwhile, and would be filled with zeros.
            if os.fstat(descriptor).st_size > size:
                os.ftruncate(descriptor, size)
        raise


def _lock(descriptor: int) -> None:
    """Lock out other writers until the file is closed, where the file system supports it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _sync_folder(folder: Path) -> None:
    """Sync the name of a new file to disk, where the file system supports it."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_compressed(file: Path) -> bool:
    """Return whether the file can only be read forward."""
    return file.suffix in _OPENERS


def open_for_reading(file: Path) -> IO[bytes]:
    """Open the file, or the content of a compressed one, as bytes."""
    opener: Callable[..., IO[bytes]] = _OPENERS.get(file.suffix, open)
    return opener(file, "rb")


def _matching(file: Path, text: str) -> Iterator[str]:
    with TextIOWrapper(open_for_reading(file), encoding="utf-8", errors="replace") as lines:
        yield from (line for line in lines if text in line)
