"""Moorage on the real cluster: the embedded Temporal and stand-ins, and hosts that are the real thing."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from contracts.environment_workflow import LifecycleTimeouts
from embedded.stack.stack import Part, Stack
from tests.e2e.cluster import Cluster
from tests.support.stack import ALICE, BOB, hurried

#: Real vClusters take their time, and what is undone is looked for again well after the longest call.
TIMEOUTS = LifecycleTimeouts(
    late_response_window=timedelta(seconds=14),
    heartbeat_timeout=timedelta(seconds=10),
    first_retry=timedelta(milliseconds=200),
    longest_retry=timedelta(seconds=2),
    step_timeout=timedelta(minutes=12),
    undo_timeout=timedelta(minutes=2),
    first_pause=timedelta(seconds=1),
    longest_pause=timedelta(seconds=5),
    give_up_after=timedelta(minutes=15),
)
TIMEOUT = timedelta(seconds=10)
#: The names of the hosts in the settings: kubeconfigs of one cluster, used as if for several clusters.
#: The second one has its credentials from a plugin, as those of clouds.
#: The third one's vClusters are reached from within the cluster alone.
HOSTS = ("local", "second", "inside")
SIZE = {"cpu": "1", "memory": "1Gi", "storage": "2Gi", "pods": 10}
#: As in the templates that Moorage ships.
PROBES = {"startupProbe": {"periodSeconds": 1, "failureThreshold": 900}}
#: A storage class that the test of it makes.
RETAINING = "moorage-e2e-retaining"
#: A ConfigMap that the test of it makes, for an API server that writes an audit log.
AUDIT_POLICY = "moorage-e2e-audit"
CONTROL_PLANE = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "2", "memory": "1536Mi"}}


def write_template(
    folder: Path, cluster: Cluster, name: str, *, version: str = "", stateful: Any = None, **more: Any
) -> None:
    """A template of the suite: `stateful` is of its StatefulSet, `more` has fields, `sync` or `values`."""
    usual = {"resources": CONTROL_PLANE, "probes": PROBES}
    values = {"controlPlane": {"statefulSet": {**usual, **(stateful or {})}}}
    template: dict[str, Any] = {
        "version": 1,
        "description": "for the end-to-end suite",
        "chart": {"version": version or cluster.chart_version},
        "kubernetes": "v1.36.0",
        "size": SIZE,
        "ttl": {"default": "1h", "maximum": "2h"},
        "values": values,
    }
    for key, value in more.items():
        if key == "sync":
            template["values"]["sync"] = value
        elif key == "values":
            template["values"]["controlPlane"].update(value)
        else:
            template[key] = value
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(template))


def write_templates(folder: Path, cluster: Cluster) -> None:
    """The catalogue of the suite: a template that works, and one for each failure that one can cause."""
    write = partial(write_template, folder, cluster)
    write("small")
    store: dict[str, Any] = {"enabled": True}
    if cluster.etcd_image:
        repository, _, tag = cluster.etcd_image.partition("/")[2].rpartition(":")
        store["statefulSet"] = {"image": {"repository": repository, "tag": tag}}
    write("etcd", values={"backingStore": {"etcd": {"deploy": store}}})
    write("closed", network={"internet": False}, pod_security="restricted")
    write("no-image", stateful={"image": {"tag": "0.0.0-none"}})
    # More for the container that runs first than the quota holds for all.
    write("quota", values={"distro": {"k8s": {"resources": {"limits": {"cpu": "64"}}}}})
    write(
        "no-class", stateful={"persistence": {"volumeClaim": {"enabled": True, "storageClass": "none-such"}}}
    )
    for name, what in (("volumes-kept", "keep"), ("volumes-deleted", "delete")):
        claim = {"persistence": {"volumeClaim": {"enabled": True, "storageClass": RETAINING}}}
        write(name, stateful=claim, retained_volumes=what)
    write(
        "audited",
        values={
            "distro": {
                "k8s": {
                    "apiServer": {
                        "extraArgs": ["--audit-policy-file=/etc/audit/policy.yaml", "--audit-log-path=-"]
                    }
                }
            }
        },
        stateful={
            "persistence": {
                "addVolumes": [{"name": "audit", "configMap": {"name": AUDIT_POLICY}}],
                "addVolumeMounts": [{"name": "audit", "mountPath": "/etc/audit"}],
            }
        },
    )
    write("no-right", sync={"toHost": {"podDisruptionBudgets": {"enabled": True}}})
    write("no-class-of-its-own", sync={"toHost": {"priorityClasses": {"enabled": True}}})
    write("no-chart", version="9.9.9")
    write("no-version", kubernetes="v1.99.0")
    write("no-values", values={"distro": {"k8s": {"none-such": True}}})


@contextlib.asynccontextmanager
async def door_for_pods(address: str) -> AsyncIterator[tuple[int, dict[str, int]]]:
    """Where pods reach the stand-in, which listens on this machine alone: a port, and where to put its."""
    target: dict[str, int] = {}
    open_now: set[asyncio.Task[None]] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            open_now.add(task)
            task.add_done_callback(open_now.discard)
        with contextlib.suppress(OSError), contextlib.closing(writer):
            there, out = await asyncio.open_connection("127.0.0.1", target["port"])
            with contextlib.closing(out):
                await asyncio.gather(_copy(reader, out), _copy(there, writer))

    server = await asyncio.start_server(pass_on, address, 0)
    try:
        yield server.sockets[0].getsockname()[1], target
    finally:
        server.close()
        for task in open_now:
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.close()


def host_settings(cluster: Cluster, port: int) -> dict[str, str]:
    """The settings of the hosts, and of what the suite's cluster has other than usual ones.

    `port` is where pods reach the control plane on this machine.
    """
    values = {
        "KIND": "kubernetes",
        "TIMEOUT": f"{TIMEOUT.total_seconds():g}s",
        "EXPOSURE": "node-port",
        "ADDRESS": cluster.node_address,
        "IMAGE_REGISTRY": cluster.registry,
        "IMAGE_REPOSITORY": cluster.image_repository,
        "CHART_REPOSITORY": cluster.chart_repository,
        "API_ACCOUNT": "moorage/moorage-api",
        "REACHABLE": f"{cluster.host_address}/32:{port}",
        # Environments of the suite are far below what they may use: one small node holds several.
        "CAPACITY__CPU": "1000",
        "CAPACITY__MEMORY": "4Ti",
        # The simulated host's, which the stack sets for its own.
        "URL": "",
        "TOKEN": "",
    }
    settings = {
        f"MOORAGE_HOSTS__{host.upper()}__{key}": value for host in HOSTS for key, value in values.items()
    }
    return {**settings, "MOORAGE_HOSTS__INSIDE__EXPOSURE": "in-cluster", "MOORAGE_HOSTS__INSIDE__ADDRESS": ""}


def kubeconfigs(cluster: Cluster, account: str, folder: Path) -> dict[str, str]:
    """The settings that give an account its kubeconfigs: one with a token, one with a credential plugin."""
    files = {
        host: cluster.kubeconfig_of(account, folder, plugin=host == "second") for host in ("local", "second")
    }
    return {
        f"MOORAGE_HOSTS__{host.upper()}__KUBECONFIG": str(files.get(host, files["local"])) for host in HOSTS
    }


@contextlib.asynccontextmanager
async def harbour(cluster: Cluster, folder: Path) -> AsyncIterator[Stack]:
    """A stack whose hosts are the cluster, under the rights that Moorage ships."""
    # The accounts first, for their tokens; whose installation it is shows once the stack has made one up.
    cluster.grant("not-yet-known")
    templates = folder / "templates"
    templates.mkdir()
    write_templates(templates, cluster)
    async with door_for_pods(cluster.host_address) as (port, target):
        endpoint = f"http://{cluster.host_address}:{port}"
        options = hurried(
            people=(ALICE, BOB),
            parts=frozenset(Part) - {Part.HOST},
            timeouts=TIMEOUTS,
            timeout=TIMEOUT,
            environment={
                **host_settings(cluster, port),
                **kubeconfigs(cluster, "moorage-worker", folder),
                "MOORAGE_DEFAULT_HOST": HOSTS[0],
                # Only a test looks for people who have left.
                "MOORAGE_SWEEP__LEAVERS_INTERVAL": "30d",
                "MOORAGE_SWEEP__LEAVERS_SECOND_LOOK": "1s",
                "MOORAGE_TEMPLATES": str(templates),
            },
            environment_of={Part.API: kubeconfigs(cluster, "moorage-api", folder)},
            stand_ins={Part.CONTROL_PLANE: {"endpoint": endpoint, "agent_image": cluster.agent_image}},
        )
        async with Stack(folder / "stack", options) as stack:
            target["port"] = int(stack.url(Part.CONTROL_PLANE).rpartition(":")[2])
            cluster.grant(stack.installation)
            yield stack
    cluster.revoke()
