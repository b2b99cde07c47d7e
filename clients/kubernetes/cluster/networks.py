"""The addresses of a host's DNS, API server, nodes and pods, read from the cluster.

The settings take precedence: they describe a cluster that does not allow these requests, or whose API server
changes its address.
"""

import asyncio
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clients.errors import Rejected
from clients.host.models import HostNetworks, Peer, PeerPods
from clients.kubernetes.api.client import KubernetesApi, Object
from clients.kubernetes.cluster import nodes
from clients.kubernetes.vcluster_options import HostOptions

#: The Service of the DNS in nearly every cluster, for any DNS server.
_DNS_NAMESPACE, _DNS_SERVICE = "kube-system", "kube-dns"
_DNS_PORT = 53
_SERVICE_OF = "kubernetes.io/service-name"


class NetworkReader:
    """Reads the addresses of a host that network policies need."""

    def __init__(self, api: KubernetesApi, options: HostOptions) -> None:
        self._api = api
        self._options = options

    async def read(self) -> HostNetworks:
        """Return the host's addresses; raise Rejected if the cluster does not show them."""
        found, api_server, (dns, dns_pods) = await asyncio.gather(
            self._api.list(nodes.PATH, nodes.LIST), self._api_server(), self._dns()
        )
        addresses = [*node_addresses(found), *(peer.cidr for peer in api_server)]
        return HostNetworks(
            dns=(*self._options.dns, *dns),
            dns_pods=dns_pods,
            api_server=api_server,
            nodes=collapse([*addresses, *self._options.node_networks]),
            pods=collapse(pod_networks(found)),
        )

    async def _api_server(self) -> tuple[Peer, ...]:
        if self._options.api_server:
            return self._options.api_server
        service, slices = await self._service("default", "kubernetes", "the API server of the host")
        peers = [*service_peers(service), *slice_peers(slices)]
        if not peers:
            raise Rejected(
                self._api.system,
                "read the addresses of its API server",
                "the Service kubernetes in default has none: name them in the setting api_server",
            )
        return tuple(dict.fromkeys(peers))

    async def _dns(self) -> tuple[tuple[Peer, ...], tuple[PeerPods, ...]]:
        service, slices = await self._service(_DNS_NAMESPACE, _DNS_SERVICE, "the DNS of the host")
        if service is None:
            if self._options.dns:
                return (), ()
            raise Rejected(
                self._api.system,
                "read the addresses of its DNS",
                f"there is no Service {_DNS_SERVICE} in {_DNS_NAMESPACE}: name them in the setting dns",
            )
        port_names = {port.get("name") for port in _ports(service) if port.get("port") == _DNS_PORT}
        peers = service_peers(service, only=_DNS_PORT)
        endpoints = slice_peers(slices, names=port_names)
        labels = (service.get("spec") or {}).get("selector") or {}
        if not labels:
            return tuple(dict.fromkeys([*peers, *endpoints])), ()
        numbers = tuple(sorted({port for peer in endpoints for port in peer.ports})) or (_DNS_PORT,)
        return tuple(peers), (PeerPods(_DNS_NAMESPACE, labels, numbers),)

    async def _service(self, namespace: str, name: str, title: str) -> tuple[Object | None, Sequence[Object]]:
        """Return a Service and its EndpointSlices."""
        operation = f"read the address of {title}"
        path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        service, slices = await asyncio.gather(
            self._api.get(f"/api/v1/namespaces/{namespace}/services/{name}", operation),
            self._api.list(path, operation, labels=f"{_SERVICE_OF}={name}"),
        )
        return service, slices


def service_peers(service: Object | None, *, only: int | None = None) -> list[Peer]:
    """Return the addresses of a Service, each with all its ports or with one of them."""
    spec = (service or {}).get("spec") or {}
    ports = tuple(sorted({port["port"] for port in _ports(service) if only is None or port["port"] == only}))
    addresses = spec.get("clusterIPs") or [spec.get("clusterIP")]
    return [Peer(network_of(each), ports) for each in addresses if each and each != "None" and ports]


def slice_peers(slices: Iterable[Object], *, names: set[Any] | None = None) -> list[Peer]:
    """Return the addresses behind a Service, with the ports of these names."""
    peers = []
    for each in slices:
        ports = tuple(
            sorted(
                {
                    port["port"]
                    for port in each.get("ports") or []
                    if port.get("port") and (names is None or port.get("name") in names)
                }
            )
        )
        if each.get("addressType") in ("IPv4", "IPv6") and ports:
            peers += [
                Peer(network_of(address), ports)
                for endpoint in each.get("endpoints") or []
                for address in endpoint.get("addresses") or []
            ]
    return peers


def node_addresses(found: Iterable[Object]) -> list[str]:
    """Return all addresses of nodes, each as a network; host names are skipped."""
    return [
        network_of(address["address"])
        for node in found
        for address in (node.get("status") or {}).get("addresses") or []
        if address.get("type") in ("InternalIP", "ExternalIP")
    ]


def pod_networks(found: Iterable[Object]) -> list[str]:
    """Return the networks of the nodes' pods, where Kubernetes knows them."""
    networks: list[str] = []
    for node in found:
        spec = node.get("spec") or {}
        networks += spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])
    return networks


def collapse(networks: Iterable[str]) -> tuple[str, ...]:
    """Merge the networks into as few as possible, sorted."""
    parsed = [ipaddress.ip_network(each, strict=False) for each in networks]
    four = ipaddress.collapse_addresses(each for each in parsed if isinstance(each, ipaddress.IPv4Network))
    six = ipaddress.collapse_addresses(each for each in parsed if isinstance(each, ipaddress.IPv6Network))
    return tuple(str(each) for each in (*four, *six))


def network_of(address: str) -> str:
    """Return the network that holds only this address."""
    return str(ipaddress.ip_network(address))


def _ports(service: Object | None) -> Sequence[Mapping[str, Any]]:
    return ((service or {}).get("spec") or {}).get("ports") or []
