"""Deletion of everything in a namespace of ours, by force where necessary.

Tenants can let their pods request a day of grace period. The first deletion decides: kubelets stop a
container with its grace period, and ignore a shorter one that comes later
(https://github.com/kubernetes/kubernetes/issues/113606). So this module deletes pods before any other client
does, with half a minute. A pod that its tenant deleted earlier gets a minute. Then it is deleted with a
grace period of one second, and if its node does not end it even then, it is removed from the API server: it
may continue to run on the node for a while.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from clients.errors import Denied, NotFound, NotYet, Rejected
from clients.host.models import ForcedDeletion
from clients.kubernetes.api.client import MERGE, KubernetesApi
from clients.kubernetes.api.kinds import CLAIM, IN_A_NAMESPACE, POD, Kind
from clients.kubernetes.api.timestamps import parse_timestamp
from clients.kubernetes.namespace.inventory import SYNCED_BY, belongs_to_release

#: Time for a deleted object to end by itself: twice the grace period that Kubernetes gives a pod.
FORCE_AFTER = timedelta(seconds=60)
#: Grace period in seconds, Kubernetes' default, for every pod that requests a longer one.
POD_GRACE = 30
#: After this time we assume that the node does not end its pods any more.
NODE_LOST_AFTER = FORCE_AFTER + timedelta(seconds=45)
#: Concurrent calls: a tenant may have left hundreds of objects.
CONCURRENCY = 8
#: Finalizers in these domains belong to Kubernetes, its storage and its load balancers: they release
#: something outside of the cluster, which would be left over. The same applies to finalizers without a
#: domain.
_HOST_DOMAINS = (".kubernetes.io", ".k8s.io", ".k8s.aws", ".gke.io", ".azure.com", ".openstack.org")

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """The next call for one object, and the message about it; without a body there is no call."""

    kind: Kind
    name: str
    method: str = ""
    body: Object | None = None
    message: str = ""
    finalizers: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the object that is waited for, and the finalizers that block it."""
        finalizers = f" with finalizer {', '.join(self.finalizers)}" if self.finalizers else ""
        return f"{self.kind.name} {self.name}{finalizers}"


class ForcedDeleter:
    """Deletes the objects of a namespace, by force where necessary."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api

    async def force_delete(self, namespace: str, uninstalled: str = "") -> ForcedDeletion:
        """Take the next step for each object to delete; return what remains and what was forced."""
        operation = f"list what has to be deleted in namespace {namespace}"
        lists = await asyncio.gather(
            *(self._list_or_nothing(kind, namespace, operation) for kind in IN_A_NAMESPACE)
        )
        now = self._api.now()
        steps = [
            step
            for kind, found in zip(IN_A_NAMESPACE, lists, strict=True)
            for each in found
            if (step := next_step(kind, each["metadata"], now, _requested_grace(each), uninstalled))
            is not None
        ]
        forced: list[str] = []
        for start in range(0, len(steps), CONCURRENCY):
            batch = steps[start : start + CONCURRENCY]
            done = await asyncio.gather(*(self._run_step(step, namespace) for step in batch))
            forced += [
                step.message for step, was_done in zip(batch, done, strict=True) if was_done and step.message
            ]
        return ForcedDeletion(tuple(map(str, steps)), tuple(forced))

    async def _list_or_nothing(self, kind: Kind, namespace: str, operation: str) -> list[Object]:
        # Our rights in the namespace are deleted with it, and some hosts lack some kinds.
        with contextlib.suppress(Denied, NotFound, NotYet):
            # Read whole pods, because the grace period that they request is in their spec.
            return list(await self._api.list(kind.path(namespace), operation, metadata_only=kind is not POD))
        return []

    async def _run_step(self, step: Step, namespace: str) -> bool:
        """Make the call and return whether it succeeded.

        An object that has changed or is gone is checked again at the next call.
        """
        if step.body is None:
            return False
        operation = f"delete {step.kind.name} {step.name} in namespace {namespace}"
        path = step.kind.path(namespace, step.name)
        content = MERGE if step.method == "PATCH" else "application/json"
        try:
            await self._api.call(step.method, path, operation, body=step.body, content=content)
        except (NotFound, Rejected, Denied):
            return False
        return True


def next_step(
    kind: Kind, metadata: Object, now: datetime, requested: int = 0, uninstalled: str = ""
) -> Step | None:
    """Return the next step to delete an object; None if it does not block the deletion.

    `requested` is the grace period that a pod requests, in seconds. Objects of the release `uninstalled` are
    deleted too: one that a person created again has no owner, so the garbage collector leaves it.
    """
    name = str(metadata["name"])
    tenants = [each for each in metadata.get("finalizers") or [] if not is_host_finalizer(each)]
    is_synced = SYNCED_BY in (metadata.get("labels") or {})
    is_left = bool(uninstalled) and kind is not CLAIM and belongs_to_release(kind, metadata, uninstalled)
    if kind is not POD and not (tenants or is_synced or is_left):
        return None
    finalizers = tuple(metadata.get("finalizers") or ())
    deleted_at = parse_timestamp(metadata.get("deletionTimestamp"))
    if deleted_at is None and kind is POD:
        message = ""
        if requested > POD_GRACE:
            message = f"Pod {name} got {POD_GRACE} s to terminate: it requested {requested} s"
        # Never 0: that removes the object at once, and leaves the containers to the node.
        body = _delete(metadata, grace=max(1, min(requested, POD_GRACE)))
        return Step(kind, name, "DELETE", body, message, finalizers)
    if deleted_at is None:
        return Step(kind, name, "DELETE", _delete(metadata), finalizers=finalizers)
    grace = int(metadata.get("deletionGracePeriodSeconds") or 0)
    age = now - (deleted_at - timedelta(seconds=grace))
    if age < FORCE_AFTER:
        return Step(kind, name, finalizers=finalizers)
    if kind is POD and grace > 1:
        message = f"Pod {name} got 1 s to terminate instead of {grace} s"
        return Step(kind, name, "DELETE", _delete(metadata, grace=1), message, finalizers)
    if tenants:
        kept = [each for each in metadata["finalizers"] if each not in tenants]
        change = {key: metadata[key] for key in ("uid", "resourceVersion") if key in metadata}
        message = f"{kind.name} {name} lost its finalizers {', '.join(tenants)}"
        return Step(kind, name, "PATCH", {"metadata": {**change, "finalizers": kept}}, message, finalizers)
    if kind is POD and age >= NODE_LOST_AFTER:
        message = f"Pod {name} was deleted although its node had not terminated it: it may still run there"
        return Step(kind, name, "DELETE", _delete(metadata, grace=0), message, finalizers)
    return Step(kind, name, finalizers=finalizers)


def is_host_finalizer(finalizer: str) -> bool:
    """Return whether a controller of the host removes the finalizer after its cleanup."""
    domain, has_domain, _ = finalizer.partition("/")
    return not has_domain or f".{domain}".endswith(_HOST_DOMAINS)


def _requested_grace(pod: Object) -> int:
    """Return the grace period of a pod in seconds: its own, or Kubernetes' default."""
    requested = (pod.get("spec") or {}).get("terminationGracePeriodSeconds")
    return POD_GRACE if requested is None else int(requested)


def _delete(metadata: Object, *, grace: int | None = None) -> Object:
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if "uid" in metadata:
        body["preconditions"] = {"uid": metadata["uid"]}
    return body if grace is None else {**body, "gracePeriodSeconds": grace}
