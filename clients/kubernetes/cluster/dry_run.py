"""Checks of what a host would accept, with dry runs: nothing is ever created."""

import contextlib
from collections.abc import Mapping
from typing import Any

from clients.errors import AlreadyExists, Denied, NotFound, Rejected
from clients.kubernetes.api.client import KubernetesApi

#: The namespace of deploy/rbac.yaml in which nothing ever runs; its annotation gives one address of the
#: host.
DRY_RUN_NAMESPACE = "moorage-dry-run"
_HOST_ADDRESS = "192.0.2.1"
_DRY = {"dryRun": "All"}
_NAME = {"name": "dry-run"}
_CONTAINER = {"name": "a", "image": "dry-run.invalid/a"}

Object = dict[str, Any]


def _service(**spec: Any) -> Object:
    spec = {"ports": [{"port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": _NAME, "spec": spec}


def _pod(**spec: Any) -> Object:
    containers = [{**_CONTAINER, **spec.pop("container", {})}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": _NAME, "spec": {"containers": containers, **spec}}


def _claim() -> Object:
    resources = {"requests": {"storage": "1Mi"}}
    spec = {"accessModes": ["ReadWriteOnce"], "resources": resources, "volumeName": "of-others"}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": _NAME, "spec": spec}


def _token() -> Object:
    kind = "kubernetes.io/service-account-token"
    metadata = {**_NAME, "annotations": {"kubernetes.io/service-account.name": "default"}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind}


def _slice() -> Object:
    endpoints = [{"addresses": [_HOST_ADDRESS]}]
    ports = [{"name": "a", "port": 443, "protocol": "TCP"}]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": _NAME,
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": ports,
    }


def _policy(kind: str, spec: Object) -> Object:
    return {"apiVersion": "v1", "kind": kind, "metadata": _NAME, "spec": spec}


#: What a tenant must not do, in words, and an object that does it. There is one for each rule of each
#: policy that does not exempt the worker's account.
FORBIDDEN: Mapping[str, tuple[str, Object]] = {
    "Services with externalIPs": ("services", _service(externalIPs=["192.0.2.7"])),
    "Services that are names within the host": (
        "services",
        _service(type="ExternalName", externalName="kubernetes.default.svc"),
    ),
    "pods with volumes that the node mounts from the network": (
        "pods",
        _pod(volumes=[{"name": "a", "nfs": {"server": "192.0.2.7", "path": "/"}}]),
    ),
    "pods whose probes name a host": (
        "pods",
        _pod(container={"livenessProbe": {"httpGet": {"host": "192.0.2.7", "port": 80}}}),
    ),
    "pods that have a day to end": ("pods", _pod(terminationGracePeriodSeconds=86400)),
    "pods that are critical to the host": ("pods", _pod(priorityClassName="system-node-critical")),
    "endpoints at addresses of nodes": ("endpointslices", _slice()),
    "claims that name a volume": ("persistentvolumeclaims", _claim()),
    "tokens of accounts of the host": ("secrets", _token()),
}
#: What the quota and the limit range of an environment contain, as `activities.parts.namespace_quotas`
#: writes them; a test keeps both the same. The numbers do not matter here.
_QUOTA = {
    **dict.fromkeys(("requests.cpu", "limits.cpu"), "1"),
    **dict.fromkeys(("requests.memory", "limits.memory", "requests.storage"), "1Gi"),
    **dict.fromkeys(("requests.ephemeral-storage", "limits.ephemeral-storage"), "1Gi"),
    **dict.fromkeys(("pods", "services", "secrets", "configmaps", "persistentvolumeclaims"), "9"),
    **dict.fromkeys(("services.loadbalancers", "services.nodeports", "replicationcontrollers"), "0"),
    "count/serviceaccounts": "9",
    "count/endpoints": "9",
    "count/endpointslices.discovery.k8s.io": "9",
    "count/poddisruptionbudgets.policy": "9",
    "count/ingresses.networking.k8s.io": "5",
    "count/networkpolicies.networking.k8s.io": "20",
    "count/leases.coordination.k8s.io": "20",
}
_LIMITS = [
    {
        "type": "Container",
        "default": {"cpu": "500m", "memory": "512Mi", "ephemeral-storage": "1Gi"},
        "defaultRequest": {"cpu": "50m", "memory": "64Mi", "ephemeral-storage": "16Mi"},
    },
    {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}},
]
#: The quota and the limit range without which no environment is made, by their names in messages.
REQUIRED: Mapping[str, tuple[str, Object]] = {
    "quota": ("resourcequotas", _policy("ResourceQuota", {"hard": _QUOTA})),
    "limit range": ("limitranges", _policy("LimitRange", {"limits": _LIMITS})),
}
#: An object that has to be accepted, because otherwise the refusals would prove nothing.
_ALLOWED = ("services", _service())


class DryRuns:
    """Checks what a host accepts, without creating anything."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api

    async def create_namespace(self, name: str, labels: Mapping[str, str]) -> None:
        """Check that a namespace with these labels could be created; raise Denied if not.

        Permissions and admission are checked as for a real namespace; an existing namespace of this name
        does not matter.
        """
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels)}}
        operation = f"create namespace {name} (dry run)"
        with contextlib.suppress(AlreadyExists):
            await self._api.call("POST", "/api/v1/namespaces", operation, query=_DRY, body=body)

    async def find_policy_gaps(self) -> list[str]:
        """Return what the host's policies wrongly allow tenants, in words.

        Raises:
            Denied: the dry run is not allowed.
        """
        try:
            await self._try(*_ALLOWED)
        except (NotFound, Rejected) as error:
            raise Denied(self._api.system, error.operation, error.detail) from None
        gaps = []
        for description, (plural, body) in FORBIDDEN.items():
            try:
                await self._try(plural, body)
            except (Denied, Rejected) as error:
                if "ValidatingAdmissionPolicy" not in error.detail:
                    # Another check refused the object before the policy, so the policy may not exist.
                    gaps.append(f"{description} ({error.detail})")
            else:
                gaps.append(description)
        return gaps

    async def find_refused_policies(self) -> list[str]:
        """Return which policies of an environment the host refuses, and why, in words."""
        refused = []
        for name, (plural, body) in REQUIRED.items():
            try:
                await self._try(plural, body)
            except (Denied, NotFound, Rejected) as error:
                refused.append(f"{name} ({error.detail})")
        return refused

    async def _try(self, plural: str, body: Object) -> None:
        version = body["apiVersion"]
        api = f"/apis/{version}" if "/" in version else f"/api/{version}"
        path = f"{api}/namespaces/{DRY_RUN_NAMESPACE}/{plural}"
        operation = f"create {plural} in {DRY_RUN_NAMESPACE} (dry run)"
        await self._api.call("POST", path, operation, query=_DRY, body=body)
