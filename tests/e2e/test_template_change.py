"""Ensures that real Helm resizes and upgrades an environment in use, and goes back if it does not start.

Prints how long each change takes.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from embedded.stack.stack import Stack
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import LOOK_EVERY, MAX_WAIT
from tests.e2e.harbour import CONTROL_PLANE, SIZE, write_template
from tests.e2e.using import gone, kubeconfig_of, retried, running_pod
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.support.stack import unique

MORE: dict[str, Any] = {"cpu": "2", "memory": "2Gi", "storage": "3Gi", "pods": 14}
#: What the vCluster itself has in the newer version of the template.
NEWER = {**CONTROL_PLANE, "requests": {"cpu": "120m", "memory": "256Mi"}}


CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {name}}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Mi}}}}}}
"""
T = TypeVar("T")


async def take_snapshot(alice: Asking, name: str) -> dict[str, Any]:
    """Ask for a snapshot, and wait for its end; return how the environment is then."""
    started = time.monotonic()
    answer = await alice.call("POST", f"/environments/{name}/snapshots")
    assert answer.status_code == 202, answer.text
    while True:
        shown = await alice.show(name)
        last = shown["snapshots"][-1] if shown["snapshots"] else None
        if last and (last["taken_at"] or last["problem"]):
            return shown
        assert time.monotonic() - started < MAX_WAIT, shown
        await asyncio.sleep(LOOK_EVERY)


async def restore(alice: Asking, name: str, number: int) -> dict[str, Any]:
    """Restore a snapshot, and wait for the end of that; return how the environment is then."""
    started = time.monotonic()
    answer = await alice.call("POST", f"/environments/{name}/restore", json={"snapshot": number})
    assert answer.status_code == 202, answer.text
    # While no worker answers, it is not known, and no step is shown.
    while (shown := await alice.show(name))["restore"] or not shown["steps"]:
        assert time.monotonic() - started < MAX_WAIT, shown
        await asyncio.sleep(LOOK_EVERY)
    return shown


class Changing:
    """An environment whose template changes, and what its developer has inside."""

    def __init__(self, real: Stack, cluster: Cluster, alice: Asking, folder: Path) -> None:
        self._templates = Path(real.env["MOORAGE_TEMPLATES"])
        self._cluster, self._alice, self._folder = cluster, alice, folder
        self.name, self.template, self.larger = unique("changing"), unique("sized"), unique("larger")

    @property
    def namespace(self) -> str:
        """Its namespace on the host."""
        return f"mrg-{self.name}"

    async def make(self) -> None:
        """Have it made, with a pod and a ConfigMap inside."""
        self.write(self.template)
        self.write(self.larger, size=MORE)
        await self.offered(self.larger, 1)
        answer = await self._alice.request(self.name, template=self.template)
        assert answer.status_code == 202, answer.text
        await self._alice.until_phase(self.name, "ready")
        self.config = await kubeconfig_of(self._alice, self.name, self._folder)
        await running_pod(self._cluster, self.config)
        await retried(self._cluster, "create", "configmap", "mine", kubeconfig=self.config)

    def write(self, template: str, version: int = 1, **more: Any) -> None:
        """Put a version of a template into the catalogue."""
        write_template(self._templates, self._cluster, template, **more)
        file = self._templates / f"{template}.yaml"
        file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "version": version}))

    async def offered(self, template: str, version: int) -> None:
        """Wait until the API has read the version."""
        ends = time.monotonic() + MAX_WAIT
        while True:
            answer = await self._alice.call("GET", f"/templates/{template}")
            if answer.status_code == 200 and answer.json()["version"] == version:
                return
            assert time.monotonic() < ends, answer.text
            await asyncio.sleep(LOOK_EVERY)

    async def change(self, verb: str, **body: Any) -> dict[str, Any]:
        """Ask for a change, and wait for its end; return how the environment is then."""
        started = time.monotonic()
        answer = await self._alice.call("POST", f"/environments/{self.name}/{verb}", json=body)
        assert answer.status_code == 202, answer.text
        # While no worker answers, it is not known, and no step is shown.
        while (shown := await self._alice.show(self.name))["change"] or not shown["steps"]:
            assert time.monotonic() - started < MAX_WAIT, shown
            await asyncio.sleep(LOOK_EVERY)
        print(f"{verb} took {time.monotonic() - started:.1f} s")
        return shown

    async def show(self) -> dict[str, Any]:
        """How the environment is."""
        return await self._alice.show(self.name)

    async def take_snapshot(self) -> dict[str, Any]:
        """Ask for a snapshot, and wait for its end; return how the environment is then."""
        return await take_snapshot(self._alice, self.name)

    async def restore(self, number: int) -> dict[str, Any]:
        """Restore a snapshot, and wait for the end of that; return how the environment is then."""
        return await restore(self._alice, self.name, number)

    def damage(self, number: int) -> None:
        """Cut the file of a snapshot in half: the pod that restores it begins, and fails."""
        file = f"/data/moorage-snapshots/{number % 4}.tar.gz"
        script = f"head -c $(( $(wc -c < {file}) / 2 )) {file} > {file}.cut && mv {file}.cut {file}"
        pod = f"{self.namespace}-0"
        self._cluster.run("exec", "-n", self.namespace, pod, "-c", "syncer", "--", "sh", "-c", script)

    async def make_claim(self, name: str) -> str:
        """Make a claim inside; return the UID of its claim on the host once that is there."""
        before = self.volumes()
        await retried(self._cluster, "apply", "-f", "-", kubeconfig=self.config, text=CLAIM.format(name=name))
        [made] = await self._until(lambda: self.volumes() - before)
        return made

    async def has_only_volumes(self, volumes: set[str]) -> None:
        """Wait until the namespace on the host has these claims and no other."""
        await self._until(lambda: self.volumes() == volumes)

    async def _until(self, look: Callable[[], T]) -> T:
        ends = time.monotonic() + MAX_WAIT
        while not (found := look()):
            assert time.monotonic() < ends, self.volumes()
            await asyncio.sleep(LOOK_EVERY)
        return found

    async def make_config_map(self, name: str) -> None:
        """Make an object inside."""
        await retried(self._cluster, "create", "configmap", name, kubeconfig=self.config)

    async def config_maps(self) -> set[str]:
        """The ConfigMaps of the developer inside."""
        arguments = ("get", "configmaps", "-o", "jsonpath={.items[*].metadata.name}")
        done = await retried(self._cluster, *arguments, kubeconfig=self.config)
        return set(done.stdout.split()) - {"kube-root-ca.crt"}

    async def requests(self) -> dict[str, str]:
        """The phase of each request for a snapshot, by its name, once their Secrets are gone."""
        of_requests = ("-n", self.namespace, "-l", "vcluster.loft.sh/snapshot-request")
        ends = time.monotonic() + MAX_WAIT
        while left := self._cluster.get("secrets", *of_requests)["items"]:
            assert time.monotonic() < ends, left
            await asyncio.sleep(LOOK_EVERY)
        found = self._cluster.get("configmaps", *of_requests)["items"]
        return {
            each["metadata"]["name"]: json.loads(each["data"]["snapshotRequest"])["status"]["phase"]
            for each in found
        }

    def files_of_snapshots(self) -> set[str]:
        """The files of snapshots on the volume of the vCluster."""
        pod = f"{self.namespace}-0"
        listed = self._cluster.run(
            "exec", "-n", self.namespace, pod, "-c", "syncer", "--", "ls", "/data/moorage-snapshots"
        )
        return set(listed.split())

    async def keeps_what_is_inside(self) -> None:
        """Check that the pod and the ConfigMap are there, for a client that was there before."""
        await retried(self._cluster, "get", "configmap", "mine", kubeconfig=self.config)
        await retried(
            self._cluster,
            "wait",
            "--for=condition=Ready",
            "pod/hello",
            "--timeout=60s",
            kubeconfig=self.config,
        )

    def quota(self) -> dict[str, str]:
        """What it may take on the host."""
        [quota] = self._cluster.get("resourcequotas", "-n", self.namespace)["items"]
        hard: dict[str, str] = quota["spec"]["hard"]
        return {key: hard[key] for key in ("limits.cpu", "limits.memory", "pods")}

    def control_plane(self) -> dict[str, Any]:
        """The vCluster itself: its container."""
        [control] = self._cluster.get("statefulsets", "-n", self.namespace, "-l", "app=vcluster")["items"]
        assert control["status"]["readyReplicas"] == control["spec"]["replicas"] == 1
        [container] = [
            each for each in control["spec"]["template"]["spec"]["containers"] if each["name"] == "syncer"
        ]
        return {"image": container["image"], "requests": container["resources"]["requests"]}

    def volumes(self) -> set[str]:
        """The claims of the vCluster, by what tells a claim from its successor."""
        return {each["metadata"]["uid"] for each in self._cluster.get("pvc", "-n", self.namespace)["items"]}

    def revisions(self) -> list[str]:
        """What Helm says of each revision of the release."""
        found = self._cluster.get("secrets", "-n", self.namespace, "-l", "owner=helm")["items"]
        return [each["metadata"]["labels"]["status"] for each in found]


@pytest.fixture(scope="module")
async def changing(
    real: Stack, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Changing]:
    async with Asking(real, max_wait=MAX_WAIT, look_every=LOOK_EVERY) as alice:
        changing = Changing(real, cluster, alice, tmp_path_factory.mktemp("changing"))
        await changing.make()
        yield changing
        await gone(alice, changing.name, cluster, Systems(real))


async def test_a_resize_keeps_volume_objects_and_address(changing: Changing) -> None:
    """Ensures that quota and release are of the larger template, in the same volume at the same address."""
    before, volumes = changing.quota(), changing.volumes()
    shown = await changing.change("resize", template=changing.larger)
    assert (shown["template"], shown["phase"], shown["change_problem"]) == (changing.larger, "ready", None)
    after = changing.quota()
    # Beside the pods of the template there is room for those of the vCluster itself.
    assert int(after["pods"]) - int(before["pods"]) == MORE["pods"] - SIZE["pods"]
    assert (after["limits.cpu"], after["limits.memory"]) != (before["limits.cpu"], before["limits.memory"])
    assert changing.volumes() == volumes
    assert changing.revisions().count("deployed") == 1
    await changing.keeps_what_is_inside()


async def test_a_snapshot_was_taken_before_the_resize(changing: Changing) -> None:
    """Ensures that the vCluster has taken it, and that its file is on the volume after the restart."""
    [snapshot] = (await changing.show())["snapshots"]
    assert snapshot["problem"] is None
    assert (snapshot["number"], snapshot["before"]) == (1, f"the change to {changing.larger} version 1")
    [(name, phase)] = (await changing.requests()).items()
    assert (name.startswith(f"{changing.namespace}-snapshot-1-"), phase) == (True, "Completed")
    assert "1.tar.gz" in changing.files_of_snapshots()


async def test_snapshots_are_taken_on_request(changing: Changing) -> None:
    """Ensures that the fifth takes the file of the first, and that no Secret of a request stays."""
    for _ in range(4):
        started = time.monotonic()
        shown = await changing.take_snapshot()
        assert shown["snapshots"][-1]["problem"] is None, shown["snapshots"]
        print(f"a snapshot took {time.monotonic() - started:.1f} s")
    assert [one["number"] for one in shown["snapshots"]] == [3, 4, 5]
    assert set((await changing.requests()).values()) == {"Completed"}
    assert changing.files_of_snapshots() == {f"{number}.tar.gz" for number in range(4)}
    await changing.keeps_what_is_inside()


async def test_a_snapshot_is_restored(changing: Changing) -> None:
    """Ensures that what was made since is gone, its volumes too, and that what was there before is there."""
    volumes = changing.volumes()
    await changing.make_config_map("later")
    later = await changing.make_claim("later")
    started = time.monotonic()
    shown = await changing.restore(5)
    print(f"a restore took {time.monotonic() - started:.1f} s")
    assert shown["restore_problem"] is None, shown["restore_problem"]
    assert (shown["snapshots"][-1]["number"], shown["snapshots"][-1]["before"]) == (
        6,
        "the restore of snapshot 5",
    )
    assert await changing.config_maps() == {"mine"}
    await changing.keeps_what_is_inside()
    assert later not in volumes
    await changing.has_only_volumes(volumes)


async def test_a_restore_that_fails_goes_back(changing: Changing) -> None:
    """Ensures that the reason is the pod's, and that all is there that was there before, its volumes too."""
    await changing.make_config_map("kept")
    await changing.make_claim("kept")
    volumes = changing.volumes()
    changing.damage(5)
    started = time.monotonic()
    shown = await changing.restore(5)
    print(f"a restore that went back took {time.monotonic() - started:.1f} s")
    assert (shown["phase"], shown["restore"]) == ("ready", None)
    problem = shown["restore_problem"]
    assert problem, "a damaged snapshot was restored"
    assert "its pod ended with code 1: restore" in problem["cause"], problem
    assert "unexpected EOF" in problem["cause"], problem
    assert [one["number"] for one in shown["snapshots"]] == [5, 6, 7]
    assert await changing.config_maps() == {"mine", "kept"}
    await changing.keeps_what_is_inside()
    assert changing.volumes() == volumes


async def test_a_snapshot_is_restored_where_pods_are_restricted(
    real: Stack, cluster: Cluster, alice: Asking
) -> None:
    """Ensures that the pod that restores it is let in by the pod security and needs no network."""
    name = unique("closed")
    answer = await alice.request(name, template="closed")
    assert answer.status_code == 202, answer.text
    await alice.until_phase(name, "ready")
    await take_snapshot(alice, name)
    shown = await restore(alice, name, 1)
    assert shown["restore_problem"] is None, shown["restore_problem"]
    [pod] = cluster.get("pods", "-n", f"mrg-{name}", "-l", "app=vcluster-snapshot")["items"]
    assert pod["status"]["phase"] == "Succeeded"
    await gone(alice, name, cluster, Systems(real))


async def test_an_upgrade_changes_the_vcluster_in_place(changing: Changing) -> None:
    volumes, before = changing.volumes(), changing.control_plane()
    changing.write(changing.larger, version=2, size=MORE, stateful={"resources": NEWER})
    await changing.offered(changing.larger, 2)
    shown = await changing.change("upgrade")
    assert (shown["template_version"], shown["change_problem"]) == (2, None)
    assert changing.control_plane() == {**before, "requests": {**before["requests"], "cpu": "120m"}}
    assert changing.volumes() == volumes
    await changing.keeps_what_is_inside()


async def test_an_upgrade_that_does_not_start_goes_back(changing: Changing) -> None:
    """Ensures that the reason is the image's, and that the vCluster of before runs again with its data."""
    volumes, before = changing.volumes(), changing.control_plane()
    broken = {"resources": NEWER, "image": {"tag": "0.0.0-none"}}
    changing.write(changing.larger, version=3, size=MORE, stateful=broken)
    await changing.offered(changing.larger, 3)
    shown = await changing.change("upgrade")
    assert (shown["template_version"], shown["phase"]) == (2, "ready")
    assert "0.0.0-none" in shown["change_problem"]["cause"], shown["change_problem"]
    assert changing.control_plane() == before
    assert changing.volumes() == volumes
    assert changing.revisions().count("deployed") == 1
    await changing.keeps_what_is_inside()
