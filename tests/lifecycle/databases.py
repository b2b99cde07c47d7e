"""What the outside systems really hold, read from their databases, past Moorage and past their APIs."""

import sqlite3
from contextlib import closing
from pathlib import Path

from embedded.stack.stack import Part, Stack

#: For each system: what to call a thing, and the query that lists the names of all such things.
_QUERIES = {
    Part.CONTROL_PLANE: {
        "project": "SELECT name FROM projects WHERE NOT builtin",
        "group": "SELECT name FROM groups",
        "binding": "SELECT groups.name FROM bindings JOIN groups ON groups.id = group_id",
        "member": "SELECT groups.name FROM members JOIN groups ON groups.id = group_id",
        "cluster": "SELECT name FROM clusters",
    },
    Part.DIRECTORY: {"IdP group": "SELECT name FROM resources WHERE type = 'Group'"},
    Part.HOST: {
        "namespace": "SELECT name FROM namespaces",
        "object": "SELECT namespace FROM objects",
        "release": "SELECT name FROM releases",
        "pod": "SELECT release FROM pods",
        "stateful set": "SELECT release FROM statefulsets",
        "synced pod": "SELECT release FROM synced_pods",
        "volume": "SELECT release FROM volumes",
        "object inside": "SELECT release FROM virtual_objects",
    },
}
PREFIX = "mrg"


class Systems:
    """The databases of a stack's stand-ins."""

    def __init__(self, stack: Stack) -> None:
        self._databases = {
            part: path
            for part, path in stack.databases.items()
            # The OpenID provider holds nothing of environments.
            if part in stack.options.parts and part in _QUERIES
        }

    def holds(self, name: str) -> dict[str, int]:
        """How many things of each kind there are for the environment `name`; empty when it left no trace."""
        found = {}
        for part, path in self._databases.items():
            for kind, query in _QUERIES[part].items():
                if count := [row[0] for row in _rows(path, query)].count(f"{PREFIX}-{name}"):
                    found[kind] = count
        return found

    def all(self) -> dict[str, int]:
        """How many things of each kind there are, whosever they are."""
        counts = {
            kind: len(_rows(path, query))
            for part, path in self._databases.items()
            for kind, query in _QUERIES[part].items()
        }
        return {kind: count for kind, count in counts.items() if count}


def _rows(path: Path, query: str) -> list[tuple[str]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return database.execute(query).fetchall()
