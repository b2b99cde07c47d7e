"""The provider's state in SQLite: what is given out once is used once, also across a restart.

Codes and tokens are kept as SHA-256: they are random, so that the hash gives none of them away. One
connection, used by the event loop's thread alone: what happens between two awaits is atomic.
"""

import hashlib
import json
import secrets
import sqlite3
from pathlib import Path
from typing import Any

from embedded.sqlite_file import open_sqlite

_SCHEMA = """
CREATE TABLE keys (id TEXT PRIMARY KEY, jwk TEXT NOT NULL, created_at REAL NOT NULL);
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, email TEXT NOT NULL, scope TEXT NOT NULL, revoked INTEGER NOT NULL DEFAULT 0);
-- What is good for one use: sign-in pages, authorization codes and refresh tokens.
CREATE TABLE grants (
    hash TEXT PRIMARY KEY, kind TEXT NOT NULL, session_id TEXT, data TEXT NOT NULL,
    expires_at REAL NOT NULL, used INTEGER NOT NULL DEFAULT 0);
CREATE TABLE devices (
    hash TEXT PRIMARY KEY, user_code TEXT NOT NULL UNIQUE, scope TEXT NOT NULL, challenge TEXT NOT NULL,
    state TEXT NOT NULL, session_id TEXT, interval REAL NOT NULL, asked_at REAL NOT NULL,
    expires_at REAL NOT NULL);
"""

#: How long an expired device code is known: longer than any device goes on asking.
KEPT_SECONDS = 3600.0


class Database:
    """The database at `path`, created if it is new."""

    def __init__(self, path: Path | str) -> None:
        self._db = open_sqlite(path, _SCHEMA, isolation_level=None)

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def all(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """Return all rows of a query."""
        return self._db.execute(sql, values).fetchall()

    def one(self, sql: str, *values: Any) -> Any:
        """Return the first row of a query (a `sqlite3.Row`), or None."""
        return self._db.execute(sql, values).fetchone()

    def run(self, sql: str, *values: Any) -> int:
        """Run and commit one statement; return the number of rows that it changed."""
        return self._db.execute(sql, values).rowcount

    def new_session(self, email: str, scope: str) -> str:
        """Create the session of a person and a client, which all tokens of a sign-in belong to."""
        session_id = secrets.token_urlsafe(16)
        self.run("INSERT INTO sessions (id, email, scope) VALUES (?, ?, ?)", session_id, email, scope)
        return session_id

    def revoke(self, session_id: str) -> None:
        """End a session: none of its refresh tokens is accepted any more."""
        self.run("UPDATE sessions SET revoked = 1 WHERE id = ?", session_id)

    def session(self, session_id: str) -> Any:
        """Return the session, or None if it is unknown or revoked."""
        return self.one("SELECT * FROM sessions WHERE id = ? AND NOT revoked", session_id)

    def new_grant(self, kind: str, session_id: str | None, data: dict[str, str], expires_at: float) -> str:
        """Return a new secret that `use_grant` accepts once."""
        secret = secrets.token_urlsafe(32)
        values = (digest(secret), kind, session_id, json.dumps(data), expires_at)
        self.run(
            "INSERT INTO grants (hash, kind, session_id, data, expires_at) VALUES (?, ?, ?, ?, ?)", *values
        )
        return secret

    def grant(self, kind: str, secret: str) -> Any:
        """Return the grant of the secret with its `data`, used or not; None if it is unknown."""
        row = self.one("SELECT * FROM grants WHERE hash = ? AND kind = ?", digest(secret), kind)
        return None if row is None else {**dict(row), "data": json.loads(row["data"])}

    def use_grant(self, secret: str) -> bool:
        """Mark the grant as used; return False if it was used before."""
        return self.run("UPDATE grants SET used = 1 WHERE hash = ? AND NOT used", digest(secret)) == 1

    def remove_expired(self, now: float) -> None:
        """Remove what has expired; a used refresh token stays until then, so that its reuse is noticed."""
        self.run("DELETE FROM grants WHERE expires_at < ?", now)
        # Keep expired codes for a while, so that a device that still polls gets the right error.
        self.run("DELETE FROM devices WHERE expires_at < ?", now - KEPT_SECONDS)


def digest(secret: str) -> str:
    """Return the form in which a secret is kept."""
    return hashlib.sha256(secret.encode()).hexdigest()
