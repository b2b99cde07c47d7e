"""The pods of the simulated host that restore snapshots, and the files that they read.

A pod replaces all objects in its virtual cluster by those of the snapshot. Like the vendor's, it leaves them
as they are when it fails; and it fails while its vCluster runs.
"""

import base64
import fnmatch
import json
import secrets
import sqlite3
from typing import Any

from embedded.host.namespaces import Namespaces
from embedded.host.schemas import Refused, SnapshotTrouble
from embedded.host.statefulsets import StatefulSets
from embedded.host.timing import Clock


class RestorePods:
    """The pods. Each call commits what it does before it returns."""

    def __init__(
        self, rows: sqlite3.Connection, clock: Clock, namespaces: Namespaces, statefulsets: StatefulSets
    ) -> None:
        self._rows = rows
        self._clock = clock
        self._namespaces = namespaces
        self._statefulsets = statefulsets
        #: While it is set, restores in matching namespaces fail.
        self.trouble: SnapshotTrouble | None = None

    def resume(self) -> None:
        """Run the pods that the last run left; call it inside the event loop."""
        for row in self._rows.execute("SELECT namespace, name FROM restore_pods WHERE phase = 'Pending'"):
            self._clock.schedule(self._clock.end_time(), self._run, row["namespace"], row["name"])

    def create(self, namespace: str, wanted: dict[str, Any]) -> dict[str, Any]:
        """Create the pod, which soon runs; refuse if there is one of this name, or if it restores nothing."""
        self._namespaces.require_writable(namespace)
        name, labels = wanted["metadata"]["name"], wanted["metadata"].get("labels") or {}
        try:
            env = {each["name"]: each.get("value", "") for each in wanted["spec"]["containers"][0]["env"]}
            options = json.loads(base64.b64decode(env["VCLUSTER_STORAGE_OPTIONS"]))
            path = str(options["container"]["path"])
            row = (namespace, labels["release"], name, secrets.token_hex(16), json.dumps(labels), path)
        except (KeyError, IndexError, TypeError, ValueError):
            raise Refused(422, "only pods that restore snapshots are simulated") from None
        try:
            with self._rows:
                self._rows.execute("INSERT INTO restore_pods VALUES (?, ?, ?, ?, ?, ?, 'Pending', '')", row)
        except sqlite3.IntegrityError:
            raise Refused(409, f'pods "{name}" already exists') from None
        self._clock.schedule(self._clock.end_time(), self._run, namespace, name)
        return next(each for each in self.pods(namespace) if each["metadata"]["name"] == name)

    def pods(self, namespace: str) -> list[dict[str, Any]]:
        """Return the pods of the namespace, as Kubernetes does."""
        found = self._rows.execute(
            "SELECT * FROM restore_pods WHERE namespace = ? ORDER BY name", (namespace,)
        )
        return [_shown(row) for row in found]

    def delete(self, namespace: str, name: str, uid: str) -> bool:
        """Delete the pod, or refuse if it has another UID than `uid`; return whether there was one."""
        key = (namespace, name)
        row = self._rows.execute(
            "SELECT uid FROM restore_pods WHERE namespace = ? AND name = ?", key
        ).fetchone()
        if row is None:
            return False
        if uid and uid != row["uid"]:
            raise Refused(412, f'pods "{name}" has another UID than the precondition says')
        with self._rows:
            self._rows.execute("DELETE FROM restore_pods WHERE namespace = ? AND name = ?", key)
        return True

    def save(self, namespace: str, release: str, path: str) -> None:
        """Write the file of a snapshot."""
        found = self._rows.execute(
            "SELECT resource, inner_namespace, name, document FROM virtual_objects"
            " WHERE namespace = ? AND release = ?",
            (namespace, release),
        )
        row = (namespace, release, path, json.dumps([list(each) for each in found]))
        with self._rows:
            self._rows.execute("INSERT OR REPLACE INTO snapshot_files VALUES (?, ?, ?, ?)", row)

    def _run(self, namespace: str, name: str) -> None:
        row = self._rows.execute(
            "SELECT * FROM restore_pods WHERE namespace = ? AND name = ? AND phase = 'Pending'",
            (namespace, name),
        ).fetchone()
        if row is None:
            return
        message = self._restore(namespace, row["release"], row["path"])
        with self._rows:
            self._rows.execute(
                "UPDATE restore_pods SET phase = ?, message = ? WHERE namespace = ? AND name = ?",
                ("Failed" if message else "Succeeded", message, namespace, name),
            )

    def _restore(self, namespace: str, release: str, path: str) -> str:
        """Replace the objects in the virtual cluster; return why that failed, if it did."""
        trouble = self.trouble
        if trouble and fnmatch.fnmatchcase(namespace, trouble.namespace):
            return trouble.failed
        if self._statefulsets.pod(namespace, release) is not None:
            return "database is locked"
        key = (namespace, release)
        query = "SELECT content FROM snapshot_files WHERE namespace = ? AND release = ? AND path = ?"
        file = self._rows.execute(query, (*key, path)).fetchone()
        if file is None:
            return f"failed to get snapshot: open {path}: no such file or directory"
        with self._rows:
            self._rows.execute("DELETE FROM virtual_objects WHERE namespace = ? AND release = ?", key)
            self._rows.executemany(
                "INSERT INTO virtual_objects (namespace, release, resource, inner_namespace, name, document)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                [(*key, *each) for each in json.loads(file["content"])],
            )
        return ""


def _shown(row: sqlite3.Row) -> dict[str, Any]:
    ended = {"exitCode": 1, "message": row["message"]} if row["phase"] == "Failed" else {"exitCode": 0}
    states = {} if row["phase"] == "Pending" else {"containerStatuses": [{"state": {"terminated": ended}}]}
    return {
        "kind": "Pod",
        "metadata": {"name": row["name"], "uid": row["uid"], "labels": json.loads(row["labels"])},
        "status": {"phase": row["phase"], **states},
    }
