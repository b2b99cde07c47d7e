"""Pods that restore snapshots: what they have of the vCluster's pod, when one runs, and how it is removed."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from clients.errors import NotFound
from clients.host.restore import read_restore, restore_pod
from clients.host.snapshots import SnapshotRequest
from clients.kubernetes.host import KubernetesHost
from clients.kubernetes.vcluster_options import HostOptions
from tests.clients.kubernetes.conftest import Server
from tests.clients.kubernetes.test_networks import a_host

MARK = {"moorage.dev/name": "demo"}
REQUEST = SnapshotRequest("demo-restore-1", "/data/s/1.tar.gz", MARK)
POD_LABELS = {**MARK, "app": "vcluster-snapshot", "release": "demo"}


def controller(*, paused: bool = True) -> dict[str, Any]:
    """The StatefulSet of a vCluster."""
    syncer = {
        "name": "syncer",
        "image": "vcluster:1",
        "command": ["/vcluster", "start"],
        "env": [{"name": "POD_NAME", "valueFrom": {}}, {"name": "VCLUSTER_NAME", "value": "demo"}],
        "livenessProbe": {"httpGet": {}},
        "resources": {"limits": {"cpu": "1"}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    spec = {
        "serviceAccountName": "vc-demo",
        "securityContext": {"runAsUser": 12345},
        "terminationGracePeriodSeconds": 10,
        "volumes": [{"name": "binaries", "emptyDir": {}}],
        "containers": [{"name": "sidecar"}, syncer],
    }
    annotations = {"loft.sh/paused": "true"} if paused else {}
    return {"metadata": {"annotations": annotations}, "spec": {"template": {"spec": spec}}}


class Cluster:
    """A namespace with a vCluster and pods, as an API server shows it."""

    def __init__(self, server: Server) -> None:
        self.controller: dict[str, Any] | None = controller()
        self.pods: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        server.answer = self.answer

    def add(self, name: str, **metadata: Any) -> None:
        self.pods[name] = {"metadata": {"name": name, "uid": f"uid-{name}", "labels": POD_LABELS} | metadata}

    def answer(self, request: web.Request) -> web.StreamResponse:
        namespace, kind, *names = request.path.partition("/namespaces/")[2].split("/")
        assert namespace == "demo"
        if not names:
            return self.all(request)
        [name] = names
        if request.method == "DELETE":
            return self.delete(name, json.loads(request._read_bytes or b""))
        found = self.controller if kind == "statefulsets" else self.pods.get(name)
        return web.json_response(found) if found else _refused(404, "NotFound")

    def all(self, request: web.Request) -> web.StreamResponse:
        """Answer a list, or create a pod."""
        if request.method == "GET":
            assert request.query["labelSelector"] == "app=vcluster-snapshot,release=demo"
            return web.json_response({"items": list(self.pods.values())})
        body = json.loads(request._read_bytes or b"")
        name = body["metadata"]["name"]
        self.calls.append(f"POST {name}")
        if name in self.pods:
            return _refused(409, "AlreadyExists")
        body["metadata"]["uid"] = f"uid-{name}"
        self.pods[name] = body
        return web.json_response(body, status=201)

    def delete(self, name: str, options: dict[str, Any]) -> web.StreamResponse:
        self.calls.append(f"DELETE {name}")
        if options["preconditions"] != {"uid": self.pods[name]["metadata"]["uid"]}:
            message = f'Operation cannot be fulfilled on pods "{name}": Precondition failed: UID'
            return _refused(409, "Conflict", message)
        return web.json_response(self.pods.pop(name))


def _refused(status: int, reason: str, message: str = "no") -> web.StreamResponse:
    return web.json_response({"message": message, "reason": reason}, status=status)


@pytest.fixture
async def host(server: tuple[Server, int], tmp_path: Path) -> AsyncIterator[KubernetesHost]:
    found = a_host(tmp_path, server, HostOptions())
    yield found
    await found.close()


@pytest.fixture
def cluster(server: tuple[Server, int]) -> Cluster:
    return Cluster(server[0])


def test_a_pod_runs_the_vendors_command_on_the_vclusters_volume() -> None:
    pod = restore_pod(controller(), "demo", "demo", REQUEST)
    assert pod["metadata"] == {"name": "demo-restore-1", "namespace": "demo", "labels": POD_LABELS}
    spec = pod["spec"]
    assert (spec["restartPolicy"], spec["serviceAccountName"]) == ("Never", "vc-demo")
    assert spec["volumes"] == [
        {"name": "binaries", "emptyDir": {}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "data-demo-0"}},
    ]
    [container] = spec["containers"]
    assert (container["image"], container["command"]) == ("vcluster:1", ["/vcluster", "restore"])
    assert "livenessProbe" not in container
    env = {each["name"]: each.get("value") for each in container["env"]}
    options = json.loads(base64.b64decode(env.pop("VCLUSTER_STORAGE_OPTIONS") or ""))
    assert options == {"type": "container", "container": {"path": "/data/s/1.tar.gz"}}
    assert env == {"POD_NAME": "demo-0", "VCLUSTER_NAME": "demo"}


def test_what_has_no_vcluster_has_no_pod() -> None:
    with pytest.raises(ValueError, match="no container of a vCluster"):
        restore_pod({"spec": {"template": {"spec": {"containers": [{"name": "web"}]}}}}, "a", "b", REQUEST)


@pytest.mark.parametrize(
    ("status", "taken", "failed", "waiting_for"),
    [
        ({"phase": "Succeeded"}, True, None, ""),
        ({}, False, None, "the pod that restores it (Pending)"),
        (
            {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull"}}}]},
            False,
            None,
            "the pod that restores it (ErrImagePull)",
        ),
        (
            {
                "phase": "Failed",
                "containerStatuses": [{"state": {"terminated": {"exitCode": 1, "message": "a\nno file\n"}}}],
            },
            False,
            "its pod ended with code 1: no file",
            "",
        ),
        ({"phase": "Failed", "reason": "Evicted", "message": "node low"}, False, "node low", ""),
        ({"phase": "Failed"}, False, "its pod has failed", ""),
    ],
)
def test_how_far_a_pod_is(status: dict[str, Any], taken: bool, failed: str | None, waiting_for: str) -> None:
    progress = read_restore({"status": status})
    assert (progress.taken, progress.failed, progress.waiting_for) == (taken, failed, waiting_for)


#: The end of the log of a restore of a damaged file, as vCluster 0.36.1 writes it.
DAMAGED = (
    "2026-11-28 10:37:55\t\x1b[34mINFO\x1b[0m\tsnapshot/restoreclient.go:503\tRestored 100 keys\t{}\n"
    "2026-11-28 10:37:56\t\x1b[31mERROR\x1b[0m\tsnapshot/restoreclient.go:451\tReverting from backup\t{}\n"
    '2026-11-28 10:37:56\t\x1b[31mERROR\x1b[0m\tcmd/root.go:62\terror\t{"component": "vcluster", "error": '
    '"restore key-value snapshot: unexpected EOF"}\n'
    "2026-11-28 10:37:56\t\x1b[34mINFO\x1b[0m\tosutil/interrupt_unix.go:70\trunning interrupt handlers\t{}\n"
)


@pytest.mark.parametrize(
    ("log", "failed"),
    [
        (DAMAGED, ": restore key-value snapshot: unexpected EOF"),
        ("\n".join(DAMAGED.splitlines()[:2]), ": Reverting from backup"),
        ("t\tFATAL\tno columns", ": no columns"),
        ("t\tERROR", ""),
        ('t\tERROR\ta.go:1\ttext\t{"error": 7', ": text"),
        ('t\tERROR\ta.go:1\ttext\t["error"]', ": text"),
        ("Error: ERROR\n", ": Error: ERROR"),
        ("x" * 400, ": " + "x" * 300),
        ("", ""),
    ],
)
def test_the_cause_is_the_last_error_in_the_log_of_a_pod(log: str, failed: str) -> None:
    """Ensures that neither colours nor what vCluster says after an error hide it."""
    ended = {"exitCode": 1, "message": log}
    status = {"phase": "Failed", "containerStatuses": [{"state": {"terminated": ended}}]}
    assert read_restore({"status": status}).failed == f"its pod ended with code 1{failed}"


async def test_one_pod_runs_however_often_it_is_asked(host: KubernetesHost, cluster: Cluster) -> None:
    for _ in range(2):
        progress = await host.restore_snapshot("demo", "demo", REQUEST)
        assert (progress.taken, progress.failed) == (False, None)
        assert progress.labels == POD_LABELS
    assert cluster.calls == ["POST demo-restore-1"]
    cluster.pods["demo-restore-1"]["status"] = {"phase": "Succeeded"}
    cluster.controller = controller(paused=False)
    assert (await host.restore_snapshot("demo", "demo", REQUEST)).taken


async def test_no_pod_runs_beside_its_vcluster(host: KubernetesHost, cluster: Cluster) -> None:
    cluster.controller = controller(paused=False)
    assert (await host.restore_snapshot("demo", "demo", REQUEST)).failed == "the vCluster is not paused"
    cluster.controller = None
    with pytest.raises(NotFound):
        await host.restore_snapshot("demo", "demo", REQUEST)
    assert cluster.calls == []


async def test_pods_of_earlier_restores_are_deleted(host: KubernetesHost, cluster: Cluster) -> None:
    """Ensures that one that ends already is not deleted again, and that each is the one that was read."""
    cluster.add("demo-restore-0")
    cluster.add("demo-restore-1")
    cluster.add("ends", deletionTimestamp="2026-11-28T06:31:00Z")
    left = await host.remove_restore_pods("demo", "demo", REQUEST.name)
    assert left == ["Pod demo-restore-0", "Pod ends"]
    assert cluster.calls == ["DELETE demo-restore-0"]
    del cluster.pods["ends"]
    assert await host.remove_restore_pods("demo", "demo", REQUEST.name) == []


async def test_a_pod_that_is_another_than_the_one_that_was_read_stays(
    host: KubernetesHost, cluster: Cluster
) -> None:
    cluster.add("demo-restore-0")
    seen = json.loads(json.dumps(cluster.pods["demo-restore-0"]))
    seen["metadata"]["uid"] = "former"
    cluster.all = lambda request: web.json_response({"items": [seen]})  # type: ignore[method-assign]
    assert await host.remove_restore_pods("demo", "demo", REQUEST.name) == ["Pod demo-restore-0"]
    assert "demo-restore-0" in cluster.pods
