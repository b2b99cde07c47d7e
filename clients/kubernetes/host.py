"""A real Kubernetes cluster as a host: namespaces and kubeconfigs.

Other modules hold the other parts of the client: `releases` the Helm releases, `apply` the objects in
namespaces, `persistent_volumes` PersistentVolumes, `networks` addresses, `dry_run` checks that create
nothing, `forced_deletion` what is deleted by force, and `health` the state of vClusters that were ready.
"""

import base64
import contextlib
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from clients.errors import Denied, MalformedAnswer, NotYet, Rejected
from clients.helm.client import Helm
from clients.host.kubeconfig import Kubeconfig
from clients.host.models import Manifest, Namespace, NodeCapacity
from clients.kubernetes.api.client import KubernetesApi
from clients.kubernetes.api.timestamps import parse_timestamp
from clients.kubernetes.auth.credentials import CredentialSource
from clients.kubernetes.cluster import nodes
from clients.kubernetes.cluster.dry_run import Rehearsing
from clients.kubernetes.cluster.networks import Networks
from clients.kubernetes.cluster.permissions import API_SERVER, CLUSTER_WIDE, DNS, missing_permissions
from clients.kubernetes.namespace import inventory
from clients.kubernetes.namespace.apply import Applying
from clients.kubernetes.namespace.forced_deletion import Forcing
from clients.kubernetes.namespace.inventory import SECRET, SERVICE
from clients.kubernetes.namespace.persistent_volumes import Volumes
from clients.kubernetes.release import exposure
from clients.kubernetes.release.exposure import ACCESS_SERVICE, Exposure, HostOptions
from clients.kubernetes.release.health import HealthOf
from clients.kubernetes.release.releases import Releases
from clients.virtual_cluster import VirtualClusterApi

#: The oldest supported minor version of Kubernetes 1: the first in which ValidatingAdmissionPolicy, which
#: restricts Moorage to its own objects, is stable.
OLDEST_MINOR = 30
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


class KubernetesHost(Releases, Applying, Volumes, Networks, Rehearsing, Forcing, HealthOf):
    """A `clients.host.protocol.Host` for a real Kubernetes cluster; it connects at the first call."""

    def __init__(
        self, name: str, access: CredentialSource, helm: Helm, options: HostOptions, *, timeout: timedelta
    ) -> None:
        self._name = name
        self._system = f"host cluster {name}"
        self._options = options
        self._timeout = timeout
        self._api = KubernetesApi(self._system, access, timeout=timeout)
        self._helm = helm
        self._needed: dict[str, tuple[str, ...]] = {}
        self._account: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """Return the name of the host in the settings."""
        return self._name

    async def close(self) -> None:
        """Close all connections; the host cannot be called afterwards."""
        await self._api.close()

    async def check(self) -> str:
        """Return the Kubernetes version, which proves that host and credentials work.

        Raises:
            Denied: our account lacks cluster-wide rights; the message names them.
        """
        operation = "read version"
        # The version alone proves nothing, because it is public: identity and rights are not.
        account = await self._who_am_i()
        answer = await self._api.call("GET", "/version", operation)
        version = answer.get("gitVersion")
        if not isinstance(version, str):
            raise MalformedAnswer(self._system, operation, "the answer holds no gitVersion")
        if too_old := _too_old(version):
            raise Rejected(self._system, operation, too_old)
        if lacking := await self.missing_permissions():
            detail = f"deploy/rbac.yaml is not applied for the account {account['name']}: it may not"
            raise Denied(self._system, "make environments", f"{detail} {', '.join(lacking)}")
        nodes, volumes = await self._ready_nodes(), await self._storage_class()
        return f"Kubernetes {version}, {nodes} ready, {volumes}"

    async def allocatable(self) -> Sequence[NodeCapacity]:
        """Return the allocatable resources of each schedulable node."""
        return nodes.schedulable_capacity(await self._api.list(nodes.PATH, nodes.LIST))

    async def _ready_nodes(self) -> str:
        operation = nodes.LIST
        found = await self._api.list(nodes.PATH, operation)
        ready = [node for node in found if nodes.is_ready(node)]
        if not ready:
            raise Rejected(self._system, operation, f"none of its {len(found)} nodes is ready")
        return "1 node" if len(ready) == 1 else f"{len(ready)} nodes"

    async def _storage_class(self) -> str:
        """Describe the storage class of volumes; a missing class is only a remark.

        vClusters can run without volumes.
        """
        classes = await self._api.list("/apis/storage.k8s.io/v1/storageclasses", "list storage classes")
        names = {str(each["metadata"]["name"]): each["metadata"].get("annotations") or {} for each in classes}
        wanted = self._options.storage_class
        if wanted and wanted not in names:
            known = ", ".join(sorted(names)) or "none"
            detail = f"there is no storage class {wanted}; it has {known}"
            raise Rejected(self._system, "find the storage class of the settings", detail)
        default = next((name for name, marks in names.items() if marks.get(_DEFAULT_CLASS) == "true"), None)
        found = wanted or default
        return f"volumes of class {found}" if found else "no default storage class"

    async def missing_permissions(self) -> list[str]:
        """Return the rights outside of environments' namespaces that our account lacks, in words."""
        of_networks = (*DNS, *(() if self._options.api_server else API_SERVER))
        return await missing_permissions(self._api, (*CLUSTER_WIDE, *of_networks))

    async def create_namespace(
        self, name: str, labels: Mapping[str, str], annotations: Mapping[str, str]
    ) -> Namespace:
        """Create the namespace; raise AlreadyExists if the name is in use."""
        metadata = {"name": name, "labels": dict(labels), "annotations": dict(annotations)}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        answer = await self._api.call("POST", "/api/v1/namespaces", f"create namespace {name}", body=body)
        return _namespace(answer)

    async def get_namespace(self, name: str) -> Namespace | None:
        """Return the namespace, or None if it does not exist."""
        found = await self._api.get(_namespace_path(name), f"read namespace {name}")
        return None if found is None else _namespace(found)

    async def delete_namespace(self, name: str, uid: str) -> None:
        """Request deletion of the namespace with exactly this UID; idempotent while it terminates.

        Raises:
            NotFound: there is no namespace with this name.
            Rejected: the namespace with this name has another UID.
        """
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        try:
            await self._api.call("DELETE", _namespace_path(name), f"delete namespace {name}", body=body)
        except Rejected:
            # Kubernetes answers with a conflict if the namespace is already terminating.
            found = await self.get_namespace(name)
            if found is None or found.uid != uid or not found.terminating:
                raise

    async def namespace_blockers(self, name: str) -> list[str]:
        """Return what blocks a terminating namespace, in words; empty if nothing does."""
        operation = f"read what holds namespace {name}"
        namespace = await self._api.get(_namespace_path(name), operation)
        if namespace is None:
            return []
        objects: list[str] = []
        # Our right to list is deleted with the namespace's own role bindings, unless our account has wider
        # rights.
        with contextlib.suppress(Denied):
            for kind in inventory.OF_A_RELEASE:
                for each in await self._list(kind, name, operation, metadata_only=True):
                    objects += [
                        f"{kind.name} {each['metadata']['name']} with finalizer {finalizer}"
                        for finalizer in each["metadata"].get("finalizers") or []
                    ]
        return inventory.describe_blockers(namespace, objects)

    async def host_manifests(self, namespace: str, release: str) -> Sequence[Manifest]:  # noqa: ARG002
        """Return the manifests that this host needs in the namespace, without labels."""
        return exposure.host_manifests(self._options, release, await self._who_am_i())

    def planned_overlay(self, namespace: str, release: str) -> Mapping[str, Any]:
        """Return the overlay with a placeholder for a port that is not assigned yet."""
        port = "<a port>" if self._options.exposure is Exposure.NODE_PORT else None
        return exposure.overlay(self._options, namespace, release, port)

    async def overlay(self, namespace: str, release: str) -> Mapping[str, Any]:
        """Return the chart values that this host overrides.

        Raises:
            NotYet: the access Service has no node port yet.
        """
        port = None
        if self._options.exposure is Exposure.NODE_PORT:
            operation = f"read the port of Service {ACCESS_SERVICE}"
            service = await self._api.get(SERVICE.path(namespace, ACCESS_SERVICE), operation)
            ports = ((service or {}).get("spec") or {}).get("ports") or [{}]
            port = ports[0].get("nodePort")
            if not isinstance(port, int):
                raise NotYet(self._system, operation, "it has not been given a port of the nodes")
        return exposure.overlay(self._options, namespace, release, port)

    async def kubeconfig(self, namespace: str, release: str) -> Kubeconfig | None:
        """Return the kubeconfig in the vCluster's Secret; None until the Secret exists.

        Raises:
            MalformedAnswer: the Secret does not hold a kubeconfig.
        """
        operation = f"read the kubeconfig of release {release}"
        # Read the Secret by its name, because the API may read no other Secret.
        secret = await self._api.get(SECRET.path(namespace, f"vc-{release}"), operation)
        if secret is None:
            return None
        text = None
        with contextlib.suppress(KeyError, TypeError, ValueError):
            text = base64.b64decode(secret["data"]["config"]).decode()
        with contextlib.suppress(ValueError):
            if text is not None:
                return Kubeconfig(text, secret_name=f"vc-{release}")
        raise MalformedAnswer(self._system, operation, "the Secret holds no kubeconfig")

    def virtual_cluster(self, kubeconfig: Kubeconfig) -> VirtualClusterApi:
        """Return a client for the API server of the kubeconfig; leaving the context closes it."""
        return VirtualClusterApi(kubeconfig, timeout=self._timeout)


def _too_old(version: str) -> str:
    """Explain why a version is too old; "" if it is not, or if it cannot be parsed."""
    found = re.match(r"v1\.(\d+)", version)
    if found is None or int(found[1]) >= OLDEST_MINOR:
        return ""
    return f"it is Kubernetes {version}, and the oldest that can be a host is 1.{OLDEST_MINOR}"


def _namespace(body: Mapping[str, Any]) -> Namespace:
    metadata = body["metadata"]
    return Namespace(
        name=metadata["name"],
        uid=metadata["uid"],
        made_at=parse_timestamp(metadata.get("creationTimestamp")),
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        terminating=bool(metadata.get("deletionTimestamp")),
    )


def _namespace_path(name: str) -> str:
    return f"/api/v1/namespaces/{quote(name, safe='')}"
