"""The simulated host cluster of the embedded stack, over its own small HTTP API.

Its virtual API servers implement the Kubernetes API, so the client of real ones calls them too.
"""

import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from clients.errors import AlreadyExists, Denied, MalformedAnswer, NotFound, Rejected
from clients.host.kubeconfig import Kubeconfig
from clients.host.models import (
    LABEL_POD_SECURITY,
    Chart,
    ForcedDeletion,
    Health,
    HostNetworks,
    Manifest,
    Namespace,
    NodeCapacity,
    Peer,
    PeerPods,
    PersistentVolume,
    Release,
    Startup,
)
from clients.host.pause import is_paused, pause_patch, resume_patch
from clients.host.restore import APP, read_restore, restore_pod
from clients.host.snapshots import (
    SnapshotProgress,
    SnapshotRequest,
    is_request,
    options_secret,
    read_progress,
    release_patch,
    request_map,
)
from clients.transport.http import Answer, HttpSystem, bearer_headers
from clients.virtual_cluster import VirtualClusterApi

_T = TypeVar("_T")

#: Values of pod security that the policy of real hosts accepts.
_POD_SECURITY = frozenset({"baseline", "restricted"})

#: Nothing enforces policies here, but they are generated from these networks as on any host.
SIMULATED_NETWORKS = HostNetworks(
    dns=(Peer("192.0.2.10/32", (53,)),),
    dns_pods=(PeerPods("kube-system", {"k8s-app": "kube-dns"}, (53,)),),
    api_server=(Peer("192.0.2.1/32", (443,)), Peer("192.0.2.2/32", (6443,))),
    nodes=("192.0.2.2/32",),
)

#: Label of the pods that a vCluster has made on its host.
_SYNCED_BY = "vcluster.loft.sh/managed-by"

_NAMESPACE = TypeAdapter(Namespace)
_NAMESPACES = TypeAdapter(list[Namespace])
_ENDING = TypeAdapter(ForcedDeletion)
_NODES = TypeAdapter(list[NodeCapacity])
_RELEASE = TypeAdapter(Release)
_STARTUP = TypeAdapter(Startup)
_OBJECT: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])
_OBJECTS = TypeAdapter(list[dict[str, Any]])
_TEXT = TypeAdapter(str)
_TEXTS = TypeAdapter(list[str])


class SimulatedHost:
    """A simulated `clients.host.protocol.Host`: it stores objects, takes some time, and runs nothing."""

    def __init__(
        self,
        name: str,
        base_url: str,
        token: str,
        *,
        timeout: timedelta,
        verify: ssl.SSLContext | bool = True,
        reread: Callable[[], str] | None = None,
    ) -> None:
        self._name = name
        self._system = f"simulated host {name}"
        self._timeout = timeout
        self._http = HttpSystem(
            self._system,
            base_url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout,
            explain=_explain,
            verify=verify,
            renewed=(lambda: bearer_headers(reread())) if reread else None,
        )

    @property
    def name(self) -> str:
        """Return the name of the host in the settings."""
        return self._name

    async def close(self) -> None:
        """Close all connections; the host cannot be called afterwards."""
        await self._http.close()

    async def check(self) -> str:
        """Return the Kubernetes version, which proves that host and token work."""
        return await self._ask(_TEXT, "GET", "/version", "read version")

    async def missing_permissions(self) -> list[str]:
        """Return an empty list: the simulation has no rights."""
        return []

    async def dry_run_namespace(self, name: str, labels: Mapping[str, str]) -> None:
        """Check for an owner mark and pod security, which a policy requires on real hosts."""
        operation = f"create namespace {name} (dry run)"
        if not labels.keys() - {LABEL_POD_SECURITY}:
            raise Denied(self._system, operation, "it has no owner label")
        if labels.get(LABEL_POD_SECURITY) not in _POD_SECURITY:
            raise Denied(self._system, operation, "it has no pod security")

    async def find_policy_gaps(self) -> list[str]:
        """Return an empty list: nothing runs here."""
        return []

    async def find_refused_policies(self) -> list[str]:
        """Return an empty list: every object is accepted here."""
        return []

    async def networks(self) -> HostNetworks:
        """Return networks as of a small real host, with addresses reserved for documentation."""
        return SIMULATED_NETWORKS

    async def allocatable(self) -> Sequence[NodeCapacity]:
        """Return the configured capacity."""
        return await self._ask(_NODES, "GET", "/nodes", "list nodes")

    async def create_namespace(
        self, name: str, labels: Mapping[str, str], annotations: Mapping[str, str]
    ) -> Namespace:
        """Create the namespace; raise AlreadyExists if the name is in use."""
        body = {"name": name, "labels": dict(labels), "annotations": dict(annotations)}
        return await self._ask(_NAMESPACE, "POST", "/namespaces", f"create namespace {name}", body=body)

    async def get_namespace(self, name: str) -> Namespace | None:
        """Return the namespace, or None if it does not exist."""
        try:
            return await self._ask(_NAMESPACE, "GET", _path(name), f"read namespace {name}")
        except NotFound:
            return None

    async def list_namespaces(self, label: str, value: str) -> Sequence[Namespace]:
        """Return all namespaces whose label has this value."""
        operation = f"list namespaces with {label}={value}"
        query = {"label": label, "value": value}
        return await self._ask(_NAMESPACES, "GET", "/namespaces", operation, query=query)

    async def swap_namespace(
        self, seen: Namespace, labels: Mapping[str, str], annotations: Mapping[str, str | None]
    ) -> bool:
        """Set labels and annotations of the namespace; return False if it has changed since it was seen."""
        metadata = {
            "uid": seen.uid,
            "resourceVersion": seen.version,
            "labels": dict(labels),
            "annotations": dict(annotations),
        }
        operation = f"take over namespace {seen.name}"
        try:
            await self._http.call("PATCH", _path(seen.name), operation, body={"metadata": metadata})
        except (AlreadyExists, NotFound):  # how a conflict is read here
            return False
        return True

    async def require_swap_permission(self, namespace: str) -> None:
        """Do nothing: the simulation has no rights."""

    async def list_guards(self, namespace: str) -> Sequence[Manifest]:
        """Return all quotas, limit ranges and network policies in the namespace, also those of others."""
        path, operation = _path(namespace, "objects"), f"list the guards in namespace {namespace}"
        return await self._ask(_OBJECTS, "GET", path, operation)

    async def delete_namespace(self, name: str, uid: str) -> None:
        """Request deletion of the namespace with exactly this UID."""
        await self._http.call("DELETE", _path(name), f"delete namespace {name}", query={"uid": uid})

    async def namespace_blockers(self, name: str) -> list[str]:
        """Return what blocks a terminating namespace, in words."""
        operation = f"read what holds namespace {name}"
        try:
            return await self._ask(_TEXTS, "GET", _path(name, "blockers"), operation)
        except NotFound:
            return []

    async def host_manifests(self, namespace: str, release: str) -> Sequence[Manifest]:  # noqa: ARG002
        """Return an empty list: the simulation has no rights, and gives access to vClusters itself."""
        return ()

    def planned_overlay(self, namespace: str, release: str) -> Mapping[str, Any]:  # noqa: ARG002
        """Return no values: none makes a difference here."""
        return {}

    async def overlay(self, namespace: str, release: str) -> Mapping[str, Any]:  # noqa: ARG002
        """Return no values: none makes a difference here."""
        return {}

    async def apply(self, namespace: str, objects: Sequence[Manifest]) -> None:
        """Apply the objects in the namespace."""
        operation = f"apply {len(objects)} objects in namespace {namespace}"
        await self._http.call(
            "POST", _path(namespace, "objects"), operation, body=[dict(each) for each in objects]
        )

    async def quota_usage(self, namespace: str) -> Mapping[str, tuple[str, str]]:  # noqa: ARG002
        """Return nothing: nothing runs here."""
        return {}

    async def get_release(self, namespace: str, name: str) -> Release | None:
        """Return the release, or None if it does not exist."""
        try:
            return await self._ask(
                _RELEASE, "GET", _path(namespace, "releases", name), f"read release {name}"
            )
        except NotFound:
            return None

    async def check_release(self, chart: Chart, values: Mapping[str, Any]) -> None:
        """Accept every chart and values: no chart here could reject them."""

    async def install_release(
        self, namespace: str, name: str, chart: Chart, values: Mapping[str, Any], labels: Mapping[str, str]
    ) -> None:
        """Install the release without waiting for its start."""
        body = {
            "chart": {"repository": chart.repository, "name": chart.name, "version": chart.version},
            "values": dict(values),
            "labels": dict(labels),
        }
        await self._http.call(
            "POST", _path(namespace, "releases", name), f"install release {name}", body=body
        )

    async def upgrade_release(
        self, namespace: str, name: str, chart: Chart, values: Mapping[str, Any], labels: Mapping[str, str]
    ) -> None:
        """Upgrade the release without waiting for its pods."""
        body = {
            "chart": {"repository": chart.repository, "name": chart.name, "version": chart.version},
            "values": dict(values),
            "labels": dict(labels),
        }
        await self._http.call("PUT", _path(namespace, "releases", name), f"upgrade release {name}", body=body)

    async def rollout(self, namespace: str, release: str) -> Startup:
        """Return the progress of the start: a pod here is always of the newest revision."""
        return await self.startup(namespace, release)

    async def stop_release(self, namespace: str, name: str) -> str:  # noqa: ARG002
        """Return "": nothing runs here that could create objects."""
        return ""

    async def pause_release(self, namespace: str, name: str) -> str:
        """Scale the StatefulSet to zero and delete the tenant's pods; return which pods still run."""
        operation = f"pause release {name}"
        now = datetime.now(UTC)
        if not await self._scale(namespace, name, operation, lambda each: pause_patch(each, now)):
            return f"StatefulSet {name} to settle"
        found = await self._ask(_OBJECTS, "GET", _path(namespace, "pods"), operation)
        pods = [pod for pod in found if pod["metadata"]["labels"].get("app") != APP]
        synced = [pod for pod in pods if pod["metadata"]["labels"].get(_SYNCED_BY) == name]
        if len(synced) == len(pods):
            # Not before: the vCluster would create them again.
            for pod in synced:
                with suppress(NotFound):
                    path = _path(namespace, "pods", pod["metadata"]["name"])
                    await self._http.call("DELETE", path, operation)
        names = sorted(pod["metadata"]["name"] for pod in pods)
        return f"Pod {', '.join(names)} to end" if names else ""

    async def resume_release(self, namespace: str, name: str) -> str:
        """Scale the StatefulSet to the size before the pause."""
        done = await self._scale(namespace, name, f"resume release {name}", resume_patch)
        return "" if done else f"StatefulSet {name} to settle"

    async def is_paused(self, namespace: str, name: str) -> bool:
        """Return whether the StatefulSet is paused."""
        path = _path(namespace, "statefulsets", name)
        operation = f"read whether release {name} is paused"
        controller: dict[str, Any] = await self._ask(_OBJECT, "GET", path, operation)
        return is_paused(controller)

    async def _scale(
        self,
        namespace: str,
        name: str,
        operation: str,
        patch_of: Callable[[dict[str, Any]], dict[str, Any] | None],
    ) -> bool:
        """Patch the StatefulSet if needed; return False if it has changed since it was read."""
        path = _path(namespace, "statefulsets", name)
        if patch := patch_of(await self._ask(_OBJECT, "GET", path, operation)):
            try:
                await self._http.call("PATCH", path, operation, body=patch)
            except AlreadyExists:  # how a conflict is read here
                return False
        return True

    async def request_snapshot(
        self, namespace: str, release: str, request: SnapshotRequest
    ) -> SnapshotProgress:
        """Create Secret and ConfigMap of the request unless they exist; return how far it is."""
        operation, path = f"request {request.name}", _path(namespace, "configmaps", request.name)
        found: dict[str, Any]
        with suppress(NotFound):
            found = await self._ask(_OBJECT, "GET", path, operation)
            return read_progress(found)
        for plural, body in (
            ("secrets", options_secret(namespace, release, request)),
            ("configmaps", request_map(namespace, release, request, datetime.now(UTC))),
        ):
            with suppress(AlreadyExists):
                await self._http.call("POST", _path(namespace, plural), operation, body=body)
        found = await self._ask(_OBJECT, "GET", path, operation)
        return read_progress(found)

    async def restore_snapshot(
        self, namespace: str, release: str, request: SnapshotRequest
    ) -> SnapshotProgress:
        """Create the pod that restores the snapshot, unless there is one of that name."""
        operation = f"run {request.name}"
        path = _path(namespace, "statefulsets", release)
        for pod in await self._ask(_OBJECTS, "GET", _path(namespace, "pods"), operation):
            if pod["metadata"]["name"] == request.name:
                return read_restore(pod)
        controller = await self._ask(_OBJECT, "GET", path, operation)
        if not is_paused(controller):
            return SnapshotProgress(failed="the vCluster is not paused")
        with suppress(AlreadyExists):
            pod = restore_pod(controller, namespace, release, request)
            await self._http.call("POST", _path(namespace, "pods"), operation, body=pod)
        return SnapshotProgress(waiting_for="the pod that restores it")

    async def remove_restore_pods(self, namespace: str, release: str, keep: str) -> list[str]:
        """Delete all pods that restore snapshots, except `keep`; return which ones still exist."""
        operation, left = f"remove the pods that restore snapshots of {release}", []
        for pod in await self._ask(_OBJECTS, "GET", _path(namespace, "pods"), operation):
            name, labels = pod["metadata"]["name"], pod["metadata"]["labels"]
            if (labels.get("app"), labels.get("release")) == (APP, release) and name != keep:
                left.append(f"Pod {name}")
                query = {"uid": pod["metadata"]["uid"]}
                with suppress(NotFound, Rejected):
                    await self._http.call("DELETE", _path(namespace, "pods", name), operation, query=query)
        return left

    async def remove_snapshot_requests(self, namespace: str, release: str) -> list[str]:
        """Delete all requests of the release, and take the finalizer of the vCluster away."""
        operation, left = f"remove the requests for snapshots of {release}", []
        for kind, plural in (("ConfigMap", "configmaps"), ("Secret", "secrets")):
            for each in await self._ask(_OBJECTS, "GET", _path(namespace, plural), operation):
                metadata = each["metadata"]
                if not is_request(metadata, release):
                    continue
                left.append(f"{kind} {metadata['name']}")
                path = _path(namespace, plural, metadata["name"])
                with suppress(NotFound, AlreadyExists):  # the latter is how a conflict is read here
                    if not metadata.get("deletionTimestamp"):
                        await self._http.call("DELETE", path, operation)
                    elif patch := release_patch(metadata):
                        await self._http.call("PATCH", path, operation, body=patch)
        return left

    async def uninstall_release(self, namespace: str, name: str) -> None:
        """Uninstall the release, in any status."""
        await self._http.call("DELETE", _path(namespace, "releases", name), f"uninstall release {name}")

    async def startup(self, namespace: str, release: str) -> Startup:
        """Return the progress of the start; raise NotFound if there is no such release."""
        path = _path(namespace, "releases", release, "startup")
        return await self._ask(_STARTUP, "GET", path, f"read the start of release {release}")

    async def health(self, namespace: str, release: str) -> Health:
        """Return the state of the start, and whether the Secret exists."""
        if await self.get_namespace(namespace) is None:
            return Health("its namespace is gone")
        try:
            startup = await self.startup(namespace, release)
        except NotFound:
            return Health("its Helm release is gone")
        if not startup.ready:
            return Health(f"its vCluster does not run: waiting for {startup.waiting_for}")
        if await self.kubeconfig(namespace, release) is None:
            return Health(f"the Secret vc-{release} with its kubeconfig is gone")
        return Health()

    async def volumes(self, namespace: str, release: str, *, every_claim: bool = False) -> list[str]:  # noqa: ARG002
        """Return all volume claims: a namespace here has no others."""
        path = _path(namespace, "releases", release, "volumes")
        return await self._ask(_TEXTS, "GET", path, f"list volumes of release {release}")

    async def delete_volume(self, namespace: str, name: str) -> None:
        """Delete the volume claim; raise NotFound if it does not exist."""
        await self._http.call("DELETE", _path(namespace, "volumes", name), f"delete volume {name}")

    async def persistent_volumes(self, namespace: str) -> list[PersistentVolume]:  # noqa: ARG002
        """Return an empty list: data here is deleted with its claim."""
        return []

    async def delete_retained_volume(self, volume: PersistentVolume) -> None:
        """Do nothing: there are no PersistentVolumes."""
        raise NotFound(self._system, f"give up volume {volume.name}", "there are none")

    async def require_volume_permission(self) -> None:
        """Do nothing: there are no PersistentVolumes."""

    async def ensure_role_binding(self, namespace: str, labels: Mapping[str, str]) -> None:
        """Do nothing: the simulation has no rights."""

    async def force_delete(self, namespace: str, uninstalled: str = "") -> ForcedDeletion:  # noqa: ARG002
        """Force objects that were requested to end in an earlier call: no minutes pass here."""
        path = _path(namespace, "ends")
        try:
            return await self._ask(_ENDING, "POST", path, f"end by force in namespace {namespace}")
        except NotFound:
            return ForcedDeletion()

    async def leftovers(self, namespace: str, release: str, *, every_claim: bool = False) -> list[str]:  # noqa: ARG002
        """Return all that exists: a namespace here has no claims of others."""
        path = _path(namespace, "releases", release, "leftovers")
        return await self._ask(_TEXTS, "GET", path, f"list what is left of release {release}")

    async def kubeconfig(self, namespace: str, release: str) -> Kubeconfig | None:
        """Return the kubeconfig of the vCluster; None until its Secret exists."""
        operation = f"read the kubeconfig of release {release}"
        try:
            secret = await self._http.call_json(
                "GET", _path(namespace, "releases", release, "kubeconfig"), operation
            )
        except NotFound:
            return None
        try:
            return Kubeconfig(secret["config"], secret_name=secret["name"])
        except (KeyError, TypeError, ValueError):
            raise MalformedAnswer(self._system, operation, "the answer holds no kubeconfig") from None

    def virtual_cluster(self, kubeconfig: Kubeconfig) -> VirtualClusterApi:
        """Return a client for the API server of the kubeconfig; leaving the context closes it."""
        return VirtualClusterApi(kubeconfig, timeout=self._timeout)

    async def _ask(
        self,
        shape: TypeAdapter[_T],
        method: str,
        path: str,
        operation: str,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
    ) -> _T:
        answer = await self._http.call_json(method, path, operation, body=body, query=query)
        try:
            return shape.validate_python(answer)
        except ValidationError:
            detail = "the answer is not of the agreed form"
            raise MalformedAnswer(self._system, operation, detail, ambiguous=method != "GET") from None


def _path(namespace: str, *more: str) -> str:
    return "/".join(["/namespaces", *(quote(part, safe="") for part in (namespace, *more))])


def _explain(answer: Answer) -> str:
    return str(answer.fields.get("message", ""))
