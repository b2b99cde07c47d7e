"""Documents of a directory in SQLite, with a second view on them that lags behind."""

import json
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from embedded.sqlite_file import open_sqlite

Document = dict[str, Any]

_TABLES = """
CREATE TABLE documents (
    kind TEXT NOT NULL, key TEXT NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT;
-- What the lagging view shows.
CREATE TABLE lagging (
    kind TEXT NOT NULL, key TEXT NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT;
-- Changes that the lagging view does not show yet, in their order; NULL is a delete.
CREATE TABLE changes (
    number INTEGER PRIMARY KEY, due REAL NOT NULL,
    kind TEXT NOT NULL, key TEXT NOT NULL, document TEXT
) STRICT;
"""


class _Change(NamedTuple):
    number: int
    due: float
    kind: str
    key: str
    document: Document | None


class LaggingStore:
    """Commits every change before it returns; the lagging view shows it `lag()` seconds later.

    All documents are in memory as well: a filter looks at each of them. For one process only.
    """

    def __init__(self, path: Path, lag: Callable[[], float]) -> None:
        self._lag = lag
        self._rows = open_sqlite(path, _TABLES)
        self._current = self._load("documents")
        self._lagging = self._load("lagging")
        self._changes = deque(
            _Change(number, due, kind, key, None if document is None else json.loads(document))
            for number, due, kind, key, document in self._rows.execute(
                "SELECT number, due, kind, key, document FROM changes ORDER BY number"
            )
        )

    def close(self) -> None:
        """Close the database."""
        self._rows.close()

    def all(self, kind: str) -> Mapping[str, Document]:
        """Return the documents of the kind as they are, by key."""
        return self._current[kind]

    def all_lagging(self, kind: str) -> Mapping[str, Document]:
        """Return the documents of the kind as the lagging view shows them, by key."""
        self._advance(time.time())
        return self._lagging[kind]

    def put(self, kind: str, key: str, document: Document) -> None:
        """Create or replace a document."""
        self._change(kind, key, document)

    def delete(self, kind: str, key: str) -> None:
        """Delete a document, if there is one."""
        if key in self._current[kind]:
            self._change(kind, key, None)

    def seed(self, kind: str, documents: Iterable[tuple[str, Document]]) -> None:
        """Create or replace documents that both views show at once."""
        given = list(documents)
        seeded = {key for key, _ in given}
        # Earlier changes of them would replace in the lagging view what it shows from now on.
        overtaken = [change for change in self._changes if change.kind == kind and change.key in seeded]
        with self._rows:
            for change in overtaken:
                self._changes.remove(change)
                self._rows.execute("DELETE FROM changes WHERE number = ?", (change.number,))
            for table, view in (("documents", self._current), ("lagging", self._lagging)):
                self._rows.executemany(
                    f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)",  # noqa: S608 - our own names
                    [(kind, key, json.dumps(document)) for key, document in given],
                )
                view[kind].update(given)

    def settle(self) -> None:
        """Let the lagging view show everything."""
        self._advance(float("inf"))

    def _change(self, kind: str, key: str, document: Document | None) -> None:
        due = time.time() + self._lag()
        if self._changes:  # the view shows changes in their order, also after the lag was shortened
            due = max(due, self._changes[-1].due)
        text = None if document is None else json.dumps(document)
        with self._rows:
            self._write("documents", kind, key, text)
            number = self._rows.execute(
                "INSERT INTO changes (due, kind, key, document) VALUES (?, ?, ?, ?)", (due, kind, key, text)
            ).lastrowid
        self._show(self._current, kind, key, document)
        self._changes.append(_Change(number or 0, due, kind, key, document))

    def _advance(self, now: float) -> None:
        if not self._changes or self._changes[0].due > now:
            return
        with self._rows:
            while self._changes and self._changes[0].due <= now:
                change = self._changes.popleft()
                text = None if change.document is None else json.dumps(change.document)
                self._write("lagging", change.kind, change.key, text)
                self._rows.execute("DELETE FROM changes WHERE number = ?", (change.number,))
                self._show(self._lagging, change.kind, change.key, change.document)

    def _write(self, table: str, kind: str, key: str, text: str | None) -> None:
        if text is None:
            statement = f"DELETE FROM {table} WHERE kind = ? AND key = ?"  # noqa: S608 - our own names
            self._rows.execute(statement, (kind, key))
        else:
            statement = f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)"  # noqa: S608 - our own names
            self._rows.execute(statement, (kind, key, text))

    @staticmethod
    def _show(view: dict[str, dict[str, Document]], kind: str, key: str, document: Document | None) -> None:
        if document is None:
            view[kind].pop(key, None)
        else:
            view[kind][key] = document

    def _load(self, table: str) -> dict[str, dict[str, Document]]:
        loaded: dict[str, dict[str, Document]] = defaultdict(dict)
        statement = f"SELECT kind, key, document FROM {table}"  # noqa: S608 - our own names
        for kind, key, document in self._rows.execute(statement):
            loaded[kind][key] = json.loads(document)
        return loaded
