"""The environments that the tests share, requested together: the suite waits once for all of them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator

from embedded.stack.stack import Stack
from tests.e2e.cluster import Cluster
from tests.e2e.harbour import RETAINING
from tests.e2e.using import gone, has_gone, unclaimed_volume
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.support.stack import unique

#: The environments that are requested first, and their templates: five that start at once, on two hosts.
FIVE = {
    "first": "small",
    "other": "small",
    "closed": "closed",
    "kept": "volumes-kept",
    "deleted": "volumes-deleted",
}
HOSTS = ("local", "second")
#: The environments that are requested as soon as the five are ready. They start while tests use the five.
MORE = {"etcd": "etcd", "worst": "small", "disturbed": "small", "taken": "small", "sleeping": "small"}
_DEFAULT = "storageclass.kubernetes.io/is-default-class"
_BINDING = ("clusterrolebinding", "moorage-volumes")
_ACCOUNT = ("--clusterrole=moorage-volumes", "--serviceaccount=moorage:moorage-worker")


class Environments:
    """The shared environments by what they are for, such as "first"."""

    def __init__(self, alice: Asking, cluster: Cluster, stand_ins: Systems) -> None:
        self._alice, self._cluster, self._stand_ins = alice, cluster, stand_ins
        self._names: dict[str, str] = {}
        self._released: set[str] = set()
        #: An environment that a test requests late, because a volume of its name has to be old by then.
        self.stuck = unique("stuck")

    @property
    def five(self) -> list[str]:
        """The names of those that were requested first."""
        return [self._names[which] for which in FIVE]

    def __getitem__(self, which: str) -> str:
        return self._names[which]

    async def request(self, which: str, template: str, host: str = HOSTS[0]) -> str:
        """Request an environment, and return its name."""
        name = self._names[which] = unique(which)
        answer = await self._alice.request(name, template=template, host=host)
        assert answer.status_code == 202, answer.text
        return name

    async def ready(self, which: str) -> str:
        """Wait until the environment is ready, and return its name."""
        await self._alice.until_phase(self._names[which], "ready")
        return self._names[which]

    async def release(self, name: str) -> None:
        """Delete an environment that no test needs any more. The end of the suite checks that it is gone."""
        assert (await self._alice.delete(name)).status_code == 202
        self._released.add(name)

    async def end(self) -> None:
        """Delete the environments that are left, and check that nothing remains of any of them."""
        names = {*self._names.values(), *self._released}
        shown = await asyncio.gather(*map(self._alice.show, names))
        left = {each["name"] for each in shown if each["phase"] != "gone"}
        systems = (self._cluster, self._stand_ins)
        await asyncio.gather(
            *(has_gone(self._alice, name, *systems) for name in self._released),
            *(gone(self._alice, name, *systems) for name in left - self._released),
        )


@contextlib.asynccontextmanager
async def shared_environments(alice: Asking, real: Stack, cluster: Cluster) -> AsyncIterator[Environments]:
    """Provide the environments: the five are ready, the others are being made."""
    environments = Environments(alice, cluster, Systems(real))
    with _retained_volumes(cluster), _earlier_volume(cluster, environments.stuck):
        for number, (which, template) in enumerate(FIVE.items()):
            await environments.request(which, template, HOSTS[number % len(HOSTS)])
        await asyncio.gather(*map(environments.ready, FIVE))
        for which, template in MORE.items():
            await environments.request(which, template)
        yield environments
        await environments.end()


@contextlib.contextmanager
def _retained_volumes(cluster: Cluster) -> Iterator[None]:
    """Make a storage class that retains volumes; Moorage may have such volumes deleted."""
    classes = cluster.get("storageclasses")["items"]
    default = next(each for each in classes if (each["metadata"].get("annotations") or {}).get(_DEFAULT))
    body = {**default, "metadata": {"name": RETAINING}, "reclaimPolicy": "Retain"}
    cluster.run("apply", "-f", "-", text=json.dumps(body))
    allow_volumes(cluster)
    try:
        yield
    finally:
        cluster.run("delete", "storageclass", RETAINING)
        cluster.run("delete", *_BINDING, "--ignore-not-found")


def allow_volumes(cluster: Cluster) -> None:
    """Give the worker the optional right to have retained volumes deleted."""
    cluster.run("delete", *_BINDING, "--ignore-not-found")
    cluster.run("create", *_BINDING, *_ACCOUNT)


@contextlib.contextmanager
def without_volumes(cluster: Cluster) -> Iterator[None]:
    """Take that right away for a while. Environments that need it must neither start nor end meanwhile."""
    cluster.run("delete", *_BINDING)
    try:
        yield
    finally:
        allow_volumes(cluster)


@contextlib.contextmanager
def _earlier_volume(cluster: Cluster, name: str) -> Iterator[None]:
    """Make a volume of an earlier namespace of that name; Kubernetes cannot delete it."""
    volume = f"{name}-earlier"
    unclaimed_volume(cluster, volume, f"mrg-{name}", policy="Delete", until="Failed")
    try:
        yield
    finally:
        cluster.run("delete", "persistentvolume", volume)
