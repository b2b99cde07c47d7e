"""What the outside systems really hold, read from their databases, past Moorage and past their APIs."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

from contracts.types.naming import STANDBY_NAME_START
from embedded.stack.stack import Part, Stack
from tests.support.deadline import HANG

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
        "restore pod": "SELECT release FROM restore_pods",
        "request": "SELECT release FROM requests",
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
        """How many things of each kind there are for the environment `name`; empty when it left no trace.

        On its host that is also what is in a namespace with its mark, which keeps the name of a standby.
        """
        places = {f"{PREFIX}-{name}", *self.places(name)}
        found = {}
        for part, path in self._databases.items():
            for kind, query in _QUERIES[part].items():
                if count := sum(row[0] in places for row in _rows(path, query)):
                    found[kind] = count
        return found

    def inside(self, name: str) -> set[str]:
        """The objects in the virtual cluster of the environment, which has no standby."""
        query = "SELECT namespace, resource, inner_namespace, name FROM virtual_objects"
        found = _rows(self._databases[Part.HOST], query)
        return {"/".join(row[1:]) for row in found if row[0] == f"{PREFIX}-{name}"}

    def places(self, name: str) -> list[str]:
        """The namespaces with the mark of the environment or of the standby `name`."""
        path = self._databases.get(Part.HOST)
        rows = _rows(path, "SELECT name, labels FROM namespaces") if path else []
        return [place for place, labels in rows if json.loads(labels).get("moorage.dev/name") == name]

    def standbys(self) -> dict[str, list[str]]:
        """The names of all that was made as a standby, by kind, also of those that environments have."""
        start = f"{PREFIX}-{STANDBY_NAME_START}"
        found = {
            kind: [row[0] for row in _rows(path, query) if row[0].startswith(start)]
            for part, path in self._databases.items()
            for kind, query in _QUERIES[part].items()
        }
        return {kind: names for kind, names in found.items() if names}

    def all(self) -> dict[str, int]:
        """How many things of each kind there are, whosever they are."""
        counts = {
            kind: len(_rows(path, query))
            for part, path in self._databases.items()
            for kind, query in _QUERIES[part].items()
        }
        return {kind: count for kind, count in counts.items() if count}


async def has_requests(systems: Systems, name: str, count: int) -> None:
    """Wait until there are so many requests for snapshots, without their Secrets: these go a little later."""
    async with asyncio.timeout(HANG):
        while systems.holds(name).get("request") != count:  # noqa: ASYNC110 - a database
            await asyncio.sleep(0.05)


def _rows(path: Path, query: str) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return database.execute(query).fetchall()
