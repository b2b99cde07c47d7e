"""The pause of a vCluster: what is patched, what is deleted, and in which order."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from clients.errors import NotFound
from clients.host.pause import pause_patch, resume_patch
from clients.kubernetes.host import KubernetesHost
from clients.kubernetes.vcluster_options import HostOptions
from tests.clients.kubernetes.conftest import Server
from tests.clients.kubernetes.test_networks import a_host

KEPT = "loft.sh/paused-replicas"
PAUSED = {
    "loft.sh/paused": "true",
    "loft.sh/paused-replicas": "3",
    "loft.sh/paused-date": "2026-11-27T10:00:00.000Z",
}


class Cluster:
    """A namespace with one vCluster, its etcd and its tenant's pods, as an API server shows it."""

    def __init__(self, server: Server) -> None:
        self.controllers = {"demo": controller("demo", 3), "demo-etcd": controller("demo-etcd", 1)}
        self.pods: dict[str, dict[str, Any]] = {
            "demo-0": {"app": "vcluster", "release": "demo"},
            "demo-etcd-0": {"app": "vcluster-etcd", "release": "demo"},
            "nginx-x-default-x-demo": {"vcluster.loft.sh/managed-by": "demo"},
        }
        self.deleted: list[str] = []
        self.is_stale = False
        server.answer = self.answer

    def answer(self, request: web.Request) -> web.StreamResponse:
        name = request.path.rpartition("/")[2]
        if request.method == "PATCH":
            return self.patch(name, json.loads(request._read_bytes or b""))
        if request.method == "DELETE":
            self.deleted.append(name)
            return web.json_response({})
        if name == "statefulsets":
            return web.json_response({"items": list(self.controllers.values())})
        selector = request.query.get("labelSelector", "")
        wanted = "managed-by" if "managed-by" in selector else "app"
        items = [
            {"metadata": {"name": pod, "labels": labels}}
            for pod, labels in self.pods.items()
            if name == "pods" and any(wanted in key for key in labels)
        ]
        return web.json_response({"items": items})

    def patch(self, name: str, patch: dict[str, Any]) -> web.StreamResponse:
        found = self.controllers[name]
        if self.is_stale or patch["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
            message = (
                f'Operation cannot be fulfilled on statefulsets.apps "{name}": the object has been modified'
            )
            return web.json_response({"message": message, "reason": "Conflict"}, status=409)
        found["spec"].update(patch["spec"])
        annotations = found["metadata"]["annotations"] | patch["metadata"]["annotations"]
        found["metadata"]["annotations"] = {
            key: each for key, each in annotations.items() if each is not None
        }
        found["metadata"]["resourceVersion"] += "1"
        return web.json_response(found)

    @property
    def sizes(self) -> dict[str, int]:
        return {name: each["spec"]["replicas"] for name, each in self.controllers.items()}


def controller(name: str, replicas: int | None, **annotations: str) -> dict[str, Any]:
    spec = {} if replicas is None else {"replicas": replicas}
    return {"metadata": {"name": name, "resourceVersion": "7", "annotations": annotations}, "spec": spec}


@pytest.fixture
async def host(tmp_path: Path, server: tuple[Server, int]) -> AsyncIterator[KubernetesHost]:
    host = a_host(tmp_path, server, HostOptions())
    yield host
    await host.close()


async def test_pause_ends_the_vcluster_first_and_then_its_tenants_pods(
    host: KubernetesHost, server: tuple[Server, int]
) -> None:
    cluster = Cluster(server[0])
    assert await host.pause_release("ns", "demo") == "Pod demo-0, demo-etcd-0 to end"
    assert cluster.sizes == {"demo": 0, "demo-etcd": 0}
    kept = cluster.controllers["demo"]["metadata"]["annotations"]
    assert (kept["loft.sh/paused"], kept["loft.sh/paused-replicas"]) == ("true", "3")
    assert kept["loft.sh/paused-date"]
    assert cluster.deleted == [], "the syncer would create them again"
    del cluster.pods["demo-0"], cluster.pods["demo-etcd-0"]
    assert await host.pause_release("ns", "demo") == "Pod nginx-x-default-x-demo to end"
    assert cluster.deleted == ["nginx-x-default-x-demo"]
    cluster.pods.clear()
    assert await host.pause_release("ns", "demo") == ""

    assert await host.resume_release("ns", "demo") == ""
    assert cluster.sizes == {"demo": 3, "demo-etcd": 1}
    assert cluster.controllers["demo"]["metadata"]["annotations"] == {}
    patches = [each for each in server[0].asked if each.method == "PATCH"]
    assert await host.resume_release("ns", "demo") == ""
    assert [each for each in server[0].asked if each.method == "PATCH"] == patches, "it was patched again"


async def test_a_change_of_another_client_is_waited_for(
    host: KubernetesHost, server: tuple[Server, int]
) -> None:
    cluster = Cluster(server[0])
    cluster.is_stale = True
    assert await host.pause_release("ns", "demo") == "StatefulSet demo to settle"
    assert cluster.sizes["demo"] == 3


@pytest.mark.parametrize("method", ["pause_release", "resume_release"])
async def test_without_a_vcluster_it_is_not_found(
    host: KubernetesHost, server: tuple[Server, int], method: str
) -> None:
    Cluster(server[0]).controllers.clear()
    with pytest.raises(NotFound, match="there is no such vCluster"):
        await getattr(host, method)("ns", "demo")


@pytest.mark.parametrize(
    ("given", "replicas", "kept"),
    [
        pytest.param(controller("demo", None), 0, "1", id="kubernetes' default"),
        pytest.param(controller("demo", 3), 0, "3", id="three"),
        pytest.param(controller("demo", 0), 0, "1", id="scaled to zero by hand"),
        pytest.param(controller("demo", 2, **PAUSED), 0, "2", id="scaled up by hand while it was paused"),
        pytest.param(controller("demo", 0, **{"loft.sh/paused-replicas": "3"}), 0, "3", id="half paused"),
    ],
)
def test_pause_patch(given: dict[str, Any], replicas: int, kept: str) -> None:

    patch = pause_patch(given, datetime(2026, 11, 27, 10, tzinfo=UTC))
    assert patch is not None
    assert patch["spec"] == {"replicas": replicas}
    assert patch["metadata"]["annotations"] == PAUSED | {"loft.sh/paused-replicas": kept}
    assert patch["metadata"]["resourceVersion"] == "7"


@pytest.mark.parametrize(
    ("given", "replicas"),
    [
        pytest.param(controller("demo", 0, **PAUSED), 3, id="paused"),
        pytest.param(controller("demo", 0), 1, id="scaled to zero by hand"),
        pytest.param(
            controller("demo", 0, **PAUSED | {"loft.sh/paused-replicas": "many"}), 1, id="no number"
        ),
        pytest.param(controller("demo", 0, **PAUSED | {KEPT: "0"}), 1, id="zero"),
    ],
)
def test_resume_patch(given: dict[str, Any], replicas: int) -> None:
    patch = resume_patch(given)
    assert patch is not None
    assert patch["spec"] == {"replicas": replicas}
    assert set(patch["metadata"]["annotations"].values()) == {None}


def test_there_is_no_patch_for_what_is_so_already() -> None:

    assert pause_patch(controller("demo", 0, **PAUSED), datetime.now(UTC)) is None
    assert resume_patch(controller("demo", 2)) is None
    assert resume_patch(controller("demo", None)) is None
