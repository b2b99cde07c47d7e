"""The kubeconfig of an environment, without any secret: `kubectl` runs `moorage credential` for one."""

from typing import Any

import yaml

from clients.host.kubeconfig import Kubeconfig
from contracts.credentials import CLUSTER_FIELDS, PLUGIN_VERSION
from contracts.environment import Environment
from starter.auth.policy import Principal, Verb
from starter.environments.access import EnvironmentAccess
from starter.environments.virtual_clusters import VirtualClusters, usable_environment

#: Prefix of the names in the kubeconfig; a merge changes nothing else in a file.
NAME_PREFIX = "moorage-"
INSTALL_HINT = "This cluster needs the command moorage: install Moorage, or add it to your PATH."


class _Quoted(str):
    """A text that is quoted in YAML: readers disagree whether a life such as 12e34 is a number."""


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(
    _Quoted,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'),
)


class KubeconfigReader:
    """Builds kubeconfigs for the people who may use an environment."""

    def __init__(self, access: EnvironmentAccess, clusters: VirtualClusters) -> None:
        self._access = access
        self._clusters = clusters

    async def read(self, name: str, principal: Principal) -> str:
        """Return the kubeconfig (YAML), which names the principal and holds no credential.

        Raises:
            EnvironmentNotFound, NotAllowed: The principal may not have it.
            NotUsable: The environment is not usable yet, or not any more.
        """
        snapshot = await self._access.find(name, principal, Verb.KUBECONFIG)
        environment = usable_environment(snapshot)
        kubeconfig = await self._clusters.kubeconfig(environment)
        return yaml.dump(_document(environment, kubeconfig, principal.email), Dumper=_Dumper, sort_keys=False)


def _document(environment: Environment, kubeconfig: Kubeconfig, person: str) -> dict[str, Any]:
    own, (cluster, _) = f"{NAME_PREFIX}{environment.name}", kubeconfig.current()
    arguments = ["credential", environment.name, "--life", environment.mark.life, "--person", person]
    plugin = {
        "apiVersion": PLUGIN_VERSION,
        "command": "moorage",
        "args": [_Quoted(argument) for argument in arguments],
        "installHint": INSTALL_HINT,
        "interactiveMode": "Never",
        "provideClusterInfo": False,
    }
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": own, "cluster": {key: cluster[key] for key in CLUSTER_FIELDS if cluster.get(key)}}
        ],
        "users": [{"name": own, "user": {"exec": plugin}}],
        "contexts": [{"name": own, "context": {"cluster": own, "user": own}}],
        "current-context": own,
    }
