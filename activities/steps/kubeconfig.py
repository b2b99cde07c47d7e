"""Step 7: the kubeconfig that the vCluster exports is there and works. From here the environment is usable.

It stays in its Secret on the host; what travels is where that is, where it leads, and its fingerprint.
Nothing is made here, so nothing is undone: the Secret goes with the vCluster.
"""

from temporalio import activity

from activities import activity_context
from activities.errors import NotYet
from activities.parts.host_lookup import Hosts, host_of, require_own_namespace, require_own_release
from clients.host import Host, Kubeconfig
from contracts.activities import EnsureInput, KubeconfigStep
from contracts.environment import Environment, Receipt, System


class KubeconfigOf(KubeconfigStep):
    """Waits for the kubeconfig, and tries it."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts

    @activity.defn(name="kubeconfig.ensure")
    async def ensure(self, input: EnsureInput) -> Receipt:
        """The Secret is there, and the virtual API server says with its kubeconfig that it is ready."""
        environment = input.environment
        host = host_of(self._hosts, environment)
        kubeconfig = await own_kubeconfig(host, environment)
        async with host.virtual_cluster(kubeconfig) as virtual:

            async def answer() -> str:
                return (
                    ""
                    if await virtual.ready()
                    else f"the virtual API server at {kubeconfig.server} to answer"
                )

            if waiting_for := await activity_context.until(answer):
                raise NotYet(
                    System.HOST_CLUSTER,
                    f"The vCluster on host {host.name} is not usable in its time: waiting for {waiting_for}",
                    "See that the worker can reach that address, and that the vCluster's pod is well",
                )
        return Receipt(
            name=kubeconfig.secret_name, reference=kubeconfig.server, fingerprint=kubeconfig.fingerprint
        )


async def own_kubeconfig(host: Host, environment: Environment) -> Kubeconfig:
    """The kubeconfig of our vCluster, waited for: the chart writes it a little after the pod is ready."""
    name = environment.derived_name
    await require_own_namespace(host, environment)
    release = await host.get_release(name, name)
    if release is None:
        raise NotYet(
            System.HOST_CLUSTER,
            f"Helm release {name} is not to be found on host {host.name}",
            "See whether somebody has uninstalled it",
        )
    require_own_release(release, environment.mark)
    found: list[Kubeconfig] = []

    async def exported() -> str:
        kubeconfig = await host.kubeconfig(name, name)
        if kubeconfig is None:
            return "the vCluster to export its kubeconfig"
        found.append(kubeconfig)
        return ""

    if waiting_for := await activity_context.until(exported):
        raise NotYet(
            System.HOST_CLUSTER,
            f"The vCluster on host {host.name} is not usable in its time: waiting for {waiting_for}",
            "See the log of the vCluster's pod",
        )
    return found[0]
