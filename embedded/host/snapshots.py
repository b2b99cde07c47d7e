"""Requests for snapshots on the simulated host, and the controller in each vCluster that answers them.

The controller looks at a request in turns, as long as its vCluster runs. It holds the ConfigMap with its
finalizer, notes the phase on it, and at the end deletes the Secret and lets the ConfigMap go.
"""

import fnmatch
import json
import sqlite3
import time
from typing import Any

from clients.host.snapshots import FINALIZER, OPTIONS_KEY, RELEASE, REQUEST, REQUEST_KEY
from embedded.host.namespaces import Namespaces
from embedded.host.restores import RestorePods
from embedded.host.schemas import Refused, RequestPatch, SnapshotTrouble
from embedded.host.statefulsets import StatefulSets
from embedded.host.timing import Clock

SECRET, CONFIG_MAP = "Secret", "ConfigMap"
PLURALS = {"secrets": SECRET, "configmaps": CONFIG_MAP}
#: How long after a request its Secret may come, in seconds; after that the request has failed.
SECRET_GRACE = 10.0
_DONE = ("Completed", "Failed", "Canceled")


class SnapshotRequests:
    """The Secrets and ConfigMaps of requests. Each call commits what it does before it returns."""

    def __init__(
        self,
        rows: sqlite3.Connection,
        clock: Clock,
        namespaces: Namespaces,
        statefulsets: StatefulSets,
        files: RestorePods,
    ) -> None:
        self._rows = rows
        self._clock = clock
        self._namespaces = namespaces
        self._statefulsets = statefulsets
        self._files = files
        #: While it is set, snapshots in matching namespaces fail.
        self.trouble: SnapshotTrouble | None = None

    def resume(self) -> None:
        """Go on with the requests that the last run left; call it inside the event loop."""
        for row in self._rows.execute("SELECT DISTINCT namespace, release FROM requests"):
            self.look_again((row["namespace"], row["release"]))

    def create(self, namespace: str, kind: str, wanted: dict[str, Any]) -> dict[str, Any]:
        """Create the object, or refuse if there is one of this name."""
        self._namespaces.require_writable(namespace)
        name, labels = wanted["metadata"]["name"], wanted["metadata"].get("labels") or {}
        if REQUEST not in labels:
            raise Refused(422, "only requests for snapshots are simulated")
        data = {**wanted.get("data", {}), **wanted.get("stringData", {})}
        row = (namespace, kind, name, labels.get(RELEASE, ""), json.dumps({"labels": labels, "data": data}))
        try:
            with self._rows:
                self._rows.execute(
                    "INSERT INTO requests VALUES (?, ?, ?, ?, ?, '[]', ?, NULL, 1)", (*row, time.time())
                )
        except sqlite3.IntegrityError:
            raise Refused(409, f'{kind} "{name}" already exists') from None
        if kind == CONFIG_MAP:
            self._later(namespace, name)
        return _shown(self._existing(namespace, kind, name))

    def get(self, namespace: str, name: str) -> dict[str, Any]:
        """Return the ConfigMap as Kubernetes does, or refuse."""
        return _shown(self._existing(namespace, CONFIG_MAP, name))

    def all(self, namespace: str, kind: str) -> list[dict[str, Any]]:
        """Return all requests in the namespace; of Secrets, only what is not secret."""
        found = self._rows.execute(
            "SELECT * FROM requests WHERE namespace = ? AND kind = ? ORDER BY name", (namespace, kind)
        )
        return [_shown(row) for row in found]

    def patch(self, namespace: str, name: str, patch: RequestPatch) -> dict[str, Any]:
        """Change the finalizers of a ConfigMap; refuse if the patch names another version than its own."""
        row, wanted = self._existing(namespace, CONFIG_MAP, name), patch.metadata
        if wanted.resource_version not in (None, str(row["version"])):
            raise Refused(409, f'Operation cannot be fulfilled on configmaps "{name}": it has been modified')
        self._change(row, finalizers=wanted.finalizers)
        shown = self.get(namespace, name)
        self._remove_deleted(namespace, CONFIG_MAP, name)
        return shown

    def delete(self, namespace: str, kind: str, name: str) -> None:
        """Delete the object, or refuse if there is none; with a finalizer it stays until that is gone."""
        row = self._existing(namespace, kind, name)
        with self._rows:
            self._rows.execute(
                "UPDATE requests SET deleted_at = coalesce(deleted_at, ?), version = version + 1"
                " WHERE namespace = ? AND kind = ? AND name = ?",
                (time.time(), namespace, kind, name),
            )
        self._remove_deleted(namespace, kind, name)
        if kind == CONFIG_MAP and json.loads(row["finalizers"]):
            self._later(namespace, name)

    def names(self, namespace: str, release: str) -> list[str]:
        """Return all objects of requests to the vCluster, as `Kind name`."""
        found = self._rows.execute(
            "SELECT kind, name FROM requests WHERE namespace = ? AND release = ? ORDER BY kind, name",
            (namespace, release),
        )
        return [f"{row['kind']} {row['name']}" for row in found]

    def look_again(self, key: tuple[str, str]) -> None:
        """Let the controller of a vCluster that starts look at its requests; nothing if it ends."""
        found = self._rows.execute(
            "SELECT name FROM requests WHERE namespace = ? AND release = ? AND kind = ?", (*key, CONFIG_MAP)
        )
        for row in found.fetchall():
            self._later(key[0], row["name"])

    def _later(self, namespace: str, name: str) -> None:
        self._clock.schedule(self._clock.end_time(), self._reconcile, namespace, name)

    def _reconcile(self, namespace: str, name: str) -> None:
        """Take the next step of the controller, if its vCluster runs."""
        row = self._find(namespace, CONFIG_MAP, name)
        if row is None:
            return
        pod = self._statefulsets.pod(namespace, row["release"])
        if pod is None or pod["gone_at"] is not None:
            return
        if pod["ready_at"] > time.time():
            self._clock.schedule(pod["ready_at"], self._reconcile, namespace, name)
            return
        if row["deleted_at"] is not None:
            self._let_go(row)
            return
        request = json.loads(json.loads(row["document"])["data"].get(REQUEST_KEY, "{}"))
        phase = request.get("status", {}).get("phase", "")
        if phase in _DONE:
            self._let_go(row)
            return
        if FINALIZER not in json.loads(row["finalizers"]):
            self._change(row, finalizers=[FINALIZER])
        elif not phase:
            self._note(row, request, "CreatingEtcdBackup")
        else:
            self._take(row, request)
        self._later(namespace, name)

    def _take(self, row: sqlite3.Row, request: dict[str, Any]) -> None:
        secret = self._find(row["namespace"], SECRET, row["name"])
        trouble = self.trouble
        if trouble and fnmatch.fnmatchcase(row["namespace"], trouble.namespace):
            self._note(row, request, "Failed", trouble.failed)
        elif secret is not None and OPTIONS_KEY in (data := json.loads(secret["document"])["data"]):
            path = json.loads(data[OPTIONS_KEY])["container"]["path"]
            self._files.save(row["namespace"], row["release"], path)
            self._note(row, request, "Completed")
        elif time.time() - row["created_at"] > SECRET_GRACE:
            self._note(row, request, "Failed", f"can't find snapshot request Secret {row['name']}")

    def _note(self, row: sqlite3.Row, request: dict[str, Any], phase: str, error: str = "") -> None:
        status = {"phase": phase, **({"error": {"message": error}} if error else {})}
        document = json.loads(row["document"])
        document["data"][REQUEST_KEY] = json.dumps({**request, "status": status})
        self._change(row, document=document)

    def _let_go(self, row: sqlite3.Row) -> None:
        with self._rows:
            self._rows.execute(
                "DELETE FROM requests WHERE namespace = ? AND kind = ? AND name = ?",
                (row["namespace"], SECRET, row["name"]),
            )
        kept = [each for each in json.loads(row["finalizers"]) if each != FINALIZER]
        self._change(row, finalizers=kept)
        self._remove_deleted(row["namespace"], CONFIG_MAP, row["name"])

    def _change(
        self,
        row: sqlite3.Row,
        *,
        finalizers: list[str] | None = None,
        document: dict[str, Any] | None = None,
    ) -> None:
        with self._rows:
            self._rows.execute(
                "UPDATE requests SET finalizers = ?, document = ?, version = version + 1"
                " WHERE namespace = ? AND kind = ? AND name = ?",
                (
                    row["finalizers"] if finalizers is None else json.dumps(finalizers),
                    row["document"] if document is None else json.dumps(document),
                    row["namespace"],
                    row["kind"],
                    row["name"],
                ),
            )

    def _remove_deleted(self, namespace: str, kind: str, name: str) -> None:
        with self._rows:
            self._rows.execute(
                "DELETE FROM requests WHERE namespace = ? AND kind = ? AND name = ?"
                " AND deleted_at IS NOT NULL AND finalizers = '[]'",
                (namespace, kind, name),
            )

    def _find(self, namespace: str, kind: str, name: str) -> Any:
        return self._rows.execute(
            "SELECT * FROM requests WHERE namespace = ? AND kind = ? AND name = ?", (namespace, kind, name)
        ).fetchone()

    def _existing(self, namespace: str, kind: str, name: str) -> Any:
        row = self._find(namespace, kind, name)
        if row is None:
            raise Refused(404, f'{kind} "{name}" not found')
        return row


def _shown(row: sqlite3.Row) -> dict[str, Any]:
    document = json.loads(row["document"])
    deleted = {} if row["deleted_at"] is None else {"deletionTimestamp": f"{row['deleted_at']:.3f}"}
    return {
        "apiVersion": "v1",
        "kind": row["kind"],
        "metadata": {
            "name": row["name"],
            "namespace": row["namespace"],
            "labels": document["labels"],
            "resourceVersion": str(row["version"]),
            "finalizers": json.loads(row["finalizers"]),
            **deleted,
        },
        # As of a list of metadata: no client asks for the content of a Secret.
        **({"data": document["data"]} if row["kind"] == CONFIG_MAP else {}),
    }
