"""The namespaces of the simulated host: creation, content, and deletion with what blocks it."""

import hashlib
import json
import sqlite3
import uuid
from typing import Any

from embedded.host.schemas import NamespacePatch, NewNamespace, Object, Refused
from embedded.host.timing import Clock

#: Content that is deleted with a namespace: its name for people by table, and what shows only in a vCluster.
_SHOWN_CONTENT = {
    "objects": "objects",
    "releases": "Helm releases",
    "pods": "pods",
    "volumes": "volumes",
    "stubborn": "stubborn pods",
}
_CONTENT = (
    *_SHOWN_CONTENT, "statefulsets", "synced_pods", "restore_pods", "snapshot_files", "virtual_objects",
    "authorities",
)  # fmt: skip
#: The kinds of objects that keep an environment within its namespace.
_GUARDS = ("ResourceQuota", "LimitRange", "NetworkPolicy")


class Namespaces:
    """The namespaces. Each call commits what it does before it returns."""

    def __init__(self, rows: sqlite3.Connection, clock: Clock) -> None:
        self._rows = rows
        self._clock = clock

    def resume(self) -> None:
        """Resume the ends that the last run left; call it inside the event loop."""
        for row in self._rows.execute("SELECT name, gone_at FROM namespaces WHERE gone_at IS NOT NULL"):
            self._clock.schedule(row["gone_at"], self._finish, row["name"])

    def create(self, wanted: NewNamespace) -> dict[str, Any]:
        """Create the namespace, or refuse if there is one of this name."""
        if self._find(wanted.name):
            raise Refused(409, f'namespaces "{wanted.name}" already exists')
        with self._rows:
            self._rows.execute(
                "INSERT INTO namespaces (name, uid, labels, annotations) VALUES (?, ?, ?, ?)",
                (wanted.name, str(uuid.uuid4()), json.dumps(wanted.labels), json.dumps(wanted.annotations)),
            )
        return self.get(wanted.name)

    def get(self, name: str) -> dict[str, Any]:
        """Return the namespace, or refuse."""
        row = self._existing(name)
        return {
            "name": row["name"],
            "uid": row["uid"],
            "labels": json.loads(row["labels"]),
            "annotations": json.loads(row["annotations"]),
            "terminating": row["gone_at"] is not None,
            "version": _version_of(row),
        }

    def patch(self, name: str, patch: NamespacePatch) -> None:
        """Set labels and annotations of the namespace if it is as the patch says, or refuse."""
        row, wanted = self._existing(name), patch.metadata
        if (row["uid"], _version_of(row)) != (wanted.uid, wanted.resource_version):
            raise Refused(409, f'Operation cannot be fulfilled on namespaces "{name}": it has been modified')
        labels = json.loads(row["labels"]) | wanted.labels
        annotations = json.loads(row["annotations"]) | wanted.annotations
        kept = {key: value for key, value in annotations.items() if value is not None}
        with self._rows:
            self._rows.execute(
                "UPDATE namespaces SET labels = ?, annotations = ? WHERE name = ?",
                (json.dumps(labels), json.dumps(kept), name),
            )

    def labelled(self, label: str, value: str) -> list[dict[str, Any]]:
        """Return all namespaces whose label has this value."""
        names = [row["name"] for row in self._rows.execute("SELECT name FROM namespaces ORDER BY name")]
        return [each for each in map(self.get, names) if each["labels"].get(label) == value]

    def delete(self, name: str, uid: str) -> None:
        """Start the deletion of the namespace with this UID, or refuse."""
        row = self._existing(name)
        if row["uid"] != uid:
            raise Refused(412, f'namespaces "{name}" has another UID than the precondition says')
        if row["gone_at"] is None:
            gone_at = self._clock.end_time()
            with self._rows:
                self._rows.execute("UPDATE namespaces SET gone_at = ? WHERE name = ?", (gone_at, name))
            self._clock.schedule(gone_at, self._finish, name)

    def blockers(self, name: str) -> list[str]:
        """Return what a deletion waits for."""
        row = self._existing(name)
        if row["gone_at"] is None:
            return []
        finalizers = [f"finalizer {finalizer}" for finalizer in json.loads(row["finalizers"])]
        left = [
            f"{number} {what} left"
            for table, what in _SHOWN_CONTENT.items()
            if (number := self._count(table, name))
        ]
        held = self._held(name)
        return finalizers + left + [f"{row['kind']} {row['name']} with {row['finalizers']}" for row in held]

    def set_finalizers(self, name: str, finalizers: list[str]) -> None:
        """Set the finalizers of the namespace; without any its deletion completes."""
        row = self._existing(name)
        with self._rows:
            self._rows.execute(
                "UPDATE namespaces SET finalizers = ? WHERE name = ?", (json.dumps(finalizers), name)
            )
        if row["gone_at"] is not None:
            self._clock.schedule(row["gone_at"], self._finish, name)

    def set_stubborn(self, name: str, pods: list[str]) -> None:
        """Set the pods of a tenant that end only by force."""
        self._existing(name)
        with self._rows:
            self._rows.execute("DELETE FROM stubborn WHERE namespace = ?", (name,))
            self._rows.executemany("INSERT INTO stubborn VALUES (?, ?, 0)", [(name, pod) for pod in pods])

    def force_delete(self, name: str) -> dict[str, Any]:
        """Wait for pods that are asked to end for the first time; kill those that were asked before.

        Pods that restore snapshots end at once.
        """
        self._existing(name)
        with self._rows:
            self._rows.execute("DELETE FROM restore_pods WHERE namespace = ?", (name,))
            killed = self._rows.execute(
                "DELETE FROM stubborn WHERE namespace = ? AND asked > 0 RETURNING name", (name,)
            ).fetchall()
            self._rows.execute("UPDATE stubborn SET asked = asked + 1 WHERE namespace = ?", (name,))
        left = self._rows.execute("SELECT name FROM stubborn WHERE namespace = ?", (name,)).fetchall()
        return {
            "waiting_for": [f"Pod {row['name']}" for row in (*left, *killed)],
            "forced": [f"Pod {row['name']} was killed: it wanted 86400 s to end" for row in killed],
        }

    def apply(self, name: str, objects: list[Object]) -> None:
        """Create or replace objects of the namespace."""
        self.require_writable(name)
        with self._rows:
            self._rows.executemany(
                "INSERT OR REPLACE INTO objects (namespace, kind, name, document) VALUES (?, ?, ?, ?)",
                [(name, each.kind, each.metadata.name, each.model_dump_json()) for each in objects],
            )

    def label(self, name: str, labels: dict[str, str]) -> None:
        """Set labels of the namespace, as an administrator of the host may."""
        labels = json.loads(self._existing(name)["labels"]) | labels
        with self._rows:
            self._rows.execute("UPDATE namespaces SET labels = ? WHERE name = ?", (json.dumps(labels), name))

    def guards(self, name: str) -> list[dict[str, Any]]:
        """Return the guards in the namespace, as they were applied."""
        self._existing(name)
        rows = self._rows.execute(
            "SELECT document FROM objects WHERE namespace = ? AND kind IN (?, ?, ?) ORDER BY kind, name",
            (name, *_GUARDS),
        )
        return [json.loads(row["document"]) for row in rows]

    def delete_object(self, name: str, kind: str, object_name: str) -> None:
        """Delete an object of the namespace, as an administrator of the host may."""
        self._existing(name)
        with self._rows:
            self._rows.execute(
                "DELETE FROM objects WHERE namespace = ? AND kind = ? AND name = ?", (name, kind, object_name)
            )

    def _finish(self, name: str) -> None:
        row = self._find(name)
        if row is None or row["gone_at"] is None:
            return
        with self._rows:
            self._rows.execute("DELETE FROM requests WHERE namespace = ? AND finalizers = '[]'", (name,))
        if self._count("stubborn", name) or self._held(name):
            # Like a real one it waits for its last pod, and for what has a finalizer.
            self._clock.schedule(self._clock.end_time(), self._finish, name)
            return
        with self._rows:
            for table in _CONTENT:
                self._rows.execute(f"DELETE FROM {table} WHERE namespace = ?", (name,))  # noqa: S608 - our own
            # Content goes first; a finalizer keeps only the namespace itself.
            self._rows.execute("DELETE FROM namespaces WHERE name = ? AND finalizers = '[]'", (name,))

    def _find(self, name: str) -> Any:
        return self._rows.execute("SELECT * FROM namespaces WHERE name = ?", (name,)).fetchone()

    def _existing(self, name: str) -> Any:
        row = self._find(name)
        if row is None:
            raise Refused(404, f'namespaces "{name}" not found')
        return row

    def require_writable(self, name: str) -> None:
        """Refuse if nothing new can be created in it."""
        if self._existing(name)["gone_at"] is not None:
            raise Refused(422, f'namespace "{name}" is being terminated: nothing new can be made in it')

    def _held(self, namespace: str) -> list[Any]:
        """Return the requests for snapshots that a finalizer holds."""
        held = "SELECT kind, name, finalizers FROM requests WHERE namespace = ? AND finalizers != '[]'"
        return self._rows.execute(held, (namespace,)).fetchall()

    def _count(self, table: str, namespace: str) -> int:
        row = self._rows.execute(f"SELECT count(*) FROM {table} WHERE namespace = ?", (namespace,))  # noqa: S608
        return int(row.fetchone()[0])


def _version_of(row: Any) -> str:
    """Return what changes with each change of the namespace itself."""
    content = json.dumps([row["uid"], row["labels"], row["annotations"], row["finalizers"], row["gone_at"]])
    return hashlib.sha256(content.encode()).hexdigest()[:16]
