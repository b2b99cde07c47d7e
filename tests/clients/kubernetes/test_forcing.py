"""What is ended by force in a namespace in which everything has to end, and what never is."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from clients.kubernetes.api.kinds import CLAIM, POD, SECRET, SERVICE, Kind
from clients.kubernetes.namespace.forced_deletion import (
    FORCE_AFTER,
    NODE_LOST_AFTER,
    is_host_finalizer,
    next_step,
)
from clients.kubernetes.vcluster_options import HostOptions
from tests.clients.kubernetes.conftest import Server
from tests.clients.kubernetes.test_api import status
from tests.clients.kubernetes.test_networks import a_host

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
DAY = 86400
CONFIG_MAP = Kind("ConfigMap", "/api/v1", "configmaps")
SYNCED = {"vcluster.loft.sh/managed-by": "mrg-a"}


def thing(
    *finalizers: str, ending: timedelta | None = None, grace: int = 0, labels: Any = None
) -> dict[str, Any]:
    """Return the metadata of an object whose deletion was requested that long ago, or not yet."""
    metadata: dict[str, Any] = {"name": "x", "uid": "u", "resourceVersion": "7", "labels": labels or {}}
    if finalizers:
        metadata["finalizers"] = list(finalizers)
    if ending is not None:
        metadata["deletionTimestamp"] = (NOW - ending + timedelta(seconds=grace)).isoformat()
        metadata["deletionGracePeriodSeconds"] = grace
    return metadata


SOON, LATE, LATER = FORCE_AFTER / 2, FORCE_AFTER, NODE_LOST_AFTER


@pytest.mark.parametrize(
    ("kind", "metadata", "method", "body"),
    [
        # What holds nothing is left to the namespace's own end.
        (CONFIG_MAP, thing(), None, None),
        (CLAIM, thing("kubernetes.io/pvc-protection"), None, None),
        (SERVICE, thing("service.kubernetes.io/load-balancer-cleanup"), None, None),
        # What would hold it is deleted with its own grace period.
        (POD, thing(), "DELETE", {"gracePeriodSeconds": 30}),
        (CONFIG_MAP, thing("example.com/held"), "DELETE", {}),
        (CONFIG_MAP, thing(labels=SYNCED), "DELETE", {}),
        (CLAIM, thing("kubernetes.io/pvc-protection", labels=SYNCED), "DELETE", {}),
        # A minute, however long it asks for.
        (POD, thing(ending=SOON, grace=30), "", None),
        (POD, thing(ending=SOON, grace=DAY), "", None),
        (CONFIG_MAP, thing("example.com/held", ending=SOON), "", None),
        # Then the kubelet is asked to kill it, before the API server forgets it.
        (POD, thing(ending=LATE, grace=DAY), "DELETE", {"gracePeriodSeconds": 1}),
        (POD, thing(ending=LATE, grace=61), "DELETE", {"gracePeriodSeconds": 1}),
        (POD, thing(ending=LATE, grace=1), "", None),
        (POD, thing(ending=LATER, grace=1), "DELETE", {"gracePeriodSeconds": 0}),
        (POD, thing(ending=LATER, grace=0), "DELETE", {"gracePeriodSeconds": 0}),
        # Finalizers of tenants go; those of the host's controllers stay, as what they stand for would.
        (CONFIG_MAP, thing("example.com/held", ending=LATE), "PATCH", []),
        (POD, thing("example.com/held", ending=LATE, grace=DAY), "DELETE", {"gracePeriodSeconds": 1}),
        (POD, thing("example.com/held", ending=LATE, grace=1), "PATCH", []),
        (
            CLAIM,
            thing("kubernetes.io/pvc-protection", "example.com/held", ending=LATE),
            "PATCH",
            ["kubernetes.io/pvc-protection"],
        ),
        (CLAIM, thing("kubernetes.io/pvc-protection", ending=LATE, labels=SYNCED), "", None),
    ],
)
def test_what_is_done_next(kind: Kind, metadata: dict[str, Any], method: str | None, body: Any) -> None:
    """Ensures that each has its time, and is then ended by the least force that ends it."""
    step = next_step(kind, metadata, NOW, DAY)
    if method is None:
        assert step is None
        return
    assert step is not None
    assert step.method == method
    if method == "DELETE":
        usual = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "u"}}
        assert step.body == usual | body
        assert bool(step.message) is ("gracePeriodSeconds" in body), "a usual end is no force"
    elif method == "PATCH":
        assert step.body == {"metadata": {"uid": "u", "resourceVersion": "7", "finalizers": body}}
        assert "example.com/held" in step.message
    else:
        assert step.body is None


@pytest.mark.parametrize(
    ("kind", "metadata", "uninstalled", "goes"),
    [
        # A Secret that was created again by hand has no owner with which it would be deleted.
        (SECRET, {**thing(), "name": "vc-mrg-a"}, "mrg-a", True),
        (SECRET, {**thing(), "name": "vc-mrg-a"}, "", False),
        (SECRET, {**thing(), "name": "other"}, "mrg-a", False),
        (SERVICE, {**thing(labels={"app": "vcluster", "release": "mrg-a"}), "name": "a"}, "mrg-a", True),
        # Claims have their own way: what is stored may have to stay.
        (CLAIM, {**thing(), "name": "data-mrg-a-0"}, "mrg-a", False),
    ],
)
def test_what_is_left_of_a_release(
    kind: Kind, metadata: dict[str, Any], uninstalled: str, goes: bool
) -> None:
    """Ensures that what no owner takes along is deleted once the release is uninstalled, and not before."""
    step = next_step(kind, metadata, NOW, 0, uninstalled)
    assert (step is not None and step.method == "DELETE") is goes


@pytest.mark.parametrize(
    ("finalizer", "of_the_host"),
    [
        ("kubernetes.io/pvc-protection", True),
        ("snapshot.storage.kubernetes.io/pvc-as-source-protection", True),
        ("service.k8s.aws/resources", True),
        ("foregroundDeletion", True),
        ("example.com/held", False),
        ("notkubernetes.io/held", False),
        ("kubernetes.io.example.com/held", False),
        ("finalizers.tenant.dev/a/b", False),
    ],
)
def test_whose_a_finalizer_is(finalizer: str, of_the_host: bool) -> None:
    """Ensures that a domain is taken as a whole, and none for what it only looks like."""
    assert is_host_finalizer(finalizer) is of_the_host


async def test_a_namespace_is_emptied(tmp_path: Path, server: tuple[Server, int]) -> None:
    """Ensures that each kill is reported, and that refused or missing objects are read again."""
    items = {
        "pods": [
            {"metadata": thing(ending=LATE, grace=DAY)},
            {"metadata": {**thing(), "name": "long"}, "spec": {"terminationGracePeriodSeconds": DAY}},
            {"metadata": {**thing(), "name": "short"}, "spec": {"terminationGracePeriodSeconds": 5}},
            {"metadata": {**thing(), "name": "usual"}},
        ],
        "configmaps": [{"metadata": {**thing("example.com/held", ending=LATE), "name": "y"}}],
        "secrets": [{"metadata": {**thing("example.com/held", ending=LATE), "name": "gone"}}],
        "services": [{"metadata": thing()}],
    }

    def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/readyz":
            return web.Response(text="ok")
        plural = request.path.split("/namespaces/mrg-a/")[1].split("/")[0]
        if request.path.endswith("/gone"):
            return status(404, "gone", "NotFound")(request)
        if request.method == "GET" and plural == "leases":
            return status(403, 'User "w" cannot list resource "leases" in API group ""', "Forbidden")(request)
        found = web.json_response({"items": items.get(plural, [])})
        found.headers["Date"] = format_datetime(NOW, usegmt=True)
        return found

    server[0].answer = answer
    host = a_host(tmp_path, server, HostOptions())
    await host.force_delete("mrg-a")  # its clock is known from its first answer
    server[0].asked.clear()
    ending = await host.force_delete("mrg-a")
    await host.close()
    assert set(ending.waiting_for) == {
        "Pod x",
        "Pod long",
        "Pod short",
        "Pod usual",
        "ConfigMap y with finalizer example.com/held",
        "Secret gone with finalizer example.com/held",
    }
    assert set(ending.forced) == {
        "Pod x got 1 s to terminate instead of 86400 s",
        "Pod long got 30 s to terminate: it requested 86400 s",
        "ConfigMap y lost its finalizers example.com/held",
    }
    changes = [(each.method, each.path) for each in server[0].asked if each.method != "GET"]
    assert ("DELETE", "/api/v1/namespaces/mrg-a/pods/x") in changes
    assert ("PATCH", "/api/v1/namespaces/mrg-a/configmaps/y") in changes
    assert not [each for each in changes if "/services" in each[1]]
    graces = {
        each.path.rpartition("/")[2]: json.loads(each._read_bytes or b"")["gracePeriodSeconds"]
        for each in server[0].asked
        if each.method == "DELETE"
    }
    assert graces == {"x": 1, "long": 30, "short": 5, "usual": 30}


async def test_a_vcluster_is_stopped_before_it_is_removed(tmp_path: Path, server: tuple[Server, int]) -> None:
    """Ensures that its set is scaled to zero once, and that its pods are waited for."""
    sets = [{"metadata": {"name": "mrg-a"}, "spec": {"replicas": 1}}]
    pods = [{"metadata": {"name": "mrg-a-0"}}]

    def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "PATCH":
            sets[0]["spec"] = json.loads(request._read_bytes or b"")["spec"]
        found = {"statefulsets": sets, "pods": pods}.get(request.path.rpartition("/")[2], [])
        return web.json_response({"items": found})

    server[0].answer = answer
    host = a_host(tmp_path, server, HostOptions())
    assert await host.stop_release("mrg-a", "mrg-a") == "Pod mrg-a-0 to end"
    assert sets[0]["spec"] == {"replicas": 0}
    pods.clear()
    assert await host.stop_release("mrg-a", "mrg-a") == ""
    changes = [each for each in server[0].asked if each.method == "PATCH"]
    assert [each.query["labelSelector"] for each in server[0].asked if each.method == "GET"][:1] == [
        "app=vcluster,release=mrg-a"
    ]
    await host.close()
    assert len(changes) == 1
