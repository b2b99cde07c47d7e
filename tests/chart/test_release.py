"""Ensures that the chart works on a real cluster: installed, used, upgraded, rolled back, uninstalled.

The tests run in this order, on one release.
"""

import asyncio
import contextlib
import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import yaml

from tests.chart.outside import Outside
from tests.chart.release import (
    BY_PORT,
    CHART,
    COMPONENTS,
    LONGEST,
    NAME,
    NAMESPACE,
    PART_OF,
    WAITING,
    WITHIN,
    Release,
)
from tests.e2e.cluster import Cluster
from tests.e2e.using import has_gone, kubeconfig_of, retried, running_pod
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.support.processes import Ended, run_module
from tests.support.stack import unique
from tests.support.stand_ins import TLS

#: Lives in the middle of which the release is upgraded and rolled back: these become ready and stay.
STAY = 3
#: These wait for a node that never comes, until they are asked to go amid the upgrade and the rollback.
DELETED, CANCELLED = 4, 3
#: Between two questions to the API while its pods are replaced.
ASK_EVERY = 0.2


def test_all_parts_run_as_their_own_accounts_and_as_restricted_as_they_can_be(
    release: Release, cluster: Cluster
) -> None:
    # The namespace refuses pods that are not `restricted`; this is beyond it.
    accounts = {"worker": "moorage-worker", "api": "moorage-api", "codec-server": "moorage-codec-server"}
    for component in COMPONENTS:
        for pod in release.pods(component):
            assert pod["spec"]["serviceAccountName"] == accounts[component]
            assert pod["status"]["containerStatuses"][0]["restartCount"] == 0, release.state()
            name = pod["metadata"]["name"]
            assert release.kubectl("exec", name, "--", "id", "-u").strip() == "10001"
            written = cluster.attempt("exec", name, "-n", NAMESPACE, "--", "touch", "/opt/moorage/x")
            assert "Read-only file system" in written.stderr
    for account, allowed in (("moorage-worker", "yes"), ("moorage-api", "no")):
        may = ("auth", "can-i", "create", "namespaces", f"--as=system:serviceaccount:{NAMESPACE}:{account}")
        assert cluster.attempt(*may).stdout.strip() == allowed


def test_set_up_did_all_of_it(release: Release) -> None:
    log = release.kubectl("logs", "--selector", "app.kubernetes.io/component=setup", "--tail=-1")
    assert "Setup complete" in log


def test_helm_test(release: Release) -> None:
    assert "Phase:          Succeeded" in release.helm("test", NAME, "--logs")


def test_networks_are_closed_to_all_but_the_named_peers(release: Release, cluster: Cluster) -> None:
    """The cluster enforces policies: what is not allowed does not connect."""
    [api, *_], [worker, *_] = release.pods("api"), release.pods("worker")
    stranger = unique("stranger")
    container = {"name": "main", "image": cluster.toolbox_image, "command": ["sleep", "3600"]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": stranger},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }
    cluster.run("apply", "-n", "default", "-f", "-", text=json.dumps(pod))
    try:
        cluster.run("wait", "--for=condition=Ready", f"pod/{stranger}", "-n", "default", "--timeout=50s")
        [dns] = cluster.get("pods", "-n", "kube-system", "-l", "k8s-app=kube-dns")["items"]

        def reaches(address: str) -> bool:
            fetch = ("fetch", "-timeout", "3s", f"tcp://{address}")
            return cluster.attempt("exec", stranger, "-n", "default", "--", *fetch).returncode == 0

        assert reaches(f"{dns['status']['podIP']}:53"), "this shows nothing of the others"
        for closed in (
            f"{api['status']['podIP']}:7400",
            f"{api['status']['podIP']}:9465",
            f"{worker['status']['podIP']}:9464",
        ):
            assert not reaches(closed), closed
        # And the other way: the worker reaches no pod that it has nothing to do with.
        connect = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"
        python = ("exec", worker["metadata"]["name"], "-n", NAMESPACE, "--", "python", "-c", connect)
        assert cluster.attempt(*python, dns["status"]["podIP"], "53").returncode == 0
        refused = cluster.attempt(*python, dns["status"]["podIP"], "9153")
        assert refused.returncode != 0, "the worker reaches the metrics of CoreDNS"
        # The peers that the values name come in.
        for address, path in (
            (f"{api['status']['podIP']}:9465", "metrics"),
            (f"{worker['status']['podIP']}:9464", "metrics"),
        ):
            assert httpx.get(f"http://{address}/{path}", trust_env=False).status_code == 200
    finally:
        cluster.run("delete", "pod", stranger, "-n", "default", "--wait=false")


async def test_an_environment_from_request_to_certificate(
    release: Release, systems: Outside, cluster: Cluster, stand_ins: Systems, tmp_path: Path
) -> None:
    """A developer's commands, against the API's Service: one vCluster at a port, one within the cluster."""
    names = {host: unique("chart") for host in (BY_PORT, WITHIN)}

    async def moorage(*arguments: str) -> Ended:
        environment = {name: text for name, text in os.environ.items() if not name.startswith("MOORAGE_")} | {
            "HOME": str(tmp_path),
            "MOORAGE_URL": release.url(f"{NAME}-api"),
            "MOORAGE_TOKEN": systems.stack.token,
        }
        ended = await asyncio.to_thread(
            run_module, "moorage", arguments, environment, cwd=tmp_path, timeout=LONGEST
        )
        assert ended.code == 0, f"{ended.err}\n{release.state()}"
        return ended

    await asyncio.gather(*(moorage("request", name, "small", "--host", host) for host, name in names.items()))
    files = {host: tmp_path / f"{host}.kubeconfig" for host in names}
    for host, name in names.items():
        await moorage("kubeconfig", name, "--embed", "--file", str(files[host]))
    await running_pod(cluster, files[BY_PORT])
    assert cluster.run("logs", "hello", kubeconfig=files[BY_PORT]) == "hello from inside\n"
    # Its name resolves in the cluster alone; its address is reached from this machine as well.
    namespace = f"mrg-{names[WITHIN]}"
    server = yaml.safe_load(files[WITHIN].read_text())["clusters"][0]["cluster"]["server"]
    assert server == f"https://{namespace}.{namespace}.svc"
    address = cluster.get("service", namespace, "-n", namespace)["spec"]["clusterIP"]
    there = ("--server", f"https://{address}", "--tls-server-name", server.removeprefix("https://"))
    await retried(cluster, *there, "get", "namespaces", kubeconfig=files[WITHIN])

    gone = await asyncio.gather(*(moorage("delete", name, "--yes") for name in names.values()))
    for name, ended in zip(names.values(), gone, strict=True):
        assert ended.out.count("nothing left") == 3, ended.out
        assert cluster.holds(f"mrg-{name}") == []
        assert stand_ins.holds(name) == {}


async def test_upgrade_and_rollback_in_the_middle_of_ten_lives(
    release: Release, systems: Outside, alice: Asking, cluster: Cluster, stand_ins: Systems, tmp_path: Path
) -> None:
    stay = [unique("stay") for _ in range(STAY)]
    leave = [unique("leave") for _ in range(DELETED + CANCELLED)]
    for name in leave:
        assert (await alice.request(name, template=WAITING)).status_code == 202
    for name in leave:
        await alice.until_step(name, "vcluster", "running")
    for name in stay:
        assert (await alice.request(name)).status_code == 202
    before = _uids(release)
    async with _asked_meanwhile(f"{release.url(f'{NAME}-api')}/readyz") as answers:
        upgrade = ("upgrade", NAME, str(CHART), "--values", str(release.values))
        await asyncio.to_thread(release.helm, *upgrade, "--set-string", "podAnnotations.rolled=once")
        await _ask_all(release, systems, leave[:DELETED], "delete")
        await asyncio.to_thread(release.settle)
        upgraded = _uids(release)
        assert not before & upgraded, "a pod was not replaced"
        await asyncio.to_thread(release.helm, "rollback", NAME)
        await _ask_all(release, systems, leave[DELETED:], "cancel")
        await asyncio.to_thread(release.settle)
        assert not upgraded & _uids(release), "a pod was not replaced"
    assert set(answers) == {"200"}, f"{len(answers)} questions, of which {answers}"
    for name in leave:
        ended = await alice.until_phase(name, "gone")
        assert ended["certificate"]["nothing_left"] is True
        assert (cluster.holds(f"mrg-{name}"), stand_ins.holds(name)) == ([], {})
    for name in stay:
        await alice.until_phase(name, "ready")
        file = await kubeconfig_of(alice, name, tmp_path)
        await retried(cluster, "get", "namespaces", kubeconfig=file)
    for name in stay:
        assert (await alice.delete(name)).status_code == 202
    for name in stay:
        await has_gone(alice, name, cluster, stand_ins)


def test_uninstall_leaves_what_it_says_and_a_second_install_takes_it_over(
    release: Release, cluster: Cluster
) -> None:
    release.helm("uninstall", NAME, "--wait")
    tenants = {"ends", "objects", "pods", "services"}
    kinds = ("validatingadmissionpolicy", "validatingadmissionpolicybinding")
    assert _left(cluster) == {
        f"{kind}.admissionregistration.k8s.io/moorage-tenant-{name}" for kind in kinds for name in tenants
    }
    release.install()
    release.helm("upgrade", NAME, str(CHART), "--reuse-values", "--set", "rbac.keepTenantPolicies=false")
    release.helm("uninstall", NAME, "--wait")
    assert _left(cluster) == set()


def _uids(release: Release) -> set[str]:
    """Return the identities of all pods of the parts."""
    return {pod["metadata"]["uid"] for component in COMPONENTS for pod in release.pods(component)}


async def _ask_all(release: Release, systems: Outside, names: list[str], what: str) -> None:
    """Ask for the end of several environments, each over a new connection, because pods come and go."""
    for name in names:
        async with Asking(systems.stack, url=release.url(f"{NAME}-api")) as alice:
            answer = await getattr(alice, what)(name)
            assert answer.status_code == 202, answer.text


@contextlib.asynccontextmanager
async def _asked_meanwhile(url: str) -> AsyncIterator[Counter[str]]:
    """Ask all the time, as new callers do, and count the answers."""
    answers: Counter[str] = Counter()

    async def ask() -> None:
        while True:
            try:
                async with httpx.AsyncClient(trust_env=False, verify=TLS) as http:
                    answers[str((await http.get(url)).status_code)] += 1
            except httpx.HTTPError as error:
                answers[repr(error)] += 1
            await asyncio.sleep(ASK_EVERY)

    asking = asyncio.create_task(ask())
    try:
        yield answers
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


def _left(cluster: Cluster) -> set[str]:
    """Return all that is left of the release in the cluster, of any kind."""
    kinds = cluster.run("api-resources", "--verbs=list", "-o", "name").split()
    return set(cluster.run("get", ",".join(kinds), "-A", "-l", PART_OF, "-o", "name").split())
