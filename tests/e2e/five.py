"""Five environments that are asked for at once and used by many tests: what they cost, they cost once."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator

from embedded.stack.stack import Stack
from tests.e2e.cluster import Cluster
from tests.e2e.harbour import RETAINING
from tests.e2e.using import gone
from tests.environment.asking import Asking
from tests.environment.systems import Systems
from tests.support.stack import unique

#: Which of them there are, and from which template.
TEMPLATES = {
    "first": "small",
    "other": "small",
    "closed": "closed",
    "kept": "volumes-kept",
    "deleted": "volumes-deleted",
}
HOSTS = ("local", "second")
_DEFAULT = "storageclass.kubernetes.io/is-default-class"
_BINDING = ("clusterrolebinding", "moorage-volumes")


@contextlib.asynccontextmanager
async def five_at_once(alice: Asking, real: Stack, cluster: Cluster) -> AsyncIterator[dict[str, str]]:
    """Their names, once all are ready, on two hosts in turn. Whatever no test has ended, goes in the end."""
    names = {which: unique(which) for which in TEMPLATES}
    with _volumes_may_be_retained(cluster):
        for number, (which, name) in enumerate(names.items()):
            host = HOSTS[number % len(HOSTS)]
            answer = await alice.request(name, template=TEMPLATES[which], host=host)
            assert answer.status_code == 202, answer.text
        await asyncio.gather(*(alice.until_phase(name, "ready") for name in names.values()))
        yield names
        shown = await asyncio.gather(*(alice.show(name) for name in names.values()))
        left = [each["name"] for each in shown if each["phase"] != "gone"]
        await asyncio.gather(*(gone(alice, name, cluster, Systems(real)) for name in left))


@contextlib.contextmanager
def _volumes_may_be_retained(cluster: Cluster) -> Iterator[None]:
    """A storage class as the default one, but that it retains; and Moorage may have such volumes deleted."""
    classes = cluster.get("storageclasses")["items"]
    default = next(each for each in classes if (each["metadata"].get("annotations") or {}).get(_DEFAULT))
    body = {**default, "metadata": {"name": RETAINING}, "reclaimPolicy": "Retain"}
    cluster.run("apply", "-f", "-", text=json.dumps(body))
    account = ("--clusterrole=moorage-volumes", "--serviceaccount=moorage:moorage-worker")
    cluster.run("delete", *_BINDING, "--ignore-not-found")
    cluster.run("create", *_BINDING, *account)
    try:
        yield
    finally:
        cluster.run("delete", "storageclass", RETAINING)
        cluster.run("delete", *_BINDING)
