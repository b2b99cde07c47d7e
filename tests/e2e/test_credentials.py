"""Ensures that a person is known by name inside an environment, and refused there soon after a removal."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from embedded.stack.stack import Stack
from tests.chaos.test_leavers import set_active, sweep
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import LOOK_EVERY, MAX_WAIT
from tests.e2e.harbour import AUDIT_POLICY
from tests.e2e.using import gone, kubeconfig_of, retried
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.support.credentials import request_of
from tests.support.stack import ALICE, BOB, unique

#: Within this time a person is refused everywhere after the removal.
REFUSED_SECONDS = 20.0
BIN = Path(sys.executable).parent
_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "rules": [{"level": "Metadata", "resources": [{"group": "", "resources": ["configmaps"]}]}],
}


@pytest.fixture
async def bob(real: Stack) -> AsyncIterator[Asking]:
    """A collaborator."""
    async with Asking(real, BOB, max_wait=MAX_WAIT, look_every=LOOK_EVERY) as asking:
        yield asking


def kubectl(cluster: Cluster, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A call of kubectl, which finds our command in its PATH."""
    environment = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **variables}
    return subprocess.run([cluster.kubectl, *arguments], env=environment, capture_output=True, text=True)


async def test_people_have_their_names_and_lose_access_at_once(
    real: Stack, cluster: Cluster, alice: Asking, bob: Asking, stand_ins: Systems, tmp_path: Path
) -> None:
    name = unique("people")
    asked = await alice.request(name, template="audited", collaborators=[BOB.email])
    assert asked.status_code == 202, asked.text
    await alice.until_step(name, "namespace", "done")
    # The API server needs it for its audit log, and its pod waits for it.
    policy = {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": AUDIT_POLICY},
        "data": {"policy.yaml": yaml.safe_dump(_POLICY)},
    }  # fmt: skip
    cluster.run("apply", "-n", f"mrg-{name}", "-f", "-", text=json.dumps(policy))
    await alice.until_phase(name, "ready")

    configs = {
        person.email: await kubeconfig_of(asking, name, _folder(tmp_path, person.email))
        for person, asking in ((ALICE, alice), (BOB, bob))
    }
    for email, config in configs.items():
        who = json.loads(cluster.run("auth", "whoami", "-o", "json", kubeconfig=config))
        assert who["status"]["userInfo"]["username"] == email
        assert who["status"]["userInfo"]["groups"] == ["system:authenticated"]
    await retried(cluster, "create", "configmap", "bobs", kubeconfig=configs[BOB.email])
    assert _auditor(cluster, name, "bobs") == BOB.email

    plugin = await _with_plugin(real, cluster, name, tmp_path)
    who = kubectl(cluster, "--kubeconfig", str(plugin), "auth", "whoami", "-o", "json", HOME=str(tmp_path))
    assert who.returncode == 0, who.stderr
    assert json.loads(who.stdout)["status"]["userInfo"]["username"] == BOB.email

    # Bob leaves himself another way in, which is to stay.
    own = ("create", "clusterrolebinding", "bobs", "--clusterrole=cluster-admin", f"--user={BOB.email}")
    cluster.run(*own, kubeconfig=configs[BOB.email])
    finalizer = '{"metadata": {"finalizers": ["example.com/never"]}}'
    cluster.run("patch", "clusterrolebinding", "bobs", "-p", finalizer, kubeconfig=configs[BOB.email])
    started = time.monotonic()
    removed = await alice.call("DELETE", f"/environments/{name}/collaborators/{BOB.email}")
    assert removed.status_code == 202, removed.text
    for config in (configs[BOB.email], plugin):
        await _until_refused(cluster, config, started + REFUSED_SECONDS, HOME=str(tmp_path))
    print(f"refused {time.monotonic() - started:.1f} s after the removal")
    body = {"request": request_of(BOB.email)}
    # He sees it as a team mate, and may not use it.
    assert (await bob.call("POST", f"/environments/{name}/credential", json=body)).status_code == 403
    assert cluster.run("get", "namespaces", "-o", "name", kubeconfig=configs[ALICE.email])

    started = time.monotonic()
    given = await alice.call("POST", f"/environments/{name}/transfer", json={"to": BOB.email})
    assert given.status_code == 202, given.text
    await _until_refused(cluster, configs[ALICE.email], started + REFUSED_SECONDS)
    print(f"refused {time.monotonic() - started:.1f} s after the transfer")
    own_config = await kubeconfig_of(bob, name, _folder(tmp_path, "owner"))
    assert cluster.run("get", "namespaces", "-o", "name", kubeconfig=own_config)

    # Of one person alone, it would be the directory that is doubted.
    added = await bob.call("PUT", f"/environments/{name}/collaborators/{ALICE.email}")
    assert added.status_code == 202, added.text
    await alice.until(name, lambda now: now["access"] is None, "Alice has access again")
    set_active(real, BOB.email, False)
    try:
        result = await sweep(alice)
        started = time.monotonic()
        assert (result["left"], result["brake"]) == ([BOB.email], "")
        await _until_refused(cluster, own_config, started + REFUSED_SECONDS)
        print(f"refused {time.monotonic() - started:.1f} s after the sweep that saw who has left")
    finally:
        set_active(real, BOB.email, True)
    await gone(alice, name, cluster, stand_ins)


def _folder(path: Path, name: str) -> Path:
    (path / name).mkdir()
    return path / name


async def _with_plugin(real: Stack, cluster: Cluster, name: str, folder: Path) -> Path:
    """Write Bob's kubeconfig with the plugin, and let it get a credential once."""
    path = folder / "plugin.kubeconfig"
    variables = {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder),
        "MOORAGE_URL": real.api_url, "MOORAGE_TOKEN": real.token_of(BOB.email),
    }  # fmt: skip
    command = [str(BIN / "moorage"), "kubeconfig", name, "--file", str(path)]
    written = await asyncio.to_thread(
        subprocess.run, command, env=variables, capture_output=True, text=True, check=False
    )
    assert written.returncode == 0, written.stderr
    assert "key-data" not in path.read_text()
    first = await asyncio.to_thread(
        kubectl, cluster, "--kubeconfig", str(path), "get", "namespaces", **variables
    )
    assert first.returncode == 0, first.stderr
    return path


async def _until_refused(cluster: Cluster, config: Path, ends: float, **variables: str) -> None:
    while True:
        done = await asyncio.to_thread(
            kubectl, cluster, "--kubeconfig", str(config), "get", "pods", **variables
        )
        if done.returncode != 0:
            assert "forbidden" in done.stderr.lower(), done.stderr
            return
        assert time.monotonic() < ends, "the person still has access"
        await asyncio.sleep(0.5)


def _auditor(cluster: Cluster, name: str, created: str) -> str:
    """Who created the ConfigMap, by the audit log of the virtual API server."""
    namespace = f"mrg-{name}"
    log = cluster.run("logs", "-n", namespace, f"{namespace}-0", "--all-containers", "--tail=-1")
    lines = log.splitlines()
    # As text: vCluster puts each line of the API server into a field of its log, with other quotes.
    # Its proxy knows the person by the certificate, and calls the API server in the person's name.
    user_of = r'"verb":"create",.*?"impersonatedUser":{"username":"([^"]+)"'
    pattern = user_of + rf'.*?"objectRef":{{[^}}]*"name":"{created}"'
    [user] = {found[1] for line in lines if (found := re.search(pattern, line))}
    return user
