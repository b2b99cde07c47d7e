"""Step 7: the vCluster's kubeconfig exists and works. From here the environment is usable.

The vCluster exports it into a Secret on the host, and it stays there; the receipt holds only the Secret's
name, the server address and a fingerprint. The step creates nothing, so there is nothing to undo: the Secret
is deleted with the vCluster.
"""

from activities import activity_context
from activities.errors import NotYet
from activities.parts.host_lookup import Hosts, at_host, own_kubeconfig
from clients.host.kubeconfig import Kubeconfig
from clients.host.protocol import Host
from contracts.activities.steps import (
    EnsureInput,
    InspectInput,
    InspectResult,
    RemoveInput,
    RemoveResult,
    StepActivities,
)
from contracts.environment.models import Receipt, System


class KubeconfigStep(StepActivities):
    """Waits for the kubeconfig, and tests it."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts

    async def ensure(self, input: EnsureInput) -> Receipt:
        """Wait for the Secret, and until the virtual API server reports ready with its kubeconfig."""
        host, environment = await at_host(self._hosts, input.environment)
        kubeconfig = await own_kubeconfig(host, environment)
        await require_answer(host, kubeconfig)
        return Receipt(
            name=kubeconfig.secret_name, reference=kubeconfig.server, fingerprint=kubeconfig.fingerprint
        )

    async def remove(self, input: RemoveInput) -> RemoveResult:  # noqa: ARG002
        """Do nothing: the Secret is deleted with the vCluster. The workflow does not call this."""
        return RemoveResult()

    async def inspect(self, input: InspectInput) -> InspectResult:  # noqa: ARG002
        """Return nothing; see `remove`."""
        return InspectResult()


async def require_answer(host: Host, kubeconfig: Kubeconfig) -> None:
    """Wait until the virtual API server reports ready with its kubeconfig."""
    async with host.virtual_cluster(kubeconfig) as virtual:

        async def answer() -> str:
            is_ready = await virtual.ready()
            return "" if is_ready else f"the virtual API server at {kubeconfig.server} to answer"

        if waiting_for := await activity_context.wait_until(answer):
            raise NotYet(
                System.HOST_CLUSTER,
                f"The vCluster on host {host.name} is not usable in its time: waiting for {waiting_for}",
                "See that the worker can reach that address, and that the vCluster's pod is well",
            )
