"""Ensures that an environment on a real cluster sleeps without a pod, is woken by kubectl, and is whole.

Prints the numbers: how long it takes to fall asleep and to wake, and how long its agent takes to be back.
"""

import asyncio
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from clients.rafay import Rafay
from embedded.stack.stack import Part, Stack
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import MAX_WAIT
from tests.e2e.environments import Environments
from tests.e2e.using import gone, kubeconfig_of, retried, running_pod
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking

#: The times that are measured, and the callers that wake it at once in each of them.
ROUNDS, CALLERS = 5, 50
BIN = Path(sys.executable).parent


async def test_it_sleeps_without_a_pod_and_kubectl_wakes_it(
    environments: Environments,
    real: Stack,
    alice: Asking,
    cluster: Cluster,
    tmp_path: Path,
) -> None:
    """Ensures that volumes, objects and its address stay, and that its CPU goes to others meanwhile."""
    name = await environments.ready("sleeping")
    namespace = f"mrg-{name}"
    config = await kubeconfig_of(alice, name, tmp_path)
    await running_pod(cluster, config)
    await retried(cluster, "create", "configmap", "mine", kubeconfig=config)
    image = ("--image", cluster.toolbox_image)
    command = (
        "create",
        "deployment",
        "web",
        *image,
        "--",
        "sh",
        "-c",
        "trap 'exit 0' TERM; sleep 9999 & wait",
    )
    await retried(cluster, *command, kubeconfig=config)
    available = ("wait", "--for=condition=Available", "deployment/web", "--timeout=120s")
    await asyncio.to_thread(cluster.attempt, *available, kubeconfig=config, seconds=130)
    plugin = _plugin_kubeconfig(real, name, tmp_path)
    before, reserved = _kept(cluster, namespace), await _reserved_cpu(alice, name)

    started = time.monotonic()
    await _change(alice, name, "sleep")
    await alice.until_phase(name, "asleep")
    print(f"asleep after {time.monotonic() - started:.1f} s")
    assert cluster.get("pods", "-n", namespace)["items"] == []
    [control] = cluster.get("statefulsets", "-n", namespace, "-l", "app=vcluster")["items"]
    assert control["spec"]["replicas"] == 0
    assert control["metadata"]["annotations"]["loft.sh/paused"] == "true"
    assert _kept(cluster, namespace) == before, "something is gone with the pods"
    assert await _reserved_cpu(alice, name) == 0

    # Its certificate is still good. Without its cache, the plugin asks for another one and has it woken.
    started = time.monotonic()
    variables = {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path / "another home"),
        "MOORAGE_TOKEN": real.token_of("alice@example.com"),
    }  # fmt: skip
    arguments = [cluster.kubectl, "--kubeconfig", str(plugin), "get", "configmaps", "-o", "name"]
    done = await asyncio.to_thread(
        subprocess.run, arguments, env=variables, capture_output=True, text=True, timeout=MAX_WAIT
    )
    assert done.returncode == 0, done.stderr
    assert f"waking {name} …" in done.stderr
    assert "configmap/mine" in done.stdout
    print(f"kubectl went on {time.monotonic() - started:.1f} s after it has asked")
    await alice.until_phase(name, "ready")
    assert await _reserved_cpu(alice, name) == reserved
    done = await asyncio.to_thread(cluster.attempt, *available, kubeconfig=config, seconds=130)
    assert done.returncode == 0, done.stderr
    [control] = cluster.get("statefulsets", "-n", namespace, "-l", "app=vcluster")["items"]
    assert "loft.sh/paused" not in (control["metadata"].get("annotations") or {})
    pods = cluster.run("get", "pods", "-o", "name", kubeconfig=config)
    assert "pod/web-" in pods
    assert "pod/hello" not in pods, "a pod without a controller was made again"


async def test_its_agent_is_back_after_it_was_woken(
    environments: Environments, real: Stack, alice: Asking
) -> None:
    """Ensures that the control plane shows one that sleeps as unhealthy, and as healthy once it is awake."""
    name = await environments.ready("sleeping")
    key = real.env["MOORAGE_CONTROL_PLANE__API_KEY"]
    rafay = Rafay(real.url(Part.CONTROL_PLANE), key, timeout=timedelta(seconds=10))
    try:
        await _until_healthy(rafay, name, healthy=True)
        await _change(alice, name, "sleep")
        await alice.until_phase(name, "asleep")
        await _until_healthy(rafay, name, healthy=False)
        await _change(alice, name, "wake")
        await alice.until_phase(name, "ready")
        started = time.monotonic()
        await _until_healthy(rafay, name, healthy=True)
        print(f"its agent was back {time.monotonic() - started:.1f} s after it was ready")
    finally:
        await rafay.close()


async def test_fifty_wake_it_at_once_and_none_is_lost(environments: Environments, alice: Asking) -> None:
    name = await environments.ready("sleeping")
    took = []
    for _ in range(ROUNDS):
        await _change(alice, name, "sleep")
        await alice.until_phase(name, "asleep")
        started = time.monotonic()
        calls = [alice.call("POST", f"/environments/{name}/wake") for _ in range(CALLERS)]
        answers = await asyncio.gather(*calls)
        assert [answer.status_code for answer in answers] == [202] * CALLERS, "a wake is lost"
        shown = await alice.until_phase(name, "ready")
        took.append(time.monotonic() - started)
    woken = [line for line in shown["audit_log"] if line["action"] == "woke it"]
    assert len(woken) >= ROUNDS
    p95 = sorted(took)[min(len(took) - 1, int(len(took) * 0.95))]
    print(f"awake after {', '.join(f'{each:.1f}' for each in took)} s; p95 {p95:.1f} s")


async def test_it_wakes_though_it_was_stopped_while_it_wrote_its_process_files(
    environments: Environments, alice: Asking, cluster: Cluster
) -> None:
    """Ensures that a vCluster whose files of process ids were cut off by its pause starts again."""
    name = await environments.ready("sleeping")
    pod = ("-n", f"mrg-{name}", f"mrg-{name}-0", "-c", "syncer")
    cut = "for file in /data/pids/*.pid; do : > $file; done; ls /data/pids"
    files = await asyncio.to_thread(cluster.run, "exec", *pod, "--", "sh", "-c", cut)
    assert "controller-manager.pid" in files
    await _change(alice, name, "sleep")
    await alice.until_phase(name, "asleep")
    await _change(alice, name, "wake")
    await alice.until_phase(name, "ready")


async def test_one_that_sleeps_is_deleted_without_a_trace(
    environments: Environments, alice: Asking, cluster: Cluster, stand_ins: Systems
) -> None:
    name = await environments.ready("sleeping")
    await _change(alice, name, "sleep")
    await alice.until_phase(name, "asleep")
    started = time.monotonic()
    await gone(alice, name, cluster, stand_ins)
    print(f"gone {time.monotonic() - started:.1f} s after its deletion while it slept")


async def _change(asking: Asking, name: str, what: str) -> None:
    answer = await asking.call("POST", f"/environments/{name}/{what}")
    assert answer.status_code == 202, answer.text


async def _reserved_cpu(alice: Asking, name: str) -> int:
    """The CPU that the environment holds on its host, in thousandths."""
    answer = await alice.call("GET", "/capacity", params={"holdings": True})
    assert answer.status_code == 200, answer.text
    [held] = [each for each in answer.json()["holdings"] if each["name"] == name]
    cpu: int = held["cpu"]
    return cpu


def _kept(cluster: Cluster, namespace: str) -> set[str]:
    """The claims, Services and the Secret with the kubeconfig."""
    found = cluster.run("get", "persistentvolumeclaims,services", "-n", namespace, "-o", "name").split()
    secret = cluster.run("get", "secret", f"vc-{namespace}", "-n", namespace, "-o", "name").strip()
    return {*found, secret}


def _plugin_kubeconfig(real: Stack, name: str, folder: Path) -> Path:
    path = folder / "plugin.kubeconfig"
    variables: dict[str, str] = {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder),
        "MOORAGE_URL": real.api_url, "MOORAGE_TOKEN": real.token_of("alice@example.com"),
    }  # fmt: skip
    command = [str(BIN / "moorage"), "kubeconfig", name, "--file", str(path)]
    written = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert written.returncode == 0, written.stderr
    return path


async def _until_healthy(rafay: Rafay, name: str, *, healthy: bool) -> None:
    ends = time.monotonic() + MAX_WAIT
    while True:
        project = await rafay.find_project(f"mrg-{name}")
        assert project
        cluster: Any = await rafay.find_cluster(project.id, f"mrg-{name}")
        assert cluster
        if cluster.healthy is healthy:
            return
        assert time.monotonic() < ends, f"the control plane does not show it as {healthy=}"
        await asyncio.sleep(0.5)
