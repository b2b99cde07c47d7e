"""Ensures that a host with its own worker is used and cleaned up by that worker alone.

The central worker and the API of this stack have no credential of the host "eu".
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedded.faults import CALLS_PATH
from embedded.stack.stack import Part, Stack
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.support.credentials import usable_kubeconfig
from tests.support.histories import everything_known
from tests.support.processes import run_module
from tests.support.stack import BOB, client_of, hurried, unique
from tests.support.stand_ins import control, running_stand_ins
from tests.support.worker_processes import WorkerProcess

pytestmark = pytest.mark.slow

HOST = "eu"
TOKEN = "token-of-the-host-eu"
_CENTRAL = {
    f"MOORAGE_HOSTS__{HOST.upper()}__KIND": "simulated",
    f"MOORAGE_HOSTS__{HOST.upper()}__OWN_WORKER": "true",
    # The central processes calculate with it: how late an answer of the host may come.
    f"MOORAGE_HOSTS__{HOST.upper()}__TIMEOUT": "3s",
    # A step waits for a worker that starts on a busy machine, and says so soon.
    "MOORAGE_TIMEOUTS__STEP_TIMEOUT": "10m",
    "MOORAGE_TIMEOUTS__QUEUE_TIMEOUT": "1s",
}


@dataclass
class TwoHosts:
    """A stack whose second host has its own worker."""

    stack: Stack
    url: str
    folder: Path
    worker: WorkerProcess

    def on_host(self, name: str) -> dict[str, int]:
        """How many namespaces and releases of the environment the second host has."""
        found = {}
        with closing(sqlite3.connect(f"file:{self.folder / 'host.sqlite'}?mode=ro", uri=True)) as database:
            for table in ("namespaces", "releases"):
                rows = database.execute(f"SELECT count(*) FROM {table} WHERE name = ?", (f"mrg-{name}",))
                found[table] = int(rows.fetchone()[0])
        return found

    def calls(self, operation: str) -> int:
        """How often the second host was called so."""
        return int(control(self.url, "GET", CALLS_PATH).get(operation, 0))


@pytest.fixture(scope="module")
async def two_hosts(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TwoHosts]:
    folder = tmp_path_factory.mktemp("host-eu")
    options = {"folder": folder, "token": TOKEN, "start_seconds": 0.3, "stop_seconds": 0.1}
    with running_stand_ins(host=options) as [url]:
        async with Stack(tmp_path_factory.mktemp("two-hosts"), hurried(environment=_CENTRAL)) as stack:
            beside = {
                f"MOORAGE_HOSTS__{HOST.upper()}__KIND": "simulated",
                f"MOORAGE_HOSTS__{HOST.upper()}__OWN_WORKER": "true",
                f"MOORAGE_HOSTS__{HOST.upper()}__URL": url,
                f"MOORAGE_HOSTS__{HOST.upper()}__TOKEN": TOKEN,
                f"MOORAGE_HOSTS__{HOST.upper()}__TIMEOUT": "3s",
            }
            worker = WorkerProcess(stack, "worker-eu", beside, host=HOST)
            await worker.start()
            try:
                yield TwoHosts(stack, url, folder, worker)
            finally:
                if worker.runs:
                    await worker.drain()


@pytest.fixture
async def asking(two_hosts: TwoHosts) -> AsyncIterator[Asking]:
    if not two_hosts.worker.runs:
        await two_hosts.worker.start()
    async with Asking(two_hosts.stack) as asking:
        yield asking


async def _request(asking: Asking, name: str, **body: Any) -> None:
    """Request it on the second host, as soon as it is known what that host has."""
    for _ in range(600):
        answer = await asking.request(name, host=HOST, **body)
        if answer.status_code != 503:
            break
    assert answer.status_code == 202, answer.text


def _says_no_worker(shown: dict[str, Any], step: str) -> bool:
    return any(
        row["step"] == step and "no worker has taken it up" in (row["note"] or "") for row in shown["steps"]
    )


async def test_a_whole_life_on_a_host_that_only_its_worker_reaches(
    two_hosts: TwoHosts, asking: Asking
) -> None:
    name, stack = unique("beside"), two_hosts.stack
    assert TOKEN not in "".join(stack.env.values()), "the central processes have a credential of the host"
    await _request(asking, name, collaborators=[BOB.email])
    shown = await asking.until_phase(name, "ready")
    assert shown["host"] == HOST
    assert two_hosts.on_host(name) == {"namespaces": 1, "releases": 1}
    assert "namespace" not in Systems(stack).holds(name), "it is on the other host as well"

    await asking.until(name, lambda now: now["unwell"] is None, "well, as the worker beside the host says")

    # The API has the vCluster issue a certificate, by the worker beside the host.
    kubeconfig = yaml.safe_load(await usable_kubeconfig(asking.call, name))
    assert set(kubeconfig["clusters"][0]["cluster"]) >= {"server", "certificate-authority-data"}
    before = two_hosts.calls("virtual.read")
    changed = await asking.call("DELETE", f"/environments/{name}/collaborators/{BOB.email}")
    assert changed.status_code == 202, changed.text
    await asking.until(name, lambda now: now["access"] is None, "without the collaborator")
    assert two_hosts.calls("virtual.read") > before, "the vCluster was not asked for the person's rights"

    await asking.delete(name)
    gone = await asking.until_phase(name, "gone")
    assert gone["outcome"] == "deleted"
    assert two_hosts.on_host(name) == {"namespaces": 0, "releases": 0}
    assert Systems(stack).holds(name) == {}


async def test_doctor_checks_the_host_from_beside_it_and_nothing_else(two_hosts: TwoHosts) -> None:
    arguments = ["doctor", "--host", HOST, "--output", "json"]
    ended = await asyncio.to_thread(run_module, "moorage", arguments, two_hosts.worker.environment)
    assert ended.code == 0, ended
    parts = {(one["area"], one["part"]): one["state"] for one in ended.json}
    assert set(parts.values()) == {"ok"}, parts
    assert {("hosts", "cluster"), ("hosts", "charts"), ("temporal", "workers")} <= set(parts)
    assert not [area for area, _ in parts if area in ("control-plane", "identity")]


async def test_an_environment_beside_its_worker_sleeps_and_wakes(two_hosts: TwoHosts, asking: Asking) -> None:
    name = unique("sleeper")
    await _request(asking, name)
    await asking.until_phase(name, "ready")
    assert (await asking.call("POST", f"/environments/{name}/sleep")).is_success
    await asking.until_phase(name, "asleep")
    assert (await asking.call("POST", f"/environments/{name}/wake")).is_success
    await asking.until_phase(name, "ready")
    await asking.delete(name)
    await asking.until_phase(name, "gone")


async def test_the_bootstrap_manifest_is_in_no_history(two_hosts: TwoHosts, asking: Asking) -> None:
    name = unique("sealed")
    await _request(asking, name)
    await asking.until_phase(name, "ready")
    text = await everything_known(await client_of(two_hosts.stack))
    assert "import.bootstrap" in text, "the manifest did not pass through Temporal at all"
    for word in ("kind: Secret", "stringData", "bootstrapToken"):
        assert word not in text, f"the manifest can be read in Temporal: {word}"
    await asking.delete(name)
    await asking.until_phase(name, "gone")


@pytest.mark.parametrize("step", ["namespace", "vcluster", "kubeconfig", "import"])
async def test_a_worker_killed_in_a_step_leaves_one_of_each(
    two_hosts: TwoHosts, asking: Asking, step: str
) -> None:
    name = unique("killed")
    await _request(asking, name)
    await asking.until(
        name,
        lambda now: any(row["step"] == step and row["state"] in ("running", "done") for row in now["steps"]),
        f"at step {step}",
    )
    await two_hosts.worker.kill()
    await two_hosts.worker.start()
    await asking.until_phase(name, "ready")
    assert two_hosts.on_host(name) == {"namespaces": 1, "releases": 1}

    await asking.delete(name)
    await asking.until(name, lambda now: now["phase"] in ("tearing_down", "gone"), "in its teardown")
    await two_hosts.worker.kill()
    await two_hosts.worker.start()
    await asking.until_phase(name, "gone")
    assert two_hosts.on_host(name) == {"namespaces": 0, "releases": 0}
    assert Systems(two_hosts.stack).holds(name) == {}


async def test_without_a_worker_beside_the_host_request_and_teardown_wait_and_say_so(
    two_hosts: TwoHosts, asking: Asking
) -> None:
    name = unique("alone")
    await two_hosts.worker.drain()
    await _request(asking, name)
    waiting = await asking.until(name, lambda now: _says_no_worker(now, "namespace"), "without a worker")
    assert waiting["phase"] == "provisioning"
    assert f"moorage-host-{HOST}" in str(waiting["steps"])
    # The other host is served meanwhile.
    other = unique("other")
    assert (await asking.request(other, host="local")).status_code == 202
    await asking.until_phase(other, "ready")
    await two_hosts.worker.start()
    await asking.until_phase(name, "ready")

    await two_hosts.worker.drain()
    await asking.delete(name)
    await asking.until(name, lambda now: _says_no_worker(now, "vcluster"), "without a worker")
    assert two_hosts.on_host(name) == {"namespaces": 1, "releases": 1}
    await two_hosts.worker.start()
    await asking.until_phase(name, "gone")
    assert two_hosts.on_host(name) == {"namespaces": 0, "releases": 0}
    await asking.delete(other)
    await asking.until_phase(other, "gone")


async def test_a_host_gets_its_own_worker_and_loses_it_while_environments_live(
    two_hosts: TwoHosts, asking: Asking
) -> None:
    """Ensures that environments of both kinds end, whatever the settings say meanwhile."""
    name, stack = unique("moved"), two_hosts.stack
    host = f"MOORAGE_HOSTS__{HOST.upper()}__"
    await _request(asking, name)
    await asking.until_phase(name, "ready")
    await two_hosts.worker.drain()
    # The central worker reaches the host itself from now on.
    await stack.kill(Part.WORKER)
    central = {f"{host}OWN_WORKER": "false", f"{host}URL": two_hosts.url, f"{host}TOKEN": TOKEN}
    replaced = WorkerProcess(stack, "central-with-the-host", central)
    await replaced.start()
    try:
        await asking.delete(name)
        await asking.until_phase(name, "gone")
        assert two_hosts.on_host(name) == {"namespaces": 0, "releases": 0}
    finally:
        await replaced.drain()
        await stack.start(Part.WORKER)
