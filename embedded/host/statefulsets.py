"""The StatefulSets of the simulated host, and the pods of vClusters and their tenants.

A StatefulSet is patched as in Kubernetes: a JSON merge patch, refused if it names an old version. Scaled to
zero, its pod ends, and what the syncer has made on the host stays until it is deleted.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

from embedded.host.namespaces import Namespaces
from embedded.host.schemas import Refused, StatefulSetPatch
from embedded.host.timing import Clock

#: Label of all objects that a vCluster's syncer has made on the host.
SYNCED_BY = "vcluster.loft.sh/managed-by"
#: The Secret with the kubeconfig lags the ready pod by this part of the start. With the real chart, too, a
#: caller that reads it at once may find nothing.
EXPORT_LAG = 0.15
#: The pod that every vCluster makes on its host: its own DNS.
_DNS_POD = "coredns-5d78c9869d-7x2vn-x-kube-system-x-{release}"

#: What of the vCluster's pod a pod that restores a snapshot needs.
_POD_SPEC = {
    "containers": [
        {"name": "syncer", "image": "simulated", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    ]
}


class StatefulSets:
    """One StatefulSet for each release. Each call commits what it does before it returns."""

    def __init__(self, rows: sqlite3.Connection, clock: Clock, namespaces: Namespaces) -> None:
        self._rows = rows
        self._clock = clock
        self._namespaces = namespaces
        #: Called with the namespace and release of a pod that starts or ends.
        self.changed: Sequence[Callable[[tuple[str, str]], None]] = ()

    def resume(self) -> None:
        """Resume the ends that the last run left; call it inside the event loop."""
        ending = "SELECT namespace, release FROM pods WHERE gone_at IS NOT NULL"
        for row in self._rows.execute(ending):
            self._clock.schedule(0, self._finish_pod, row["namespace"], row["release"])
        for row in self._rows.execute("SELECT namespace, name FROM synced_pods WHERE gone_at IS NOT NULL"):
            self._clock.schedule(0, self._finish_synced, row["namespace"], row["name"])

    def create(self, namespace: str, release: str) -> None:
        """Create the StatefulSet, whose pod starts; within the transaction of the caller."""
        exported_at = self._start_pod(namespace, release)
        self._rows.execute(
            "INSERT OR REPLACE INTO statefulsets VALUES (?, ?, 1, '{}', 1, ?)",
            (namespace, release, exported_at),
        )

    def restart(self, namespace: str, release: str) -> None:
        """Replace the pod, as for another template of it; within the transaction of the caller."""
        self._rows.execute(
            "UPDATE pods SET started_at = ?, ready_at = ? WHERE namespace = ? AND release = ?"
            " AND gone_at IS NULL",
            (time.time(), self._clock.start_time(), namespace, release),
        )

    def delete(self, namespace: str, release: str) -> None:
        """Delete the StatefulSet; its pod ends later, and then all that the syncer has made."""
        if self.pod(namespace, release) is None:
            self._forget(namespace, release)
        else:
            self._end_pod(namespace, release)

    def _end_pod(self, namespace: str, release: str) -> None:
        gone_at = self._clock.end_time()
        with self._rows:
            self._rows.execute(
                "UPDATE pods SET gone_at = ? WHERE namespace = ? AND release = ?",
                (gone_at, namespace, release),
            )
        self._clock.schedule(gone_at, self._finish_pod, namespace, release)

    def get(self, namespace: str, name: str) -> dict[str, Any]:
        """Return the StatefulSet as Kubernetes does, or refuse."""
        row = self._find(namespace, name)
        return {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "resourceVersion": str(row["version"]),
                "labels": {"app": "vcluster", "release": name},
                "annotations": json.loads(row["annotations"]),
            },
            "spec": {"replicas": row["replicas"], "template": {"spec": _POD_SPEC}},
            "status": {"replicas": int(self.pod(namespace, name) is not None)},
        }

    def patch(self, namespace: str, name: str, patch: StatefulSetPatch) -> dict[str, Any]:
        """Merge the patch; refuse if it names another version than the present one."""
        self._namespaces.require_writable(namespace)
        row = self._find(namespace, name)
        if patch.metadata.resource_version not in (None, str(row["version"])):
            why = (
                "the object has been modified; please apply your changes to the latest version and try again"
            )
            raise Refused(409, f'Operation cannot be fulfilled on statefulsets.apps "{name}": {why}')
        annotations = json.loads(row["annotations"]) | patch.metadata.annotations
        kept = {key: value for key, value in annotations.items() if value is not None}
        replicas = row["replicas"] if patch.spec.replicas is None else patch.spec.replicas
        with self._rows:
            self._rows.execute(
                "UPDATE statefulsets SET replicas = ?, annotations = ?, version = version + 1"
                " WHERE namespace = ? AND release = ?",
                (replicas, json.dumps(kept), namespace, name),
            )
        self._follow(namespace, name, replicas)
        return self.get(namespace, name)

    def pods(self, namespace: str) -> list[dict[str, Any]]:
        """Return the pods of vClusters in the namespace, and those that their syncers have made."""
        own = self._rows.execute("SELECT release FROM pods WHERE namespace = ?", (namespace,))
        synced = self._rows.execute("SELECT name, release FROM synced_pods WHERE namespace = ?", (namespace,))
        return [
            *(_pod(f"{row['release']}-0", {"app": "vcluster", "release": row["release"]}) for row in own),
            *(_pod(row["name"], {SYNCED_BY: row["release"]}) for row in synced),
        ]

    def delete_pod(self, namespace: str, name: str) -> None:
        """Delete a pod, or refuse if there is none. What made it makes it again as long as that runs."""
        row = self._rows.execute(
            "SELECT release FROM synced_pods WHERE namespace = ? AND name = ?", (namespace, name)
        ).fetchone()
        if row is None:
            if self.pod(namespace, name.removesuffix("-0")) is None:
                raise Refused(404, f'pods "{name}" not found')
            return
        if self.pod(namespace, row["release"]) is not None:
            return
        gone_at = self._clock.end_time()
        with self._rows:
            self._rows.execute(
                "UPDATE synced_pods SET gone_at = ? WHERE namespace = ? AND name = ?",
                (gone_at, namespace, name),
            )
        self._clock.schedule(gone_at, self._finish_synced, namespace, name)

    def pod(self, namespace: str, release: str) -> Any:
        """Return the pod of the vCluster, also one that ends; None without one."""
        return self._rows.execute(
            "SELECT * FROM pods WHERE namespace = ? AND release = ?", (namespace, release)
        ).fetchone()

    def is_exported(self, namespace: str, release: str) -> bool:
        """Whether the Secret with the kubeconfig exists: it stays while the vCluster is paused."""
        row = self._row(namespace, release)
        return row is not None and row["exported_at"] <= time.time()

    def is_paused(self, namespace: str, release: str) -> bool:
        """Whether the StatefulSet is scaled to zero."""
        row = self._row(namespace, release)
        return row is not None and row["replicas"] == 0

    def _follow(self, namespace: str, release: str, replicas: int) -> None:
        """Do what the controller does: end the pod, or start one if there is none."""
        pod = self.pod(namespace, release)
        if replicas and pod is None:
            with self._rows:
                self._start_pod(namespace, release)
        elif not replicas and pod is not None and pod["gone_at"] is None:
            self._end_pod(namespace, release)
        for call in self.changed:
            call((namespace, release))

    def _start_pod(self, namespace: str, release: str) -> float:
        """Start the pod; return when it has written the Secret with the kubeconfig."""
        now, ready_at = time.time(), self._clock.start_time()
        self._rows.execute(
            "INSERT OR REPLACE INTO pods VALUES (?, ?, ?, ?, NULL)", (namespace, release, now, ready_at)
        )
        self._rows.execute(
            "INSERT OR REPLACE INTO synced_pods VALUES (?, ?, ?, NULL)",
            (namespace, release, _DNS_POD.format(release=release)),
        )
        return ready_at + EXPORT_LAG * (ready_at - now)

    def _finish_pod(self, namespace: str, release: str) -> None:
        # Not the pod of a later install, which has replaced the one that ends.
        with self._rows:
            ended = self._rows.execute(
                "DELETE FROM pods WHERE namespace = ? AND release = ? AND gone_at IS NOT NULL",
                (namespace, release),
            ).rowcount
        if not ended:
            return
        key = (namespace, release)
        installed = "SELECT 1 FROM releases WHERE namespace = ? AND name = ?"
        if self._rows.execute(installed, key).fetchone() is None:
            self._forget(*key)
        elif not self.is_paused(*key):
            self._follow(*key, replicas=1)

    def _forget(self, namespace: str, release: str) -> None:
        """Remove what an uninstalled release has left: the garbage collector does."""
        with self._rows:
            for table in ("statefulsets", "synced_pods"):
                statement = f"DELETE FROM {table} WHERE namespace = ? AND release = ?"  # noqa: S608 - our names
                self._rows.execute(statement, (namespace, release))

    def _finish_synced(self, namespace: str, name: str) -> None:
        with self._rows:
            self._rows.execute(
                "DELETE FROM synced_pods WHERE namespace = ? AND name = ? AND gone_at IS NOT NULL",
                (namespace, name),
            )

    def _row(self, namespace: str, release: str) -> Any:
        return self._rows.execute(
            "SELECT * FROM statefulsets WHERE namespace = ? AND release = ?", (namespace, release)
        ).fetchone()

    def _find(self, namespace: str, name: str) -> Any:
        row = self._row(namespace, name)
        if row is None:
            raise Refused(404, f'statefulsets.apps "{name}" not found')
        return row


def _pod(name: str, labels: dict[str, str]) -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {"name": name, "labels": labels}}
