"""The Helm releases of the simulated host, their pods, and the volumes that they leave."""

import fnmatch
import json
import re
import secrets
import sqlite3
import time
from typing import Any

from embedded.host.namespaces import Namespaces
from embedded.host.restores import RestorePods
from embedded.host.schemas import NewRelease, Refused, StartupTrouble
from embedded.host.snapshots import SnapshotRequests
from embedded.host.statefulsets import StatefulSets

#: Version of the host, and of each vCluster whose values have none.
VERSION = "v1.36.0+simulated"

#: The stages of a start: the part of it up to which a stage lasts, and what it waits for.
STAGES = (
    (0.15, "volume data-{name}-0 to be bound"),
    (0.55, "the image of the control plane to be pulled"),
    (1.0, "the control plane to answer"),
)


class Releases:
    """The releases. Each call commits what it does before it returns."""

    def __init__(
        self,
        rows: sqlite3.Connection,
        namespaces: Namespaces,
        statefulsets: StatefulSets,
        requests: SnapshotRequests,
        restores: RestorePods,
    ) -> None:
        self._rows = rows
        self._namespaces = namespaces
        self._statefulsets = statefulsets
        self._requests = requests
        self._restores = restores
        #: While it is set, starts do not get ready.
        self.trouble: StartupTrouble | None = None

    def get(self, namespace: str, name: str) -> dict[str, Any]:
        """Return the release, or refuse."""
        row = self._find(namespace, name)
        return {
            "name": row["name"],
            "namespace": row["namespace"],
            "status": row["status"],
            "chart_version": row["chart_version"],
            "labels": json.loads(row["labels"]),
        }

    def install(self, namespace: str, name: str, wanted: NewRelease) -> None:
        """Install the release, or refuse if there is one of this name."""
        self._namespaces.require_writable(namespace)
        try:
            with self._rows:
                self._rows.execute(
                    "INSERT INTO releases VALUES (?, ?, 'deployed', ?, ?, ?, ?)",
                    (
                        namespace,
                        name,
                        wanted.chart.version,
                        json.dumps(wanted.labels),
                        wanted.chart.model_dump_json(),
                        json.dumps(wanted.values),
                    ),
                )
                self._statefulsets.create(namespace, name)
                # A volume that an earlier release left brings its state back, and its token.
                self._rows.execute(
                    "INSERT OR IGNORE INTO volumes VALUES (?, ?, ?, ?)",
                    (namespace, f"data-{name}-0", name, secrets.token_urlsafe(24)),
                )
        except sqlite3.IntegrityError:
            raise Refused(409, f"cannot reuse a name that is still in use: release {name}") from None

    def upgrade(self, namespace: str, name: str, wanted: NewRelease) -> None:
        """Change chart, values and labels; its pod starts again, and its volume stays."""
        self._namespaces.require_writable(namespace)
        self._find(namespace, name)
        with self._rows:
            self._rows.execute(
                "UPDATE releases SET status = 'deployed', chart_version = ?, labels = ?, chart = ?,"
                ' "values" = ? WHERE namespace = ? AND name = ?',
                (
                    wanted.chart.version,
                    json.dumps(wanted.labels),
                    wanted.chart.model_dump_json(),
                    json.dumps(wanted.values),
                    namespace,
                    name,
                ),
            )
            self._statefulsets.restart(namespace, name)

    def set_status(self, namespace: str, name: str, status: str) -> None:
        """Set the status that a killed Helm leaves."""
        self._find(namespace, name)
        with self._rows:
            self._rows.execute(
                "UPDATE releases SET status = ? WHERE namespace = ? AND name = ?", (status, namespace, name)
            )

    def uninstall(self, namespace: str, name: str) -> None:
        """Remove the release; its pod ends later, and its volume stays."""
        self._find(namespace, name)
        with self._rows:
            self._rows.execute("DELETE FROM releases WHERE namespace = ? AND name = ?", (namespace, name))
        self._statefulsets.delete(namespace, name)

    def startup(self, namespace: str, name: str) -> dict[str, Any]:
        """Return whether the vCluster is ready, and what its start waits for."""
        self._find(namespace, name)
        pod = self._statefulsets.pod(namespace, name)
        if pod is None or pod["gone_at"] is not None:
            return {"ready": False, "waiting_for": f"pod {name}-0 to be made (simulated)"}
        if trouble := self._troubled(namespace):
            return {"ready": False, "waiting_for": trouble.waiting_for, "failed": trouble.failed}
        if pod["ready_at"] <= time.time():
            return {"ready": True}
        part = (time.time() - pod["started_at"]) / (pod["ready_at"] - pod["started_at"])
        stage = next(words for until, words in STAGES if part <= until or until == 1.0)
        return {"ready": False, "waiting_for": f"{stage.format(name=name)} (simulated)"}

    def volumes(self, namespace: str, release: str) -> list[str]:
        """Return the names of the volumes of the release."""
        rows = self._rows.execute(
            "SELECT name FROM volumes WHERE namespace = ? AND release = ?", (namespace, release)
        )
        return [row["name"] for row in rows]

    def delete_volume(self, namespace: str, name: str) -> None:
        """Delete the volume with the state of its vCluster, or refuse if there is none."""
        with self._rows:
            row = self._rows.execute(
                "DELETE FROM volumes WHERE namespace = ? AND name = ? RETURNING release", (namespace, name)
            ).fetchone()
            if row is None:
                raise Refused(404, f'persistentvolumeclaims "{name}" not found')
            for table in ("virtual_objects", "authorities", "snapshot_files"):
                statement = f"DELETE FROM {table} WHERE namespace = ? AND release = ?"  # noqa: S608 - our names
                self._rows.execute(statement, (namespace, row["release"]))

    def leftovers(self, namespace: str, release: str) -> list[str]:
        """Return everything of the release that exists."""
        left = []
        key = (namespace, release)
        if self._rows.execute("SELECT 1 FROM releases WHERE namespace = ? AND name = ?", key).fetchone():
            left.append(f"Helm release {release}")
        pods = [*self._statefulsets.pods(namespace), *self._restores.pods(namespace)]
        left += [f"Pod {each['metadata']['name']}" for each in pods]
        if self._statefulsets.is_exported(namespace, release):
            left.append(f"Secret vc-{release}")
        stubborn = self._rows.execute("SELECT name FROM stubborn WHERE namespace = ?", (namespace,))
        left += [f"Pod {row['name']}" for row in stubborn]
        left += self._requests.names(namespace, release)
        return left + [f"PersistentVolumeClaim {name}" for name in self.volumes(namespace, release)]

    # Pods

    def token(self, namespace: str, release: str) -> str | None:
        """Return the token of the vCluster's API server; None without one, or while it ends or is paused."""
        row = self._rows.execute(
            "SELECT token FROM volumes JOIN pods USING (namespace, release)"
            " JOIN namespaces ON namespaces.name = namespace"
            " WHERE namespace = ? AND release = ? AND pods.gone_at IS NULL AND namespaces.gone_at IS NULL",
            (namespace, release),
        ).fetchone()
        return row["token"] if row else None

    def kubeconfig_token(self, namespace: str, release: str) -> str | None:
        """Return the token in the Secret with the kubeconfig; a paused vCluster has it as well."""
        if not self._statefulsets.is_exported(namespace, release) or self._troubled(namespace):
            return None
        if not self._statefulsets.is_paused(namespace, release):
            return self.token(namespace, release)
        row = self._rows.execute(
            "SELECT token FROM volumes WHERE namespace = ? AND release = ?", (namespace, release)
        ).fetchone()
        return row["token"] if row else None

    def is_paused(self, namespace: str, release: str) -> bool:
        """Whether the vCluster is scaled to zero, so that nothing answers for it."""
        return self._statefulsets.is_paused(namespace, release)

    def seconds_to_ready(self, namespace: str, release: str) -> float | None:
        """Return the time until its API server is ready, 0 if it is; None if there will be none."""
        pod = self._statefulsets.pod(namespace, release)
        if pod is None or pod["gone_at"] is not None or self._troubled(namespace):
            return None
        return max(0.0, float(pod["ready_at"]) - time.time())

    def kubernetes_version(self, namespace: str, release: str) -> str:
        """Return the version in the release's values, or that of the host; marked as simulated."""
        values = json.loads(self._find(namespace, release)["values"])
        try:
            wanted = values["controlPlane"]["distro"]["k8s"]["version"]
        except (KeyError, TypeError):
            return VERSION
        return f"{wanted}+simulated" if re.fullmatch(r"v\d+\.\d+\.\d+", str(wanted)) else VERSION

    def running(self) -> list[tuple[str, str]]:
        """Return the namespace and release of all vClusters that run or start."""
        rows = self._rows.execute("SELECT namespace, release FROM pods WHERE gone_at IS NULL")
        return [(row["namespace"], row["release"]) for row in rows]

    def _find(self, namespace: str, name: str) -> Any:
        row = self._rows.execute(
            "SELECT * FROM releases WHERE namespace = ? AND name = ?", (namespace, name)
        ).fetchone()
        if row is None:
            raise Refused(404, f"release: not found: {name}")
        return row

    def _troubled(self, namespace: str) -> StartupTrouble | None:
        trouble = self.trouble
        return trouble if trouble and fnmatch.fnmatchcase(namespace, trouble.namespace) else None
