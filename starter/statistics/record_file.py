"""Reads new lines of the file of records, across rotations. Its calls block, so run them in a thread."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from clients.jsonl_file import MAX_LINE_BYTES, UNREADABLE, JsonLinesFile, open_for_reading

#: Bytes of the first line that identify a file. They contain the name and the life of its first record.
IDENTITY_BYTES = 512

_END = b"\n"


@dataclass(frozen=True)
class Batch:
    """Lines that were appended since the last read. `skipped`: lines that are too long to be a record.

    `is_last` is False if more lines can be read at once.
    """

    lines: tuple[bytes, ...] = ()
    skipped: int = 0
    is_last: bool = True


class RecordFile:
    """The position in a file of records, and in the files to which it was renamed.

    A file is recognised by its first line, so that it makes no difference whether a rotation renames,
    compresses or copies it. After a copy, the old content is known, and the truncated file is a new one.
    """

    def __init__(self, path: Path) -> None:
        self._file = JsonLinesFile(path)
        self._offsets: dict[bytes, int] = {}
        self._read_up_to: dict[Path, tuple[int, int, int]] = {}

    def read(self, limit: int) -> Batch:
        """Return up to `limit` new lines, oldest first."""
        lines: list[bytes] = []
        skipped = 0
        files = self._file.files()
        self._read_up_to = {file: known for file, known in self._read_up_to.items() if file in files}
        for file in files:
            if len(lines) + skipped >= limit:
                return Batch(tuple(lines), skipped, is_last=False)
            skipped += self._read_file(file, lines, limit - skipped)
        return Batch(tuple(lines), skipped, is_last=len(lines) + skipped < limit)

    def _read_file(self, file: Path, lines: list[bytes], limit: int) -> int:
        """Append new lines of the file until there are `limit`; return the number of skipped lines."""
        try:
            status = file.stat()
        except OSError:
            return 0
        # Taken before the read: a line that is appended meanwhile makes the next read open the file again.
        signature = (status.st_ino, status.st_size, status.st_mtime_ns)
        if self._read_up_to.get(file) == signature:
            return 0
        skipped = 0
        try:
            with open_for_reading(file) as content:
                is_complete, skipped = self._read_content(content, lines, limit)
        except UNREADABLE:
            # Damaged, or still being compressed: then it changes, and is read again.
            is_complete = True
        if is_complete:
            self._read_up_to[file] = signature
        return skipped

    def _read_content(self, content: IO[bytes], lines: list[bytes], limit: int) -> tuple[bool, int]:
        first = content.readline(IDENTITY_BYTES)
        if not first or (len(first) < IDENTITY_BYTES and not first.endswith(_END)):
            return True, 0
        identity = hashlib.blake2b(first, digest_size=16).digest()
        offset = self._offsets.get(identity, 0)
        content.seek(offset)
        skipped = 0
        try:
            while len(lines) + skipped < limit:
                line = content.readline(MAX_LINE_BYTES)
                length = len(line)
                is_too_long = length == MAX_LINE_BYTES and not line.endswith(_END)
                while line and not line.endswith(_END):
                    # Read to the end of the line: it may be too long, or not be complete yet.
                    line = content.readline(MAX_LINE_BYTES)
                    length += len(line)
                if not line:
                    return True, skipped
                offset += length
                if is_too_long:
                    skipped += 1
                elif line.strip():
                    lines.append(line)
            return False, skipped
        finally:
            self._offsets[identity] = offset
