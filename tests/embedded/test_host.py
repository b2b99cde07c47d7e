"""The simulated host itself: who gets in, what outlives it, and the agents that it runs."""

import asyncio
import sqlite3
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import yaml

from clients.host.kubeconfig import Kubeconfig
from clients.host.models import Chart
from clients.host.protocol import Host
from clients.rafay import Cluster, Rafay
from contracts.templates.supported_charts import NEWEST_TESTED
from tests.support.deadline import HANG
from tests.support.simulated_host import HOST_TOKEN, RunningHost, running_host
from tests.support.stand_ins import TLS, RafayStandIn

CHART = Chart(None, "vcluster", NEWEST_TESTED)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    with running_host(tmp_path_factory.mktemp("host")) as running:
        yield running


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RafayStandIn]:
    with RafayStandIn(tmp_path_factory.mktemp("rafay"), behaviour={"agent_silence": 2}) as stand_in:
        yield stand_in


@pytest.fixture
async def rafay(stand_in: RafayStandIn) -> AsyncIterator[Rafay]:
    async with stand_in.client() as client:
        yield client


async def new_vcluster(host: Host, namespace: str) -> Kubeconfig:
    await host.create_namespace(namespace, {}, {})
    await host.install_release(namespace, "demo", CHART, {}, {})
    kubeconfig = await host.kubeconfig(namespace, "demo")
    assert kubeconfig is not None
    return kubeconfig


async def answers(host: Host, kubeconfig: Kubeconfig) -> str:
    async with host.virtual_cluster(kubeconfig) as virtual:
        return await virtual.version()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/version"),
        ("POST", "/namespaces"),
        ("GET", "/namespaces/a"),
        ("DELETE", "/namespaces/a"),
        ("GET", "/namespaces/a/blockers"),
        ("POST", "/namespaces/a/objects"),
        ("DELETE", "/namespaces/a/volumes/data-demo-0"),
        ("GET", "/namespaces/a/releases/demo"),
        ("POST", "/namespaces/a/releases/demo"),
        ("DELETE", "/namespaces/a/releases/demo"),
        ("GET", "/namespaces/a/releases/demo/startup"),
        ("GET", "/namespaces/a/releases/demo/volumes"),
        ("GET", "/namespaces/a/releases/demo/leftovers"),
        ("GET", "/namespaces/a/releases/demo/kubeconfig"),
        ("GET", "/namespaces/a/statefulsets/demo"),
        ("PATCH", "/namespaces/a/statefulsets/demo"),
        ("GET", "/namespaces/a/pods"),
        ("DELETE", "/namespaces/a/pods/demo-0"),
        ("POST", "/namespaces/a/secrets"),
        ("GET", "/namespaces/a/secrets"),
        ("DELETE", "/namespaces/a/secrets/demo-snapshot-1"),
        ("POST", "/namespaces/a/configmaps"),
        ("GET", "/namespaces/a/configmaps/demo-snapshot-1"),
        ("PATCH", "/namespaces/a/configmaps/demo-snapshot-1"),
        ("DELETE", "/namespaces/a/configmaps/demo-snapshot-1"),
    ],
)
def test_a_caller_without_the_token_is_refused_by_every_route(
    running: RunningHost, method: str, path: str
) -> None:
    with httpx.Client(base_url=running.url, trust_env=False, verify=TLS) as http:
        for given in (None, "", "Bearer", "Bearer wrong", f"Bearer {HOST_TOKEN}x", HOST_TOKEN, "Bearer ü"):
            headers: dict[bytes, bytes] = {} if given is None else {b"Authorization": given.encode()}
            answer = http.request(method, path, headers=headers, json={})
            assert answer.status_code == 401, f"{method} {path} was let in by {given!r}"


async def test_virtual_api_servers_tell_nothing_without_the_token(running: RunningHost) -> None:
    host = running.client()
    mine = await new_vcluster(host, "moor-mine")
    others = await new_vcluster(host, "moor-others")
    await host.close()
    foreign = {"Authorization": f"Bearer {others.current()[1]['token']}"}
    trust = ssl.create_default_context(cafile=running.folder / "ca.pem")
    async with httpx.AsyncClient(verify=trust, trust_env=False) as http:
        for path in ("/readyz", "/version", "/api", "/apis", "/api/v1/namespaces", "/anything", "/../demo"):
            for headers in ({}, foreign, {"Authorization": f"Bearer {HOST_TOKEN}"}):
                answer = await http.get(f"{mine.server}{path}", headers=headers)
                assert answer.status_code == 401, f"{path} was answered to {headers or 'a stranger'}"


def test_its_keys_are_for_its_owner_only(running: RunningHost) -> None:
    for name in ("ca.key", "server.key"):
        assert (running.folder / name).stat().st_mode & 0o077 == 0, f"{name} is open to others"


@pytest.mark.slow
async def test_everything_outlives_a_restart_and_goes_on(tmp_path: Path) -> None:
    with running_host(tmp_path, stop=1.0) as first:
        host = first.client()
        kubeconfig = await new_vcluster(host, "moor-stays")
        going = await host.create_namespace("moor-goes", {}, {})
        await host.delete_namespace("moor-goes", going.uid)
        await host.close()
    with running_host(tmp_path) as second:
        host = second.client()
        again = await host.kubeconfig("moor-stays", "demo")
        assert again is not None
        assert again.fingerprint == kubeconfig.fingerprint, (
            "the kubeconfig that was handed out is another now"
        )
        assert await answers(host, kubeconfig) == "v1.36.0+simulated"
        await until(lambda: host.get_namespace("moor-goes"), lambda found: found is None)
        await host.close()
    with closing(sqlite3.connect(first.database)) as rows:
        assert rows.execute("SELECT name FROM namespaces").fetchall() == [("moor-stays",)]


async def until(read: Callable[[], Awaitable[Any]], wanted: Callable[[Any], object]) -> Any:
    deadline = asyncio.get_running_loop().time() + HANG
    while not wanted(value := await read()):
        assert asyncio.get_running_loop().time() < deadline, f"it is still {value!r}"
        await asyncio.sleep(0.05)
    return value


class TestAgent:
    """It is what makes the control plane say that an imported cluster is ready."""

    async def imported(self, rafay: Rafay, name: str) -> tuple[Cluster, list[dict[str, Any]]]:
        project = await rafay.create_project(name, "")
        cluster = await rafay.create_cluster(project.id, name, {}, "minimal")
        return cluster, list(yaml.safe_load_all(await rafay.bootstrap(project.id, name)))

    @pytest.mark.slow
    async def test_runs_with_its_vcluster_and_ends_with_it(self, rafay: Rafay, tmp_path: Path) -> None:
        cluster, manifests = await self.imported(rafay, "moor-agent")

        async def state() -> Cluster:
            return await rafay.get_cluster(cluster.project_id, cluster.id)

        with running_host(tmp_path) as first:
            host = first.client()
            kubeconfig = await new_vcluster(host, "moor-agent")
            async with host.virtual_cluster(kubeconfig) as virtual:
                # All but the Deployment: with nothing to run it, a Secret is only a Secret.
                await virtual.apply([each for each in manifests if each["kind"] != "Deployment"], {})
                await asyncio.sleep(0.3)
                assert not (await state()).ready
                await virtual.apply(manifests, {"moorage.dev/name": "agent"})
            await until(state, lambda cluster: cluster.ready and cluster.healthy)
            await host.close()
        await until(state, lambda cluster: not cluster.healthy)

        with running_host(tmp_path) as second:
            await until(state, lambda cluster: cluster.healthy)
            host = second.client()
            await host.uninstall_release("moor-agent", "demo")
            await until(state, lambda cluster: not cluster.healthy)
            await host.close()

    async def test_goes_when_the_control_plane_lets_it_go(self, running: RunningHost, rafay: Rafay) -> None:
        cluster, manifests = await self.imported(rafay, "moor-dismissed")
        host = running.client()
        async with host.virtual_cluster(await new_vcluster(host, "moor-dismissed")) as virtual:
            await virtual.apply(manifests, {})
        await until(lambda: rafay.get_cluster(cluster.project_id, cluster.id), lambda cluster: cluster.ready)
        await rafay.delete_cluster(cluster.project_id, cluster.id, force=False)
        await until(
            lambda: rafay.find_cluster(cluster.project_id, "moor-dismissed"), lambda found: found is None
        )
        await host.close()


class StatefulSetApi:
    """The StatefulSet and the pods of one release, by HTTP."""

    def __init__(self, running: RunningHost, namespace: str) -> None:
        headers = {"Authorization": f"Bearer {HOST_TOKEN}"}
        self._http = httpx.Client(base_url=running.url, headers=headers, trust_env=False, verify=TLS)
        self._root = f"/namespaces/{namespace}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self) -> dict[str, Any]:
        found: dict[str, Any] = self._http.get(f"{self._root}/statefulsets/demo").json()
        return found

    def patch(self, **patch: Any) -> int:
        return self._http.patch(f"{self._root}/statefulsets/demo", json=patch).status_code

    def pods(self) -> list[str]:
        return [each["metadata"]["name"] for each in self._http.get(f"{self._root}/pods").json()]

    def delete(self, pod: str) -> int:
        return self._http.delete(f"{self._root}/pods/{pod}").status_code

    def until(self, condition: Callable[[], object]) -> None:
        ends = time.monotonic() + HANG
        while not condition():
            assert time.monotonic() < ends
            time.sleep(0.02)


@pytest.mark.slow
async def test_a_statefulset_is_scaled_as_in_kubernetes(running: RunningHost) -> None:
    """Ensures the vendor's pause: what the syncer has made stays until it is deleted."""
    client = running.client()
    await new_vcluster(client, "scaled")
    with StatefulSetApi(running, "scaled") as api:
        found = api.get()
        assert (found["spec"]["replicas"], found["status"]) == (1, {"replicas": 1})
        [container] = found["spec"]["template"]["spec"]["containers"]
        assert container["name"] == "syncer"
        own, dns = api.pods()
        assert own == "demo-0"
        assert api.delete(dns) == 200
        assert api.pods() == [own, dns], "its syncer makes it again"

        marked = {"loft.sh/paused": "true", "example.com/other": "kept"}
        assert api.patch(metadata={"annotations": marked}, spec={"replicas": 0}) == 200
        assert api.patch(metadata={"resourceVersion": found["metadata"]["resourceVersion"]}) == 409
        api.until(lambda: api.get()["status"] == {"replicas": 0})
        assert api.pods() == [dns]
        assert api.delete(dns) == 200
        api.until(lambda: not api.pods())
        assert api.delete(dns) == 404

        assert api.patch(metadata={"annotations": {"loft.sh/paused": None}}, spec={"replicas": 1}) == 200
        assert api.get()["metadata"]["annotations"] == {"example.com/other": "kept"}
        assert api.pods() == [own, dns]
        assert api.patch(spec={"replicas": -1}) == 422
    await client.close()


@pytest.mark.slow
async def test_a_pod_that_ends_is_followed_by_the_next_one(running: RunningHost) -> None:
    """Ensures that one that is scaled up while its pod ends gets a pod after that, as in Kubernetes."""
    client = running.client()
    await new_vcluster(client, "up-again")
    with StatefulSetApi(running, "up-again") as api:
        assert api.patch(spec={"replicas": 0}) == 200
        assert api.patch(spec={"replicas": 1}) == 200
    kubeconfig = await client.kubeconfig("up-again", "demo")
    assert kubeconfig
    async with client.virtual_cluster(kubeconfig) as virtual:
        await until(virtual.ready, bool)
    await client.close()
