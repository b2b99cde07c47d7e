"""What the simulated host cluster does: namespaces, releases, volumes, and how they come and go in time."""

import asyncio
import fnmatch
import json
import random
import re
import secrets
import sqlite3
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from embedded.host.wire import NewNamespace, NewRelease, Object, Trouble

VERSION = "v1.36.0+simulated"

#: How much the times vary from case to case, both ways, so that nothing depends on an exact one.
JITTER = 0.2
#: The Secret with the kubeconfig comes after the pod is ready, by this part of the start: as with the real
#: chart, where whoever reads it at once may find nothing.
EXPORT_LAG = 0.15
#: What a start waits for, up to which part of it.
STAGES = (
    (0.15, "volume data-{name}-0 to be bound"),
    (0.55, "the image of the control plane to be pulled"),
    (1.0, "the control plane to answer"),
)

_OF_A_NAMESPACE = ("objects", "releases", "pods", "volumes", "virtual_objects")


class Refused(Exception):
    """The host will not do it; `status` is the HTTP status that says so."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


@dataclass(frozen=True)
class Timing:
    """How long things take on average: a start; an end, of pods and of namespaces. In seconds."""

    start: float = 2.0
    stop: float = 0.4


class Cluster:
    """The simulated host cluster. What a call has done is committed when it returns, and survives a restart.

    Used from one event loop only. `begin` and `end` of its life are the server's start and stop.
    """

    def __init__(self, rows: sqlite3.Connection, timing: Timing) -> None:
        self._rows = rows
        self._timing = timing
        self._timers: set[asyncio.TimerHandle] = set()
        #: Set by whoever wants starts not to get ready.
        self.trouble: Trouble | None = None

    def begin(self) -> None:
        """Take up what was under way when the last run ended."""
        for row in self._rows.execute("SELECT name, gone_at FROM namespaces WHERE gone_at IS NOT NULL"):
            self._at(row["gone_at"], self._finish_namespace, row["name"])
        for row in self._rows.execute(
            "SELECT namespace, release, gone_at FROM pods WHERE gone_at IS NOT NULL"
        ):
            self._at(row["gone_at"], self._finish_pod, row["namespace"], row["release"])

    def end(self) -> None:
        """Stop the clock."""
        for timer in self._timers:
            timer.cancel()

    # Namespaces

    def create_namespace(self, wanted: NewNamespace) -> dict[str, Any]:
        if self._namespace(wanted.name):
            raise Refused(409, f'namespaces "{wanted.name}" already exists')
        with self._rows:
            self._rows.execute(
                "INSERT INTO namespaces (name, uid, labels, annotations) VALUES (?, ?, ?, ?)",
                (wanted.name, str(uuid.uuid4()), json.dumps(wanted.labels), json.dumps(wanted.annotations)),
            )
        return self.get_namespace(wanted.name)

    def get_namespace(self, name: str) -> dict[str, Any]:
        row = self._existing_namespace(name)
        return {
            "name": row["name"],
            "uid": row["uid"],
            "labels": json.loads(row["labels"]),
            "annotations": json.loads(row["annotations"]),
            "terminating": row["gone_at"] is not None,
        }

    def delete_namespace(self, name: str, uid: str) -> None:
        row = self._existing_namespace(name)
        if row["uid"] != uid:
            raise Refused(412, f'namespaces "{name}" has another UID than the precondition says')
        if row["gone_at"] is None:
            gone_at = time.time() + _about(self._timing.stop)
            with self._rows:
                self._rows.execute("UPDATE namespaces SET gone_at = ? WHERE name = ?", (gone_at, name))
            self._at(gone_at, self._finish_namespace, name)

    def blockers(self, name: str) -> list[str]:
        row = self._existing_namespace(name)
        if row["gone_at"] is None:
            return []
        held = [f"finalizer {finalizer}" for finalizer in json.loads(row["finalizers"])]
        left = [
            f"{table.rstrip('s')} {number} left"
            for table in _OF_A_NAMESPACE
            if table != "virtual_objects" and (number := self._count(table, name))
        ]
        return held + left

    def set_finalizers(self, name: str, finalizers: list[str]) -> None:
        """What keeps the namespace from going, from now on; none lets it go."""
        row = self._existing_namespace(name)
        with self._rows:
            self._rows.execute(
                "UPDATE namespaces SET finalizers = ? WHERE name = ?", (json.dumps(finalizers), name)
            )
        if row["gone_at"] is not None:
            self._at(row["gone_at"], self._finish_namespace, name)

    def apply(self, name: str, objects: list[Object]) -> None:
        self._writable_namespace(name)
        with self._rows:
            self._rows.executemany(
                "INSERT OR REPLACE INTO objects (namespace, kind, name, document) VALUES (?, ?, ?, ?)",
                [(name, each.kind, each.metadata.name, each.model_dump_json()) for each in objects],
            )

    # Releases

    def get_release(self, namespace: str, name: str) -> dict[str, Any]:
        row = self._release(namespace, name)
        return {
            "name": row["name"],
            "namespace": row["namespace"],
            "status": row["status"],
            "chart_version": row["chart_version"],
            "labels": json.loads(row["labels"]),
        }

    def install(self, namespace: str, name: str, wanted: NewRelease) -> None:
        self._writable_namespace(namespace)
        now = time.time()
        ready_at = now + _about(self._timing.start)
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
                self._rows.execute(
                    "INSERT OR REPLACE INTO pods VALUES (?, ?, ?, ?, ?, NULL)",
                    (namespace, name, now, ready_at, ready_at + EXPORT_LAG * (ready_at - now)),
                )
                # A volume that an earlier release left brings its state back, and its token.
                self._rows.execute(
                    "INSERT OR IGNORE INTO volumes VALUES (?, ?, ?, ?)",
                    (namespace, f"data-{name}-0", name, secrets.token_urlsafe(24)),
                )
        except sqlite3.IntegrityError:
            raise Refused(409, f"cannot reuse a name that is still in use: release {name}") from None

    def set_release_status(self, namespace: str, name: str, status: str) -> None:
        """Leave the release as a killed Helm would leave it."""
        self._release(namespace, name)
        with self._rows:
            self._rows.execute(
                "UPDATE releases SET status = ? WHERE namespace = ? AND name = ?", (status, namespace, name)
            )

    def uninstall(self, namespace: str, name: str) -> None:
        self._release(namespace, name)
        gone_at = time.time() + _about(self._timing.stop)
        with self._rows:
            self._rows.execute("DELETE FROM releases WHERE namespace = ? AND name = ?", (namespace, name))
            self._rows.execute(
                "UPDATE pods SET gone_at = ? WHERE namespace = ? AND release = ?", (gone_at, namespace, name)
            )
        self._at(gone_at, self._finish_pod, namespace, name)

    def startup(self, namespace: str, name: str) -> dict[str, Any]:
        self._release(namespace, name)
        pod = self._pod(namespace, name)
        if pod is None:
            return {"ready": False, "waiting_for": f"pod {name}-0 to be made (simulated)"}
        if trouble := self._troubled(namespace):
            return {"ready": False, "waiting_for": trouble.waiting_for, "failed": trouble.failed}
        if pod["ready_at"] <= time.time():
            return {"ready": True}
        part = (time.time() - pod["started_at"]) / (pod["ready_at"] - pod["started_at"])
        stage = next(words for until, words in STAGES if part <= until or until == 1.0)
        return {"ready": False, "waiting_for": f"{stage.format(name=name)} (simulated)"}

    def volumes(self, namespace: str, release: str) -> list[str]:
        rows = self._rows.execute(
            "SELECT name FROM volumes WHERE namespace = ? AND release = ?", (namespace, release)
        )
        return [row["name"] for row in rows]

    def delete_volume(self, namespace: str, name: str) -> None:
        with self._rows:
            row = self._rows.execute(
                "DELETE FROM volumes WHERE namespace = ? AND name = ? RETURNING release", (namespace, name)
            ).fetchone()
            if row is None:
                raise Refused(404, f'persistentvolumeclaims "{name}" not found')
            self._rows.execute(
                "DELETE FROM virtual_objects WHERE namespace = ? AND release = ?", (namespace, row["release"])
            )

    def leftovers(self, namespace: str, release: str) -> list[str]:
        left = []
        key = (namespace, release)
        if self._rows.execute("SELECT 1 FROM releases WHERE namespace = ? AND name = ?", key).fetchone():
            left.append(f"Helm release {release}")
        if pod := self._pod(namespace, release):
            left.append(f"Pod {release}-0")
            if pod["exported_at"] <= time.time():
                left.append(f"Secret vc-{release}")
        return left + [f"PersistentVolumeClaim {name}" for name in self.volumes(namespace, release)]

    # What runs

    def token(self, namespace: str, release: str) -> str | None:
        """What opens the vCluster's API server; None where there is none, or one that is ending."""
        row = self._rows.execute(
            "SELECT token FROM volumes JOIN pods USING (namespace, release)"
            " JOIN namespaces ON namespaces.name = namespace"
            " WHERE namespace = ? AND release = ? AND pods.gone_at IS NULL AND namespaces.gone_at IS NULL",
            (namespace, release),
        ).fetchone()
        return row["token"] if row else None

    def exported(self, namespace: str, release: str) -> bool:
        """Whether the Secret with the kubeconfig is there."""
        pod = self._pod(namespace, release)
        return pod is not None and pod["exported_at"] <= time.time() and not self._troubled(namespace)

    def seconds_to_ready(self, namespace: str, release: str) -> float | None:
        """How long until its API server is ready, 0 once it is; None where nothing is going to be."""
        pod = self._pod(namespace, release)
        if pod is None or pod["gone_at"] is not None or self._troubled(namespace):
            return None
        return max(0.0, float(pod["ready_at"]) - time.time())

    def kubernetes_version(self, namespace: str, release: str) -> str:
        """The version that the release's values ask for, or the host's own; marked as simulated."""
        values = json.loads(self._release(namespace, release)["values"])
        try:
            wanted = values["controlPlane"]["distro"]["k8s"]["version"]
        except (KeyError, TypeError):
            return VERSION
        return f"{wanted}+simulated" if re.fullmatch(r"v\d+\.\d+\.\d+", str(wanted)) else VERSION

    def running(self) -> list[tuple[str, str]]:
        """All vClusters that run or start, by namespace and release."""
        rows = self._rows.execute("SELECT namespace, release FROM pods WHERE gone_at IS NULL")
        return [(row["namespace"], row["release"]) for row in rows]

    # Time

    def _at(self, moment: float, what: Callable[..., None], *arguments: str) -> None:
        def strike() -> None:
            self._timers.discard(timer)
            what(*arguments)

        timer = asyncio.get_running_loop().call_later(max(0.0, moment - time.time()), strike)
        self._timers.add(timer)

    def _finish_namespace(self, name: str) -> None:
        row = self._namespace(name)
        if row is None or row["gone_at"] is None:
            return
        with self._rows:
            for table in _OF_A_NAMESPACE:
                self._rows.execute(f"DELETE FROM {table} WHERE namespace = ?", (name,))  # noqa: S608 - our own
            # Content goes first, and whatever holds the namespace itself holds only that.
            self._rows.execute("DELETE FROM namespaces WHERE name = ? AND finalizers = '[]'", (name,))

    def _finish_pod(self, namespace: str, release: str) -> None:
        # Not the one of a later install, which took the place of the one that was to end.
        with self._rows:
            self._rows.execute(
                "DELETE FROM pods WHERE namespace = ? AND release = ? AND gone_at IS NOT NULL",
                (namespace, release),
            )

    # Rows

    def _namespace(self, name: str) -> Any:
        return self._rows.execute("SELECT * FROM namespaces WHERE name = ?", (name,)).fetchone()

    def _existing_namespace(self, name: str) -> Any:
        row = self._namespace(name)
        if row is None:
            raise Refused(404, f'namespaces "{name}" not found')
        return row

    def _writable_namespace(self, name: str) -> None:
        if self._existing_namespace(name)["gone_at"] is not None:
            raise Refused(422, f'namespace "{name}" is being terminated: nothing new can be made in it')

    def _release(self, namespace: str, name: str) -> Any:
        row = self._rows.execute(
            "SELECT * FROM releases WHERE namespace = ? AND name = ?", (namespace, name)
        ).fetchone()
        if row is None:
            raise Refused(404, f"release: not found: {name}")
        return row

    def _pod(self, namespace: str, release: str) -> Any:
        return self._rows.execute(
            "SELECT * FROM pods WHERE namespace = ? AND release = ?", (namespace, release)
        ).fetchone()

    def _count(self, table: str, namespace: str) -> int:
        row = self._rows.execute(f"SELECT count(*) FROM {table} WHERE namespace = ?", (namespace,))  # noqa: S608
        return int(row.fetchone()[0])

    def _troubled(self, namespace: str) -> Trouble | None:
        trouble = self.trouble
        return trouble if trouble and fnmatch.fnmatchcase(namespace, trouble.namespace) else None


def _about(seconds: float) -> float:
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
