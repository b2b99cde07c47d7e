"""The access to a vCluster: what its host needs in the namespace, chart values, and the kubeconfig."""

import base64
import contextlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from clients.errors import MalformedAnswer, NotYet
from clients.host.kubeconfig import Kubeconfig
from clients.host.models import Manifest
from clients.kubernetes.api.client import KubernetesApi
from clients.kubernetes.api.kinds import SECRET, SERVICE
from clients.kubernetes.cluster.account import Account
from clients.kubernetes.release import exposure
from clients.kubernetes.vcluster_options import Exposure, HostOptions
from clients.virtual_cluster import VirtualClusterApi


class VirtualClusterAccess:
    """How the vClusters of a host are reached, and with which credentials."""

    def __init__(
        self, api: KubernetesApi, account: Account, options: HostOptions, *, timeout: timedelta
    ) -> None:
        self._api = api
        self._account = account
        self._options = options
        self._timeout = timeout

    async def manifests(self, release: str) -> Sequence[Manifest]:
        """Return the manifests that this host needs in the namespace, without labels."""
        return exposure.host_manifests(self._options, release, await self._account.subject())

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
            operation = f"read the port of Service {exposure.ACCESS_SERVICE}"
            service = await self._api.get(SERVICE.path(namespace, exposure.ACCESS_SERVICE), operation)
            ports = ((service or {}).get("spec") or {}).get("ports") or [{}]
            port = ports[0].get("nodePort")
            if not isinstance(port, int):
                raise NotYet(self._api.system, operation, "it has no node port yet")
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
        raise MalformedAnswer(self._api.system, operation, "the Secret holds no kubeconfig")

    def connect(self, kubeconfig: Kubeconfig) -> VirtualClusterApi:
        """Return a client for the API server of the kubeconfig; leaving the context closes it."""
        return VirtualClusterApi(kubeconfig, timeout=self._timeout)
