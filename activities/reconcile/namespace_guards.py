"""Reads the guards of namespaces, and compares them with what the environments should have. Only reads."""

import asyncio
import ipaddress
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from activities.parts.namespace_quotas import namespace_policies, pod_security
from activities.reconcile.guard_comparison import guard_differences, label_differences
from clients.host.models import HostNetworks, Namespace
from clients.host.protocol import Host
from contracts.environment.chart_values import compose_values
from contracts.environment.models import Environment
from contracts.types.naming import ANNOTATION_HOST_NETWORKS

#: Differences of one namespace that a sentence names; there may be dozens.
MAX_NAMED = 3


class GuardDifference(NamedTuple):
    """How the guards of a namespace differ, in one sentence; "" if they do not.

    `can_repair`: the step of the namespace restores some of it. Pod security is only reported, because no
    role of ours may change a namespace.
    """

    what: str
    can_repair: bool


class GuardReader:
    """Compares guards in one sweep, and reads the networks of each host once."""

    def __init__(self) -> None:
        self._networks: dict[str, HostNetworks] = {}
        self._reading = asyncio.Lock()

    async def difference(self, host: Host, namespace: Namespace, environment: Environment) -> GuardDifference:
        """Return how the guards of the namespace differ from those of the environment.

        Raises:
            ClientError: The host does not answer.
        """
        name = namespace.name
        if name != environment.host_name:
            environment = environment.without_standby
        found = await host.list_guards(name)
        networks = _settled(await self._networks_of(host), namespace)
        host_manifests = await host.host_manifests(name, name)
        wanted = namespace_policies(environment, compose_values(environment), networks, host_manifests)
        altered = guard_differences(wanted, found, environment.mark)
        differences = [*label_differences(pod_security(environment), namespace.labels), *altered]
        what = _sentence(f"namespace {name} on host {host.name}", differences)
        return GuardDifference(what, can_repair=bool(altered))

    async def _networks_of(self, host: Host) -> HostNetworks:
        async with self._reading:
            if host.name not in self._networks:
                self._networks[host.name] = await host.networks()
            return self._networks[host.name]


def _settled(networks: HostNetworks, namespace: Namespace) -> HostNetworks:
    """Return the networks without nodes that are newer than the namespace.

    Nodes come and go, and the policies name those of the time when they were applied. Policies may exclude
    more than is wanted, so nodes that are gone are no difference either.
    """
    recorded = [
        ipaddress.ip_network(each)
        for each in namespace.annotations.get(ANNOTATION_HOST_NETWORKS, "").split(",")
        if each
    ]

    def is_recorded(text: str) -> bool:
        network = ipaddress.ip_network(text)
        return any(network.version == one.version and network.subnet_of(one) for one in recorded)  # type: ignore[arg-type]

    return replace(networks, nodes=tuple(filter(is_recorded, networks.nodes)), pods=())


def _sentence(where: str, differences: Sequence[str]) -> str:
    if not differences:
        return ""
    more = len(differences) - MAX_NAMED
    listed = "; ".join(differences[:MAX_NAMED]) + (f"; and {more} more" if more > 0 else "")
    return f"{listed}, in {where}"
