"""What a host shows of a vCluster that was ready."""

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from clients.host.models import Health
from clients.kubernetes.release import health as health_checks
from clients.kubernetes.vcluster_options import Exposure, HostOptions
from clients.virtual_cluster import FIELD_MANAGER
from tests.clients.kubernetes.conftest import Server
from tests.clients.kubernetes.test_api import status
from tests.clients.kubernetes.test_networks import a_host

ENDS = "2026-05-04T12:00:00Z"
AT = datetime(2026, 5, 4, 12, tzinfo=UTC)
CORE, APPS = "/api/v1/namespaces/mrg-a", "/apis/apps/v1/namespaces/mrg-a"
NODE_PORT = HostOptions(exposure=Exposure.NODE_PORT, address="127.0.0.1")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer of the test's own server is late, however busy the machine is."""
    monkeypatch.setattr(health_checks, "READYZ_TIMEOUT", timedelta(minutes=1))


def kubeconfig(port: int) -> dict[str, Any]:
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}/virtual"}}],
        "users": [{"name": "c", "user": {"token": "t"}}],
    }
    return {"data": {"config": base64.b64encode(yaml.safe_dump(document).encode()).decode()}}


def quota(manager: str = FIELD_MANAGER) -> dict[str, Any]:
    status_of = {"manager": "kube-controller-manager", "fieldsV1": {"f:status": {}}, "subresource": "status"}
    spec_of = {"manager": manager, "fieldsV1": {"f:spec": {"f:hard": {}}}, "time": ENDS}
    return {"metadata": {"managedFields": [status_of, spec_of]}}


def objects(port: int) -> dict[str, Any]:
    """All that there is of one that is well, by path."""
    templates = [{"metadata": {"name": "data"}}]
    return {
        "/api/v1/namespaces/mrg-a": {"metadata": {"name": "mrg-a"}},
        f"{APPS}/statefulsets/mrg-a": {
            "metadata": {},
            "spec": {"replicas": 1, "volumeClaimTemplates": templates},
            "status": {"readyReplicas": 1},
        },
        f"{CORE}/persistentvolumeclaims/data-mrg-a-0": {"metadata": {}},
        f"{CORE}/secrets/vc-mrg-a": kubeconfig(port),
        f"{CORE}/resourcequotas/moorage": quota(),
        "/virtual/readyz": {},
    }


FULL = {
    "metadata": {"name": "node-1"},
    "status": {
        "conditions": [{"type": "DiskPressure", "status": "True"}, {"type": "Ready", "status": "True"}]
    },
}
SET = f"{APPS}/statefulsets/mrg-a"
CLAIM = f"{CORE}/persistentvolumeclaims/data-mrg-a-0"
ENDING = {"metadata": {"deletionTimestamp": ENDS}}


@pytest.mark.parametrize(
    ("path", "there", "health"),
    [
        ("", None, Health()),
        ("/api/v1/namespaces/mrg-a", None, Health("its namespace is gone")),
        ("/api/v1/namespaces/mrg-a", ENDING, Health("its namespace is being deleted", AT)),
        (SET, None, Health("its StatefulSet is gone")),
        (SET, ENDING, Health("its StatefulSet is being deleted", AT)),
        (SET, {"metadata": {}, "spec": {"replicas": 0}}, Health("its StatefulSet is scaled to zero")),
        (SET, {"metadata": {}, "spec": {"replicas": 1}}, Health("no pod of its StatefulSet is ready")),
        (CLAIM, None, Health("the claim data-mrg-a-0 of its volume is gone")),
        (
            CLAIM,
            ENDING,
            Health(
                "the claim data-mrg-a-0 of its volume is being deleted: "
                "its data is lost when its pod restarts",
                AT,
            ),
        ),
        (f"{CORE}/secrets/vc-mrg-a", None, Health("the Secret vc-mrg-a with its kubeconfig is gone")),
        ("/virtual/readyz", 503, Health("its API server does not answer")),
        (f"{CORE}/resourcequotas/moorage", None, Health("its quota is gone")),
        (
            f"{CORE}/resourcequotas/moorage",
            quota("kubectl-edit"),
            Health("its quota was changed by kubectl-edit", AT),
        ),
        # What may not be read is not reported: the environment may be older than the permission.
        (SET, 403, Health()),
        (CLAIM, 403, Health()),
        (f"{CORE}/resourcequotas/moorage", 403, Health()),
    ],
)
async def test_health(
    tmp_path: Path, server: tuple[Server, int], path: str, there: Any, health: Health
) -> None:
    """Ensures that each missing object is reported by name, and since when where the host knows."""
    found = objects(server[1])
    if path:
        found[path] = there

    def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/readyz":
            return web.Response(text="ok")
        thing = found.get(request.path)
        if isinstance(thing, int):
            words = 'User "a" cannot get resource "x" in API group ""'
            return status(thing, words, "Forbidden")(request)
        return status(404, "none", "NotFound")(request) if thing is None else web.json_response(thing)

    server[0].answer = answer
    host = a_host(tmp_path, server, NODE_PORT)
    assert await host.health("mrg-a", "mrg-a") == health
    await host.close()


async def test_a_deployment_without_a_volume(tmp_path: Path, server: tuple[Server, int]) -> None:
    """Ensures that one without a volume is looked at as what it is, and not called from outside."""
    found = objects(server[1])
    found[f"{APPS}/deployments/mrg-a"] = found.pop(SET)
    del found[CLAIM], found["/virtual/readyz"]
    server[0].answer = lambda request: (
        web.json_response(found[request.path])
        if request.path in found
        else status(404, "none", "NotFound")(request)
    )
    host = a_host(tmp_path, server, HostOptions())
    assert await host.health("mrg-a", "mrg-a") == Health()
    found[f"{APPS}/deployments/mrg-a"]["status"] = {}
    assert await host.health("mrg-a", "mrg-a") == Health("no pod of its Deployment is ready")
    await host.close()


@pytest.mark.parametrize(
    ("nodes", "health"),
    [
        ([FULL], "no pod of its StatefulSet is ready; node node-1 has DiskPressure"),
        (403, "no pod of its StatefulSet is ready"),
    ],
)
async def test_a_full_node_is_the_reason(
    tmp_path: Path, server: tuple[Server, int], nodes: Any, health: str
) -> None:
    """Ensures that the condition of the node is named, and that a missing right hides nothing else."""
    found = objects(server[1])
    found[SET] = {"metadata": {}, "spec": {"replicas": 1}}

    def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/api/v1/nodes":
            if nodes == 403:
                return status(403, 'User "a" cannot list resource "nodes"', "Forbidden")(request)
            return web.json_response({"items": nodes})
        thing = found.get(request.path)
        return status(404, "none", "NotFound")(request) if thing is None else web.json_response(thing)

    server[0].answer = answer
    host = a_host(tmp_path, server, NODE_PORT)
    assert await host.health("mrg-a", "mrg-a") == Health(health)
    await host.close()


async def test_what_is_used_of_the_quota(tmp_path: Path, server: tuple[Server, int]) -> None:
    """Ensures that use is compared with what the quota says now, and that no quota is no use."""
    status_of = {"hard": {"pods": "40"}, "used": {"pods": "11", "limits.cpu": "2500m", "secrets": "9"}}
    found = {"metadata": {}, "spec": {"hard": {"pods": "10", "limits.cpu": "2"}}, "status": status_of}
    server[0].answer = lambda _: web.json_response(found)
    host = a_host(tmp_path, server, NODE_PORT)
    assert await host.quota_usage("mrg-a") == {"pods": ("11", "10"), "limits.cpu": ("2500m", "2")}
    found["status"] = {}
    assert await host.quota_usage("mrg-a") == {}
    server[0].answer = status(404, "none", "NotFound")
    assert await host.quota_usage("mrg-a") == {}
    await host.close()
