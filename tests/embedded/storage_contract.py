"""The storage of the embedded directory, by the library's own suite; see `test_directory.py`."""

import sqlite3
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from scim2_models import ScimProvider
from scim2_server.testing import ScimStorageContract
from scim2_server.utils import load_default_provider

from embedded.directory.application import provider
from embedded.directory.storage import SqliteStorage


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "directory.sqlite"


#: Made once: it takes half a second, and the suite asks for it in each of its hundred tests.
default_provider = cache(load_default_provider)


class TestStorageContract(ScimStorageContract):
    """What the library asks of a storage, by its own suite."""

    @pytest.fixture
    def provider(self) -> ScimProvider:
        return default_provider()

    @pytest.fixture
    def storage(self, database: Path, provider: ScimProvider) -> Iterator[SqliteStorage]:
        storage = SqliteStorage(database, provider)
        yield storage
        storage.close()


def test_a_row_that_cannot_be_written_leaves_nothing_in_memory(database: Path) -> None:
    offered = provider(unique_groups=True)
    [kind] = [kind for kind in offered.resource_types if kind.name == "Group"]
    storage = SqliteStorage(database, offered)
    model: Any = offered.model_for(kind)
    storage._rows.execute("PRAGMA query_only = 1")
    with pytest.raises(sqlite3.Error):
        storage.create(kind, model(display_name="moor-a"))
    assert storage.resources == []
    storage._rows.execute("PRAGMA query_only = 0")
    storage.create(kind, model(display_name="moor-a"))
    assert len(storage.resources) == 1
    storage.close()
