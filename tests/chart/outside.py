"""What the chart does not install: Temporal, the stand-ins and a chart repository, beside the cluster.

Pods reach them at names of the cluster, `systems.outside.svc`, because only those may be called without TLS.
"""

import asyncio
import contextlib
import functools
import http.server
import json
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from embedded.stack.stack import Part, Stack
from tests.e2e.cluster import Cluster
from tests.e2e.harbour import TIMEOUT, TIMEOUTS, door_for_pods
from tests.support.stack import ALICE, BOB, hurried

NAMESPACE, SERVICE = "outside", "systems"
HOST = f"{SERVICE}.{NAMESPACE}.svc"
_PARTS = frozenset({Part.TEMPORAL, Part.CONTROL_PLANE, Part.DIRECTORY})


@dataclass(frozen=True)
class Outside:
    """The systems, and the ports at which pods reach them."""

    stack: Stack
    temporal: int
    control_plane: int
    directory: int
    charts: int

    def url(self, port: int) -> str:
        """Return the address of one of them, as pods call it."""
        return f"http://{HOST}:{port}"


@contextlib.asynccontextmanager
async def outside(cluster: Cluster, folder: Path) -> AsyncIterator[Outside]:
    """Run the systems, with a name for them in the cluster."""
    address = cluster.host_address
    async with contextlib.AsyncExitStack() as doors:
        ports, targets = {}, {}
        loop = doors.enter_context(_loop())
        for part in _PARTS:
            ports[part], targets[part] = doors.enter_context(_door(loop, address))
        charts = doors.enter_context(_repository(cluster, folder / "charts"))
        doors.enter_context(_name(cluster))
        # An agent calls from its vCluster, which knows no names of the host.
        endpoint = f"http://{address}:{ports[Part.CONTROL_PLANE]}"
        options = hurried(
            people=(ALICE, BOB),
            parts=_PARTS,
            timeouts=TIMEOUTS,
            timeout=TIMEOUT,
            stand_ins={Part.CONTROL_PLANE: {"endpoint": endpoint, "agent_image": cluster.agent_image}},
        )
        async with Stack(folder / "stack", options) as stack:
            for part in _PARTS - {Part.TEMPORAL}:
                targets[part]["port"] = int(stack.url(part).rpartition(":")[2])
            targets[Part.TEMPORAL]["port"] = int(stack.temporal_address.rpartition(":")[2])
            yield Outside(
                stack, ports[Part.TEMPORAL], ports[Part.CONTROL_PLANE], ports[Part.DIRECTORY], charts
            )


@contextlib.contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop in a thread: that of the tests stands still in each test that is not async."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextlib.contextmanager
def _door(loop: asyncio.AbstractEventLoop, address: str) -> Iterator[tuple[int, dict[str, int]]]:
    """Open a door for pods in that loop."""
    door = door_for_pods(address)
    opened = asyncio.run_coroutine_threadsafe(door.__aenter__(), loop).result()
    try:
        yield opened
    finally:
        asyncio.run_coroutine_threadsafe(door.__aexit__(None, None, None), loop).result()


@contextlib.contextmanager
def _name(cluster: Cluster) -> Iterator[None]:
    """Give the machine a name in the cluster: a headless Service without pods."""
    labels = {"kubernetes.io/service-name": SERVICE}
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": SERVICE, "namespace": NAMESPACE},
            "spec": {"clusterIP": "None", "ports": [{"port": 1}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": SERVICE, "namespace": NAMESPACE, "labels": labels},
            "addressType": "IPv4",
            "ports": [{"port": 1}],
            "endpoints": [{"addresses": [cluster.host_address], "conditions": {"ready": True}}],
        },
    ]
    for each in objects:
        cluster.run("apply", "-f", "-", text=json.dumps(each))
    try:
        yield
    finally:
        cluster.run("delete", "namespace", NAMESPACE, "--timeout=50s")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing: what was fetched is no part of a test's output."""


@contextlib.contextmanager
def _repository(cluster: Cluster, folder: Path) -> Iterator[int]:
    """Serve vCluster's chart as a repository does, to pods."""
    folder.mkdir()
    name = f"vcluster-{cluster.chart_version}.tgz"
    (folder / name).symlink_to(Path(cluster.chart_repository) / name)
    entry = {"apiVersion": "v2", "name": "vcluster", "version": cluster.chart_version, "urls": [name]}
    (folder / "index.yaml").write_text(json.dumps({"apiVersion": "v1", "entries": {"vcluster": [entry]}}))
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer((cluster.host_address, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
