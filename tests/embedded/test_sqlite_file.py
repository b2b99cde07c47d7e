"""Ensures that a stand-in keeps its data over restarts, and says so when another version has made them."""

import sqlite3
from pathlib import Path

import pytest

from embedded.host.database import open_database
from embedded.openid.database import Database as OpenIdDatabase
from embedded.rafay.database import Database as RafayDatabase
from embedded.sqlite_file import OtherSchema, open_sqlite

SCHEMA = "CREATE TABLE people (name TEXT NOT NULL) STRICT;"


def test_data_are_there_after_a_restart(tmp_path: Path) -> None:
    first = open_sqlite(tmp_path / "db", SCHEMA)
    with first:
        first.execute("INSERT INTO people VALUES (?)", ("ada",))
    first.close()
    again = open_sqlite(tmp_path / "db", SCHEMA)
    assert [row["name"] for row in again.execute("SELECT name FROM people")] == ["ada"]
    again.close()


def test_file_of_another_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    open_sqlite(tmp_path / "db", SCHEMA).close()
    with pytest.raises(OtherSchema, match=r"made by another version of Moorage: .* `moorage up --fresh`"):
        open_sqlite(tmp_path / "db", SCHEMA.replace("people", "persons"))


@pytest.mark.parametrize("opens", [open_database, OpenIdDatabase, RafayDatabase])
def test_file_of_a_version_without_this_check_is_refused(opens: type[RafayDatabase], tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "db")
    old.execute("CREATE TABLE authorities (volume TEXT)")
    old.close()
    with pytest.raises(OtherSchema):
        opens(tmp_path / "db")


def test_empty_file_is_a_new_one(tmp_path: Path) -> None:
    """Ensures that a process that was killed at its first start does not lock its successor out."""
    (tmp_path / "db").touch()
    open_sqlite(tmp_path / "db", SCHEMA).close()
