"""The stand-in's state in SQLite: committed before any response is sent, complete after a restart.

One connection, used by the event loop's thread alone: what happens between two awaits is atomic.
"""

import secrets
import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embedded.sqlite_file import open_sqlite

_SCHEMA = """
CREATE TABLE organization (id TEXT PRIMARY KEY, partner_id TEXT NOT NULL);
CREATE TABLE projects (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, description TEXT NOT NULL,
    builtin INTEGER NOT NULL DEFAULT 0, created_at TEXT NOT NULL);
CREATE TABLE groups (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, description TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE TABLE roles (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, is_global INTEGER NOT NULL, scope TEXT NOT NULL);
CREATE TABLE bindings (
    group_id TEXT NOT NULL REFERENCES groups ON DELETE CASCADE,
    project_id TEXT NOT NULL REFERENCES projects ON DELETE CASCADE,
    role_id TEXT NOT NULL REFERENCES roles,
    PRIMARY KEY (group_id, project_id, role_id)) WITHOUT ROWID;
CREATE TABLE users (
    id TEXT PRIMARY KEY, username TEXT NOT NULL UNIQUE COLLATE NOCASE, created_at TEXT NOT NULL);
CREATE TABLE members (
    group_id TEXT NOT NULL REFERENCES groups ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users,
    PRIMARY KEY (group_id, user_id)) WITHOUT ROWID;
CREATE TABLE clusters (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, project_id TEXT NOT NULL REFERENCES projects,
    labels TEXT NOT NULL, blueprint TEXT NOT NULL, blueprint_version TEXT NOT NULL,
    token TEXT NOT NULL,
    bootstrap_reads INTEGER NOT NULL DEFAULT 0,
    kubernetes_version TEXT,            -- from the check-in of the agent; NULL until then
    deleting TEXT,                      -- 'asked' or 'forced'; NULL while it is not being deleted
    failed_stage TEXT, failed_reason TEXT,
    created_at TEXT NOT NULL);
CREATE TABLE blueprints (name TEXT NOT NULL, project_id TEXT, published INTEGER NOT NULL);
CREATE TABLE repositories (
    project_id TEXT NOT NULL REFERENCES projects, name TEXT NOT NULL, description TEXT NOT NULL,
    type TEXT NOT NULL, endpoint TEXT NOT NULL, created_at TEXT NOT NULL,
    PRIMARY KEY (project_id, name)) WITHOUT ROWID;
CREATE TABLE sign_ins (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, domain TEXT NOT NULL, group_attribute TEXT NOT NULL,
    metadata_url TEXT NOT NULL);
CREATE INDEX clusters_of_project ON clusters (project_id);
"""

#: Role names as the API spells them, with their scope.
_ROLES = {
    "ADMIN": "ORGANIZATION",
    "ADMINISTRATOR_READ_ONLY": "ORGANIZATION",
    "FINOPS_ADMIN": "ORGANIZATION",
    "PROJECT_ADMIN": "PROJECT",
    "PROJECT_READ_ONLY": "PROJECT",
    "INFRA_ADMIN": "PROJECT",
    "INFRA_READ_ONLY": "PROJECT",
    "CLUSTER_ADMIN": "PROJECT",
    "CLUSTER_TEMPLATE_USER": "PROJECT",
    "ENVIRONMENT_TEMPLATE_USER": "PROJECT",
    "WORKSPACE_ADMIN": "PROJECT",
    "WORKSPACE_READ_ONLY": "PROJECT",
    "NAMESPACE_ADMIN": "NAMESPACE",
    "NAMESPACE_READ_ONLY": "NAMESPACE",
}

#: The blueprints that every project has.
_BLUEPRINTS = ("default", "default-aks", "default-gke", "default-openshift", "default-upstream", "minimal")

#: Local users that are there from the start.
SEED_USERS = tuple(
    f"{name}@example.com" for name in ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi")
)

#: Ids look like "4qkolkn": opaque, lower case, seven characters.
_ID_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"
_ID_LENGTH = 7


class Database:
    """The database at `path`, created and seeded if it is new."""

    def __init__(self, path: Path) -> None:
        self._db = open_sqlite(path, _SCHEMA, isolation_level=None)
        self._db.execute("PRAGMA foreign_keys = ON")
        if not self.one("SELECT id FROM organization"):
            self._seed()
        self.organization_id: str = self.one("SELECT id FROM organization")["id"]

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def all(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """Return all rows of a query."""
        return self._db.execute(sql, values).fetchall()

    def one(self, sql: str, *values: Any) -> Any:
        """Return the first row of a query (a `sqlite3.Row`), or None."""
        return self._db.execute(sql, values).fetchone()

    def count(self, sql: str, *values: Any) -> int:
        """Return the number that a query counts."""
        return int(self._db.execute(sql, values).fetchone()[0])

    def run(self, sql: str, *values: Any) -> int:
        """Run and commit one statement; return the number of rows that it changed."""
        return self._db.execute(sql, values).rowcount

    def run_all(self, statements: Iterable[tuple[str, tuple[Any, ...]]]) -> None:
        """Commit all of the statements or none."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for sql, values in statements:
                self._db.execute(sql, values)
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def add_user(self, email: str) -> None:
        """Create a local user with this e-mail address if there is none."""
        self.run("INSERT OR IGNORE INTO users VALUES (?, ?, ?)", new_id(), email, now())

    def _seed(self) -> None:
        default = (new_id(), "defaultproject", "The built-in project", 1, now())
        self.run_all(
            [
                ("INSERT INTO organization VALUES (?, ?)", (new_id(), new_id())),
                ("INSERT INTO projects VALUES (?, ?, ?, ?, ?)", default),
                *(
                    ("INSERT INTO roles VALUES (?, ?, ?, ?)", (new_id(), name, scope != "NAMESPACE", scope))
                    for name, scope in _ROLES.items()
                ),
                *(("INSERT INTO users VALUES (?, ?, ?)", (new_id(), user, now())) for user in SEED_USERS),
                *(("INSERT INTO blueprints VALUES (?, NULL, 1)", (name,)) for name in _BLUEPRINTS),
            ]
        )


def new_id() -> str:
    """Return a new opaque id."""
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))


def now() -> str:
    """Return the present time as the API writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
