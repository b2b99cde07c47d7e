"""Requests for snapshots: what is created, in which order, how it is read, and how it is removed."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from clients.errors import Rejected
from clients.host.snapshots import (
    FINALIZER,
    SnapshotRequest,
    options_secret,
    read_progress,
    release_patch,
    request_map,
)
from clients.kubernetes.host import KubernetesHost
from clients.kubernetes.vcluster_options import HostOptions
from tests.clients.kubernetes.conftest import Server
from tests.clients.kubernetes.test_networks import a_host

REQUEST = SnapshotRequest("demo-snapshot-1", "/data/s/1.tar.gz", {"moorage.dev/name": "demo"})
LABELS = {
    "moorage.dev/name": "demo",
    "vcluster.loft.sh/snapshot-request": "",
    "vcluster.loft.sh/vcluster-name": "demo",
    "vcluster.loft.sh/vcluster-namespace": "demo",
}
NOW = datetime(2026, 11, 28, 6, 30, tzinfo=UTC)


class Cluster:
    """A namespace with requests, as an API server shows it."""

    def __init__(self, server: Server) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.calls: list[str] = []
        self.is_stale = False
        server.answer = self.answer

    def answer(self, request: web.Request) -> web.StreamResponse:
        _, _, _, _, namespace, plural, *name = request.path.split("/")
        assert namespace == "demo"
        if request.method != "GET":
            self.calls.append(f"{request.method} {plural}")
        if request.method == "POST":
            return self.create(plural, json.loads(request._read_bytes or b""))
        if not name:
            assert "PartialObjectMetadata" in request.headers["Accept"], "it must not read Secrets"
            assert request.query["labelSelector"] == (
                "vcluster.loft.sh/snapshot-request,vcluster.loft.sh/vcluster-name=demo"
            )
            items = [each for key, each in self.objects.items() if key[0] == plural]
            return web.json_response({"items": [{"metadata": each["metadata"]} for each in items]})
        key = (plural, name[0])
        found = self.objects.get(key)
        if found is None:
            return web.json_response({"message": "not found", "reason": "NotFound"}, status=404)
        if request.method == "DELETE":
            if found["metadata"].get("finalizers"):
                found["metadata"]["deletionTimestamp"] = "2026-11-28T06:31:00Z"
            else:
                del self.objects[key]
        if request.method == "PATCH":
            if self.is_stale:
                message = 'Operation cannot be fulfilled on configmaps "x": the object has been modified'
                return web.json_response({"message": message, "reason": "Conflict"}, status=409)
            patch = json.loads(request._read_bytes or b"")["metadata"]
            assert patch["resourceVersion"] == found["metadata"]["resourceVersion"]
            found["metadata"]["finalizers"] = patch["finalizers"]
            if not patch["finalizers"]:
                del self.objects[key]
        return web.json_response(found)

    def create(self, plural: str, body: dict[str, Any]) -> web.StreamResponse:
        key = (plural, body["metadata"]["name"])
        if key in self.objects:
            return web.json_response({"message": "there", "reason": "AlreadyExists"}, status=409)
        self.objects[key] = body
        return web.json_response(body, status=201)

    def note(self, **status: Any) -> None:
        """What the controller in the vCluster notes on the request."""
        found = self.objects["configmaps", REQUEST.name]
        content = json.loads(found["data"]["snapshotRequest"])
        found["data"]["snapshotRequest"] = json.dumps({**content, "status": status})

    def hold(self, *finalizers: str) -> None:
        self.objects["configmaps", REQUEST.name]["metadata"].update(
            finalizers=list(finalizers), resourceVersion="7"
        )


@pytest.fixture
async def host(server: tuple[Server, int], tmp_path: Path) -> AsyncIterator[KubernetesHost]:
    found = a_host(tmp_path, server, HostOptions())
    yield found
    await found.close()


@pytest.fixture
def cluster(server: tuple[Server, int]) -> Cluster:
    return Cluster(server[0])


async def test_a_request_is_a_secret_and_then_a_config_map(host: KubernetesHost, cluster: Cluster) -> None:
    progress = await host.request_snapshot("demo", "demo", REQUEST)
    assert (progress.taken, progress.failed) == (False, None)
    assert progress.waiting_for == "the vCluster to begin with it"
    assert cluster.calls == ["POST secrets", "POST configmaps"]
    assert {json.dumps(each["metadata"]["labels"], sort_keys=True) for each in cluster.objects.values()} == {
        json.dumps(LABELS, sort_keys=True)
    }
    await host.request_snapshot("demo", "demo", REQUEST)
    assert len(cluster.calls) == 2, "it was requested again"


async def test_a_secret_of_an_earlier_attempt_is_enough(host: KubernetesHost, cluster: Cluster) -> None:
    cluster.create("secrets", options_secret("demo", "demo", REQUEST))
    await host.request_snapshot("demo", "demo", REQUEST)
    assert len(cluster.objects) == 2


async def test_a_request_that_is_refused_is_reported(
    host: KubernetesHost, cluster: Cluster, server: tuple[Server, int]
) -> None:
    def refuse(request: web.Request) -> web.StreamResponse:
        status = 404 if request.method == "GET" else 422
        return web.json_response({"message": "exceeded quota", "reason": "Invalid"}, status=status)

    server[0].answer = refuse
    with pytest.raises(Rejected, match="exceeded quota"):
        await host.request_snapshot("demo", "demo", REQUEST)


async def test_progress_is_what_the_vcluster_notes(host: KubernetesHost, cluster: Cluster) -> None:
    await host.request_snapshot("demo", "demo", REQUEST)
    for phase in ("CreatingEtcdBackup", "InProgress", "CreatingVolumeSnapshots"):
        cluster.note(phase=phase)
        progress = await host.request_snapshot("demo", "demo", REQUEST)
        assert (progress.taken, progress.failed) == (False, None)
        assert progress.waiting_for == f"the vCluster to take it ({phase})"
    cluster.note(phase="Completed")
    progress = await host.request_snapshot("demo", "demo", REQUEST)
    assert (progress.taken, progress.waiting_for) == (True, "")
    assert progress.labels == LABELS


@pytest.mark.parametrize(
    ("data", "failed"),
    [
        ({"status": {"phase": "Failed", "error": {"message": "no space"}}}, "no space"),
        ({"status": {"phase": "PartiallyFailed"}}, "the vCluster says PartiallyFailed"),
        ({"status": {"phase": "Canceled", "error": None}}, "the vCluster says Canceled"),
        ([], "its request on the host cannot be read"),
        ("{", "its request on the host cannot be read"),
        (None, "its request on the host cannot be read"),
    ],
)
def test_a_request_that_has_failed_says_why(data: Any, failed: str) -> None:
    content = data if isinstance(data, str) else json.dumps(data)
    found = {"data": {"snapshotRequest": content}} if data is not None else {}
    assert read_progress(found).failed == failed


def test_the_documents_are_those_of_the_vendor() -> None:
    secret = options_secret("demo", "demo", REQUEST)
    assert json.loads(secret["stringData"]["snapshotOptions"]) == {
        "type": "container",
        "container": {"path": "/data/s/1.tar.gz"},
    }
    content = json.loads(request_map("demo", "demo", REQUEST, NOW)["data"]["snapshotRequest"])
    assert content == {
        "metadata": {"name": "demo-snapshot-1", "creationTimestamp": "2026-11-28T06:30:00Z"},
        "spec": {"url": "container:///data/s/1.tar.gz"},
        "status": {},
    }


async def test_requests_are_removed_although_their_controller_has_ended(
    host: KubernetesHost, cluster: Cluster
) -> None:
    """Ensures that only the finalizer of the controller is taken away, and at the version that was read."""
    await host.request_snapshot("demo", "demo", REQUEST)
    cluster.hold(FINALIZER)
    both = ["ConfigMap demo-snapshot-1", "Secret demo-snapshot-1"]
    assert await host.remove_snapshot_requests("demo", "demo") == both
    cluster.is_stale = True
    assert await host.remove_snapshot_requests("demo", "demo") == both[:1]
    cluster.is_stale = False
    assert await host.remove_snapshot_requests("demo", "demo") == both[:1]
    assert await host.remove_snapshot_requests("demo", "demo") == []
    assert cluster.objects == {}
    # The client itself repeats a conflict, with the same version.
    assert list(dict.fromkeys(cluster.calls[2:])) == [
        "DELETE configmaps", "DELETE secrets", "PATCH configmaps",
    ]  # fmt: skip


async def test_the_finalizer_of_another_stays(host: KubernetesHost, cluster: Cluster) -> None:
    await host.request_snapshot("demo", "demo", REQUEST)
    cluster.hold("example.com/audit", FINALIZER)
    for _ in range(3):
        left = await host.remove_snapshot_requests("demo", "demo")
    assert left == ["ConfigMap demo-snapshot-1"]
    [kept] = cluster.objects.values()
    assert kept["metadata"]["finalizers"] == ["example.com/audit"]


def test_only_a_held_request_is_patched() -> None:
    assert release_patch({"name": "x"}) is None
    assert release_patch({"finalizers": ["example.com/audit"]}) is None
    patch = release_patch({"uid": "u", "resourceVersion": "3", "finalizers": [FINALIZER, "a/b"]})
    assert patch == {"metadata": {"uid": "u", "resourceVersion": "3", "finalizers": ["a/b"]}}
