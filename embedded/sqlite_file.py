"""The SQLite files of the stand-ins, which know what schema they were made with."""

import sqlite3
import zlib
from pathlib import Path
from typing import Any


class OtherSchema(Exception):
    """The file was made by a version of Moorage that had other tables."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(
            f"{path} was made by another version of Moorage: start over with `moorage up --fresh`"
        )


def open_sqlite(path: Path | str, schema: str, **options: Any) -> sqlite3.Connection:
    """Open the file, or create it with the tables of `schema`; `options` are those of `sqlite3.connect`.

    With write-ahead logging, synchronous=NORMAL may lose the last writes with the machine's power, but not
    with the process, which is what a stand-in is for.

    Raises:
        OtherSchema: It was made with another schema.
    """
    rows: sqlite3.Connection = sqlite3.connect(path, **options)
    rows.row_factory = sqlite3.Row
    wanted = zlib.crc32(schema.encode()) & 0x7FFF_FFFF
    [found] = rows.execute("PRAGMA user_version").fetchone()
    [tables] = rows.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and found != wanted:
        rows.close()
        raise OtherSchema(path)
    rows.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;")
    if not tables:
        # In one transaction: a process that is killed leaves a file with all tables, or an empty one.
        rows.executescript(f"BEGIN; {schema}; PRAGMA user_version = {wanted}; COMMIT;")
    return rows
