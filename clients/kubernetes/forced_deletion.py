"""The end of all in a namespace of ours, by force of what does not end.

Tenants can have their pods ask for a day to end in. What counts is the first deletion: kubelets stop a
container with the time that it gave, and take no notice of a shorter one that comes later
(https://github.com/kubernetes/kubernetes/issues/113606). So pods are deleted here before anybody else does,
with half a minute. One that was deleted before by its tenant has a minute. Then it is told to end at once,
and if its node does not end it even then, it is deleted from the API server: it may run on for a while.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from clients.errors import Denied, NotFound, NotYet, Rejected
from clients.host import Ending
from clients.kubernetes.api import MERGE, Api
from clients.kubernetes.inventory import IN_A_NAMESPACE, POD, SYNCED_BY, Kind
from clients.kubernetes.timestamps import time_of

#: How long what was deleted may take to end by itself: twice the time that Kubernetes gives a pod.
FORCE_AFTER = timedelta(seconds=60)
#: What a pod is given to end in, as Kubernetes gives by itself, however much it asks for.
POD_GRACE = 30
#: After so long a node is taken for one that does not end its pods any more.
NODE_IS_GONE_AFTER = FORCE_AFTER + timedelta(seconds=45)
#: Calls at once: a tenant may have left hundreds of objects.
AT_ONCE = 8
#: Finalizers in these domains are of Kubernetes, its storage and its load balancers: they release something
#: outside, which would be left over. So are those without a domain.
_OF_THE_HOST = (".kubernetes.io", ".k8s.io", ".k8s.aws", ".gke.io", ".azure.com", ".openstack.org")

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """What is to be done with one object now, and in which words it is told; nothing without a body."""

    kind: Kind
    name: str
    method: str = ""
    body: Object | None = None
    words: str = ""
    finalizers: tuple[str, ...] = ()

    def __str__(self) -> str:
        """What is waited for, and what holds it."""
        held = f" with finalizer {', '.join(self.finalizers)}" if self.finalizers else ""
        return f"{self.kind.name} {self.name}{held}"


class Forcing:
    """The part of `clients.host.Host` that ends things by force."""

    _system: str
    _api: Api

    async def end_by_force(self, namespace: str) -> Ending:
        operation = f"list what has to end in namespace {namespace}"
        lists = await asyncio.gather(
            *(self._list_or_nothing(kind, namespace, operation) for kind in IN_A_NAMESPACE)
        )
        now = self._api.now()
        steps = [
            step
            for kind, found in zip(IN_A_NAMESPACE, lists, strict=True)
            for each in found
            if (step := next_step(kind, each["metadata"], now, _wanted(each))) is not None
        ]
        forced: list[str] = []
        for start in range(0, len(steps), AT_ONCE):
            batch = steps[start : start + AT_ONCE]
            done = await asyncio.gather(*(self._take(step, namespace) for step in batch))
            forced += [
                step.words for step, was_done in zip(batch, done, strict=True) if was_done and step.words
            ]
        return Ending(tuple(map(str, steps)), tuple(forced))

    async def _list_or_nothing(self, kind: Kind, namespace: str, operation: str) -> list[Object]:
        # Rights in the namespace go with it, and kinds are not there on every host.
        with contextlib.suppress(Denied, NotFound, NotYet):
            # Of pods all: what they ask for is in their spec.
            return list(await self._api.list(kind.path(namespace), operation, metadata_only=kind is not POD))
        return []

    async def _take(self, step: Step, namespace: str) -> bool:
        """Whether it was done. What has changed or gone meanwhile is looked at again the next time."""
        if step.body is None:
            return False
        operation = f"end {step.kind.name} {step.name} in namespace {namespace}"
        path = step.kind.path(namespace, step.name)
        content = MERGE if step.method == "PATCH" else "application/json"
        try:
            await self._api.call(step.method, path, operation, body=step.body, content=content)
        except (NotFound, Rejected, Denied):
            return False
        return True


def next_step(kind: Kind, metadata: Object, now: datetime, wanted: int = 0) -> Step | None:
    """What is to be done with an object so that it ends; None for one that holds nothing up.

    `wanted` is how many seconds a pod asks for.
    """
    name = str(metadata["name"])
    tenants = [each for each in metadata.get("finalizers") or [] if not is_of_the_host(each)]
    if kind is not POD and not tenants and SYNCED_BY not in (metadata.get("labels") or {}):
        return None
    held = tuple(metadata.get("finalizers") or ())
    deleted_at = time_of(metadata.get("deletionTimestamp"))
    if deleted_at is None and kind is POD:
        told = (
            f"Pod {name} was given {POD_GRACE} s to end: it wanted {wanted} s" if wanted > POD_GRACE else ""
        )
        return Step(kind, name, "DELETE", _delete(metadata, grace=min(wanted, POD_GRACE)), told, held)
    if deleted_at is None:
        return Step(kind, name, "DELETE", _delete(metadata), finalizers=held)
    grace = int(metadata.get("deletionGracePeriodSeconds") or 0)
    age = now - (deleted_at - timedelta(seconds=grace))
    if age < FORCE_AFTER:
        return Step(kind, name, finalizers=held)
    if kind is POD and grace > 1:
        words = f"Pod {name} was told to end at once: it had {grace} s"
        return Step(kind, name, "DELETE", _delete(metadata, grace=1), words, held)
    if tenants:
        kept = [each for each in metadata["finalizers"] if each not in tenants]
        change = {key: metadata[key] for key in ("uid", "resourceVersion") if key in metadata}
        words = f"{kind.name} {name} was released from {', '.join(tenants)}"
        return Step(kind, name, "PATCH", {"metadata": {**change, "finalizers": kept}}, words, held)
    if kind is POD and age >= NODE_IS_GONE_AFTER:
        words = f"Pod {name} was deleted though its node had not ended it: there it may run on for a while"
        return Step(kind, name, "DELETE", _delete(metadata, grace=0), words, held)
    return Step(kind, name, finalizers=held)


def is_of_the_host(finalizer: str) -> bool:
    """Whether a controller of the host removes it, once it has released what it stands for."""
    domain, has_domain, _ = finalizer.partition("/")
    return not has_domain or f".{domain}".endswith(_OF_THE_HOST)


def _wanted(thing: Object) -> int:
    """How many seconds a pod asks for, or Kubernetes gives it."""
    wanted = (thing.get("spec") or {}).get("terminationGracePeriodSeconds")
    return POD_GRACE if wanted is None else int(wanted)


def _delete(metadata: Object, *, grace: int | None = None) -> Object:
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if "uid" in metadata:
        body["preconditions"] = {"uid": metadata["uid"]}
    return body if grace is None else {**body, "gracePeriodSeconds": grace}
