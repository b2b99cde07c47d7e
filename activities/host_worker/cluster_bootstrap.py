"""The import of a vCluster, as far as a worker beside its host does it: with a sealed bootstrap manifest."""

from temporalio import activity

from activities.errors import NotAccepted
from activities.parts.cluster_bootstrap import apply_bootstrap
from activities.parts.host_lookup import Hosts, at_host, own_kubeconfig
from activities.parts.sealed_bootstrap import NotForThisCluster, public_key, unseal
from contracts.activities.cluster_import import (
    IMPORT_BOOTSTRAP,
    IMPORT_KEY,
    BootstrapActivities,
    BootstrapInput,
    BootstrapKey,
)
from contracts.activities.steps import EnsureInput
from contracts.environment.models import System


class BootstrapOnHost(BootstrapActivities):
    """Applies sealed bootstrap manifests. It needs no credential of the control plane."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts

    @activity.defn(name=IMPORT_KEY)
    async def key(self, input: EnsureInput) -> BootstrapKey:
        """Return the public key of the vCluster."""
        host, environment = await at_host(self._hosts, input.environment)
        kubeconfig = await own_kubeconfig(host, environment)
        return BootstrapKey(public_key=public_key(kubeconfig, environment.mark.life))

    @activity.defn(name=IMPORT_BOOTSTRAP)
    async def bootstrap(self, input: BootstrapInput) -> None:
        """Apply the bootstrap manifest in the vCluster."""
        host, environment = await at_host(self._hosts, input.environment)
        kubeconfig = await own_kubeconfig(host, environment)
        try:
            text = unseal(input.sealed, kubeconfig, environment.mark.life)
        except NotForThisCluster:
            raise NotAccepted(
                System.HOST_CLUSTER,
                f"The bootstrap manifest cannot be opened: the kubeconfig on host {host.name} has changed "
                "since it was sealed",
                "Ask again; if it happens again, see who changes the vCluster's Secret",
            ) from None
        await apply_bootstrap(host, environment, kubeconfig, text)
