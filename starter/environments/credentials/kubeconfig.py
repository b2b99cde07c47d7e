"""The kubeconfig of an environment: without any secret, or with a short-lived credential of the caller."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clients.safe_yaml import write_yaml
from contracts.environment.models import Environment
from contracts.templates.client_certificates import PLUGIN_VERSION
from starter.auth.policy import Principal, Verb
from starter.environments.access import EnvironmentAccess
from starter.environments.credentials.certificate_request import make_request
from starter.environments.credentials.issuer import CredentialIssuer
from starter.environments.credentials.virtual_clusters import VirtualClusters, usable_environment
from starter.shared_reads import CachedReads

#: Prefix of the names in the kubeconfig; a merge changes nothing else in a file.
NAME_PREFIX = "moorage-"
#: How long the address and authority of a vCluster are used again: to read them takes two calls to its host,
#: and they change only when the vCluster is moved.
KEPT_SECONDS = 10.0
#: Lives whose address and authority are kept: a kilobyte or two each.
MAX_KEPT = 500
INSTALL_HINT = "This cluster needs the command moorage: install Moorage, or add it to your PATH."


@dataclass(frozen=True)
class _Life:
    """A life by its id, and the environment with which its vCluster is found."""

    id: str
    environment: Environment = field(compare=False)


class KubeconfigReader:
    """Builds kubeconfigs for the people who may use an environment."""

    def __init__(
        self, access: EnvironmentAccess, clusters: VirtualClusters, credentials: CredentialIssuer
    ) -> None:
        self._access = access
        self._clusters = clusters
        self._credentials = credentials
        self._public_parts = CachedReads(self._read_public, fresh_seconds=KEPT_SECONDS, max_kept=MAX_KEPT)

    async def read(self, name: str, principal: Principal) -> str:
        """Return the kubeconfig (YAML), which names the principal and holds no credential.

        Raises:
            EnvironmentNotFound, NotAllowed: The principal may not have it.
            NotUsable: The environment is not usable yet, or not any more. One that sleeps has its kubeconfig.
        """
        # It has no secret, so a view of a moment ago is good enough.
        snapshot = await self._access.find(name, principal, Verb.KUBECONFIG, may_be_recent=True)
        environment = usable_environment(snapshot, may_sleep=True)
        cluster = await self._cluster_of(environment)
        return write_yaml(_document(environment, cluster, principal.email))

    async def read_embedded(self, name: str, principal: Principal, life: str | None) -> str:
        """Return a kubeconfig with a short-lived credential of the principal. Its key is kept nowhere.

        Raises:
            As `read`, and as `CredentialIssuer.issue`.
        """
        request, key = make_request(principal.email)
        credential = await self._credentials.issue(name, principal, request, life)
        snapshot = await self._access.find(name, principal, Verb.KUBECONFIG, credential.life)
        environment = usable_environment(snapshot)
        document = _document(environment, await self._cluster_of(environment), principal.email)
        user = {"client-certificate-data": credential.certificate, "client-key-data": key}
        document["users"][0]["user"] = {field: _base64(pem) for field, pem in user.items()}
        return write_yaml(document)

    async def _cluster_of(self, environment: Environment) -> Mapping[str, Any]:
        """Return the public part of the vCluster's kubeconfig: its address and authority."""
        return await self._public_parts.read(_Life(environment.mark.life, environment))

    async def _read_public(self, life: _Life) -> Mapping[str, Any]:
        return await self._clusters.address(life.environment)


def _base64(pem: str) -> str:
    return base64.b64encode(pem.encode()).decode()


def _document(environment: Environment, cluster: Mapping[str, Any], person: str) -> dict[str, Any]:
    own = f"{NAME_PREFIX}{environment.name}"
    arguments = ["credential", environment.name, "--life", environment.mark.life, "--person", person]
    plugin = {
        "apiVersion": PLUGIN_VERSION,
        "command": "moorage",
        "args": arguments,
        "installHint": INSTALL_HINT,
        "interactiveMode": "Never",
        # With it the plugin sees that the environment sleeps.
        "provideClusterInfo": True,
    }
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": own, "cluster": dict(cluster)}],
        "users": [{"name": own, "user": {"exec": plugin}}],
        "contexts": [{"name": own, "context": {"cluster": own, "user": own}}],
        "current-context": own,
    }
