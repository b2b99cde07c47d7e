"""The check of a whole host: version, permissions, nodes and storage class."""

import re
from collections.abc import Sequence

from clients.errors import Denied, MalformedAnswer, Rejected
from clients.host.models import NodeCapacity
from clients.kubernetes.api.client import KubernetesApi
from clients.kubernetes.auth.credentials import CredentialSource
from clients.kubernetes.cluster import nodes
from clients.kubernetes.cluster.account import Account
from clients.kubernetes.cluster.permissions import API_SERVER, CLUSTER_WIDE, DNS, missing_permissions
from clients.kubernetes.vcluster_options import HostOptions

#: The oldest supported minor version of Kubernetes 1: the first in which ValidatingAdmissionPolicy, which
#: restricts Moorage to its own objects, is stable.
OLDEST_MINOR = 30
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


class HostCheck:
    """Checks that environments can be created on a host."""

    def __init__(
        self, api: KubernetesApi, credentials: CredentialSource, account: Account, options: HostOptions
    ) -> None:
        self._api = api
        self._credentials = credentials
        self._account = account
        self._options = options

    async def check(self) -> str:
        """Return a summary of the host: Kubernetes version, nodes, storage class, and warnings.

        Raises:
            Denied: our account lacks cluster-wide permissions; the message names them.
            Rejected: the version is too old, no node is ready, or the storage class does not exist.
        """
        operation = "read version"
        # The version alone proves nothing, because it is public: account and permissions are not.
        account = await self._account.subject()
        answer = await self._api.call("GET", "/version", operation)
        version = answer.get("gitVersion")
        if not isinstance(version, str):
            raise MalformedAnswer(self._api.system, operation, "the answer holds no gitVersion")
        if problem := _version_problem(version):
            raise Rejected(self._api.system, operation, problem)
        if missing := await self.missing_permissions():
            detail = f"deploy/rbac.yaml is not applied for the account {account['name']}: it may not"
            raise Denied(self._api.system, "make environments", f"{detail} {', '.join(missing)}")
        ready, volumes = await self._ready_nodes(), await self._storage_class()
        exposure = (await self._credentials.load()).exposure()
        return f"Kubernetes {version}, {ready}, {volumes}{f'; warning: {exposure}' if exposure else ''}"

    async def missing_permissions(self) -> list[str]:
        """Return the permissions outside of environments' namespaces that our account lacks, in words."""
        for_networks = (*DNS, *(() if self._options.api_server else API_SERVER))
        return await missing_permissions(self._api, (*CLUSTER_WIDE, *for_networks))

    async def allocatable(self) -> Sequence[NodeCapacity]:
        """Return the allocatable resources of each schedulable node."""
        return nodes.schedulable_capacity(await self._api.list(nodes.PATH, nodes.LIST))

    async def _ready_nodes(self) -> str:
        found = await self._api.list(nodes.PATH, nodes.LIST)
        ready = [node for node in found if nodes.is_ready(node)]
        if not ready:
            raise Rejected(self._api.system, nodes.LIST, f"none of its {len(found)} nodes is ready")
        count = "1 node" if len(ready) == 1 else f"{len(ready)} nodes"
        return "; ".join([f"{count} ready", *nodes.node_problems(found)])

    async def _storage_class(self) -> str:
        """Describe the storage class of volumes; a missing class is only a remark.

        vClusters can run without volumes.
        """
        classes = await self._api.list("/apis/storage.k8s.io/v1/storageclasses", "list storage classes")
        names = {str(each["metadata"]["name"]): each["metadata"].get("annotations") or {} for each in classes}
        configured = self._options.storage_class
        if configured and configured not in names:
            known = ", ".join(sorted(names)) or "none"
            detail = f"there is no storage class {configured}; it has {known}"
            raise Rejected(self._api.system, "find the storage class of the settings", detail)
        default = next((name for name, marks in names.items() if marks.get(_DEFAULT_CLASS) == "true"), None)
        used = configured or default
        return f"volumes of class {used}" if used else "no default storage class"


def _version_problem(version: str) -> str:
    """Explain why a version is too old; "" if it is not, or if it cannot be parsed."""
    found = re.match(r"v1\.(\d+)", version)
    if found is None or int(found[1]) >= OLDEST_MINOR:
        return ""
    return f"it is Kubernetes {version}, and the oldest that can be a host is 1.{OLDEST_MINOR}"
