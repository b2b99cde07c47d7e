"""Ensures that what an environment has stored goes with it, or is kept and named, as its template says."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.harbour import RETAINING
from tests.e2e.using import has_gone
from tests.environment.asking import Asking
from tests.environment.systems import Systems
from tests.support.stack import unique

DEFAULT = "storageclass.kubernetes.io/is-default-class"
BINDING = ("clusterrolebinding", "moorage-volumes")


@pytest.fixture
def retaining_class(cluster: Cluster) -> Iterator[None]:
    """A storage class as the default one, but that it retains."""
    classes = cluster.get("storageclasses")["items"]
    default = next(each for each in classes if (each["metadata"].get("annotations") or {}).get(DEFAULT))
    kept = {key: value for key, value in default.items() if key != "metadata"}
    body = {**kept, "metadata": {"name": RETAINING}, "reclaimPolicy": "Retain"}
    cluster.run("apply", "-f", "-", text=json.dumps(body))
    yield
    cluster.run("delete", "storageclass", RETAINING)
    cluster.run("delete", *BINDING, "--ignore-not-found")


def volumes_of(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    found = cluster.get("persistentvolumes")["items"]
    return [each for each in found if (each["spec"].get("claimRef") or {}).get("namespace") == f"mrg-{name}"]


async def test_retained_volumes(
    alice: Asking, cluster: Cluster, stand_ins: Systems, retaining_class: None
) -> None:
    refused = unique("refused")
    await alice.request(refused, template="volumes-deleted")
    problem = (await alice.until_phase(refused, "gone"))["problem"]
    assert problem["step"] == "namespace"
    assert "may not patch persistentvolumes" in problem["cause"], "the right is bound to nobody yet"

    cluster.run(
        "create", *BINDING, "--clusterrole=moorage-volumes", "--serviceaccount=moorage:moorage-worker"
    )
    kept, deleted = unique("kept"), unique("deleted")
    await alice.request(kept, template="volumes-kept")
    await alice.request(deleted, template="volumes-deleted")
    await asyncio.gather(*(alice.until_phase(name, "ready") for name in (kept, deleted)))
    [volume] = volumes_of(cluster, kept)
    assert [each["spec"]["persistentVolumeReclaimPolicy"] for each in volumes_of(cluster, deleted)] == [
        "Retain"
    ]

    # Somebody takes our rights there away: that must not be what keeps it for ever.
    cluster.run("delete", "rolebinding", "moorage-environment", "-n", f"mrg-{deleted}")
    for name in (kept, deleted):
        assert (await alice.delete(name)).status_code == 202
    await has_gone(alice, deleted, cluster, stand_ins)

    gone = await alice.until_phase(kept, "gone")
    assert gone["certificate"]["nothing_left"] is True
    named = [one for system in gone["certificate"]["systems"] for one in system["kept"]]
    assert named == [f"PersistentVolume {volume['metadata']['name']}"]
    assert [each["status"]["phase"] for each in volumes_of(cluster, kept)] == ["Released"]
    assert cluster.holds(f"mrg-{kept}") == [f"persistent volume {volume['metadata']['name']}"]
    assert stand_ins.holds(kept) == {}
    policy = '{"spec": {"persistentVolumeReclaimPolicy": "Delete"}}'
    cluster.run("patch", "persistentvolume", volume["metadata"]["name"], "-p", policy)
