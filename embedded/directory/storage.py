"""Keeps the directory's people and groups in SQLite, with a copy of the rows in memory."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from scim2_models import Resource, ResourceType, ScimProvider
from scim2_server.memory import InMemoryStorage

from embedded.sqlite_file import open_sqlite

_TABLES = """
CREATE TABLE resources (
    id          TEXT PRIMARY KEY,
    type        TEXT NOT NULL,  -- User or Group
    name        TEXT,           -- userName or displayName, for people who read this table
    external_id TEXT,
    document    TEXT NOT NULL   -- the SCIM resource, as JSON
) STRICT
"""


def model_of(kind: ResourceType, provider: ScimProvider) -> type[Resource[Any]]:
    """Return the class of the resources of this type."""
    return cast(type[Resource[Any]], provider.model_for(kind))


class SqliteStorage(InMemoryStorage):
    """Commits every change before its response; undoes it in memory if that fails.

    The library's in-memory storage searches, by index where a filter is one comparison with `eq` of a plain
    attribute. For one process: no other may write the database.
    """

    def __init__(self, path: Path, provider: ScimProvider) -> None:
        super().__init__()
        self._provider = provider
        # Autocommit: each statement is a transaction. The library's lock already lets in one at a time.
        self._rows = open_sqlite(path, _TABLES, isolation_level=None, check_same_thread=False)
        self._load()

    def close(self) -> None:
        """Close the database."""
        self._rows.close()

    def next_version(self) -> str:
        """Return a version that is new, also after a restart."""
        return f'W/"{uuid4().hex}"'

    def create(self, resource_type: ResourceType, resource: Resource[Any]) -> Resource[Any]:
        """Create the resource and commit it."""
        with self.lock, self._reload_on_error():
            created = super().create(resource_type, resource)
            self._write(created)
            return created

    def update(
        self, resource_type: ResourceType, resource: Resource[Any], *, expected_version: str | None = None
    ) -> Resource[Any]:
        """Replace the resource and commit it."""
        with self.lock, self._reload_on_error():
            updated = super().update(resource_type, resource, expected_version=expected_version)
            self._write(updated)
            return updated

    def delete(
        self, resource_type: ResourceType, resource_id: str, *, expected_version: str | None = None
    ) -> None:
        """Delete the resource and commit that."""
        with self.lock, self._reload_on_error():
            super().delete(resource_type, resource_id, expected_version=expected_version)
            self._rows.execute("DELETE FROM resources WHERE id = ?", (resource_id,))

    @contextmanager
    def _reload_on_error(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error:
            self._load()
            raise

    def _write(self, resource: Resource[Any]) -> None:
        document = resource.model_dump()
        self._rows.execute(
            "INSERT OR REPLACE INTO resources (id, type, name, external_id, document) VALUES (?, ?, ?, ?, ?)",
            (
                resource.id,
                document["meta"]["resourceType"],
                document.get("displayName") or document.get("userName"),
                document.get("externalId"),
                json.dumps(document),
            ),
        )

    def _load(self) -> None:
        models = {kind.name: model_of(kind, self._provider) for kind in self._provider.resource_types}
        rows = self._rows.execute("SELECT type, document FROM resources")
        self.resources = [models[kind].model_validate_json(document) for kind, document in rows]
