"""Ensures that what an environment has stored goes with it, or is kept and named, as its template says."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from activities.parts.retained_volumes import MAX_CLOCK_SKEW
from tests.e2e.cluster import Cluster
from tests.e2e.environments import Environments
from tests.e2e.using import has_gone
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking


def volumes_of(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    found = cluster.get("persistentvolumes")["items"]
    return [each for each in found if (each["spec"].get("claimRef") or {}).get("namespace") == f"mrg-{name}"]


async def test_retained_volumes(
    environments: Environments, alice: Asking, cluster: Cluster, stand_ins: Systems
) -> None:
    kept, deleted = environments["kept"], environments["deleted"]
    [volume] = volumes_of(cluster, kept)
    for each in (volume, *volumes_of(cluster, deleted)):
        assert each["spec"]["persistentVolumeReclaimPolicy"] == "Retain"

    # An operator removes our rights there: that must not block its teardown.
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


async def test_a_volume_of_an_earlier_namespace_that_cannot_go(
    environments: Environments, alice: Asking, cluster: Cluster, stand_ins: Systems
) -> None:
    name = environments.stuck
    volume = f"{name}-earlier"
    # A younger volume might belong to the environment, as far as Moorage knows once the namespace is gone.
    made = cluster.get("persistentvolume", volume)["metadata"]["creationTimestamp"]
    age = datetime.now(UTC) - datetime.fromisoformat(made)
    await asyncio.sleep(max(0.0, (MAX_CLOCK_SKEW - age).total_seconds()))
    await alice.request(name)
    await alice.until_step(name, "vcluster", "running")
    assert (await alice.delete(name)).status_code == 202
    ended = await alice.until_phase(name, "gone")
    assert ended["certificate"]["nothing_left"] is True
    named = [one for system in ended["certificate"]["systems"] for one in system["kept"]]
    assert named == [f"PersistentVolume {volume} (older than this environment)"]
    assert cluster.holds(f"mrg-{name}") == [f"persistent volume {volume}"]
    assert stand_ins.holds(name) == {}
