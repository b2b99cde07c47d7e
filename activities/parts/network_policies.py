"""The network policies of an environment's namespace: only named traffic passes. Pure functions.

Egress rules keep environments apart. No traffic leaves for a node, for another pod of the host or for a
private address, except DNS at the host's own servers and the vCluster's connection to the host's API server.
"""

import ipaddress
from collections.abc import Iterable

from activities.parts.policy_metadata import Manifest, policy_object
from clients.host.models import HostNetworks, Peer, PeerPods
from contracts.environment.models import Environment

#: Port of the vCluster's API server in its pod.
_API_SERVER_PORT = 8443
#: Addresses that are not the internet: https://www.iana.org/assignments/iana-ipv4-special-registry and
#: multicast. Other environments, nodes, and the metadata services of clouds have addresses in these ranges.
_ALL_V4 = "0.0.0.0/0"
_RESERVED_V4 = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
#: All addresses that are assigned as global. Outside of this range are local ones, multicast, and those that
#: stand for IPv4 addresses (64:ff9b::/96, 64:ff9b:1::/48, ::ffff:0:0/96). The ranges within it that are not
#: the internet: protocol assignments and Teredo, documentation, 6to4.
_GLOBAL_V6 = "2000::/3"
_RESERVED_V6 = ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
#: The part of the internet that developers need: packages, images, and the control plane's console.
_HTTPS = 443


def network_policies(environment: Environment, networks: HostNetworks) -> list[Manifest]:
    """Return all policies; `networks` says where the host has what a vCluster needs."""
    everybody: Manifest = {}
    control_plane: Manifest = {"matchLabels": {"app": "vcluster", "release": environment.host_name}}

    def policy(name: str, pods: Manifest, **rules: list[Manifest]) -> Manifest:
        types = [direction.capitalize() for direction in rules]
        spec = {"podSelector": pods, "policyTypes": types, **rules}
        return policy_object(environment, "networking.k8s.io/v1", "NetworkPolicy", f"moorage-{name}", spec)

    neighbours: list[Manifest] = [{"podSelector": {}}]
    dns = [*_to(networks.dns, "UDP", "TCP"), *map(_to_pods, networks.dns_pods)]
    policies = [
        policy("deny", everybody, ingress=[], egress=[]),
        policy("within", everybody, ingress=[{"from": neighbours}], egress=[{"to": neighbours}]),
        policy("dns", everybody, egress=dns),
        policy("host-api", control_plane, egress=_to(networks.api_server, "TCP")),
        policy("exposure", control_plane, ingress=[{"ports": _ports((_API_SERVER_PORT,), "TCP")}]),
    ]
    if environment.template.network.internet:
        # The control plane's agent reports over the internet, and image registries and packages are there.
        own = [*networks.nodes, *networks.pods]
        blocks = [_without(_ALL_V4, (*_RESERVED_V4, *own)), _without(_GLOBAL_V6, (*_RESERVED_V6, *own))]
        rule = {"to": [{"ipBlock": block} for block in blocks], "ports": _ports((_HTTPS,), "TCP")}
        policies.append(policy("internet", everybody, egress=[rule]))
    return policies


def _to(peers: Iterable[Peer], *protocols: str) -> list[Manifest]:
    """Return one rule for each set of ports, because a rule allows all its ports at all its networks."""
    by_ports: dict[tuple[int, ...], list[str]] = {}
    for peer in peers:
        by_ports.setdefault(peer.ports, []).append(peer.cidr)
    return [
        {"to": [{"ipBlock": {"cidr": cidr}} for cidr in cidrs], "ports": _ports(ports, *protocols)}
        for ports, cidrs in by_ports.items()
    ]


def _to_pods(pods: PeerPods) -> Manifest:
    peer = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": pods.namespace}},
        "podSelector": {"matchLabels": dict(pods.labels)},
    }
    return {"to": [peer], "ports": _ports(pods.ports, "UDP", "TCP")}


def _without(cidr: str, excluded: Iterable[str]) -> Manifest:
    """Return an IP block of `cidr` without those excluded networks that lie in it, none of them twice."""
    whole = ipaddress.ip_network(cidr)
    inside = [
        network
        for network in map(ipaddress.ip_network, excluded)
        if network.version == whole.version and network != whole and network.subnet_of(whole)  # type: ignore[arg-type]
    ]
    collapsed = ipaddress.collapse_addresses(inside)  # type: ignore[type-var]
    return {"cidr": cidr, "except": [str(network) for network in collapsed]}


def _ports(ports: tuple[int, ...], *protocols: str) -> list[Manifest]:
    return [{"protocol": protocol, "port": port} for protocol in protocols for port in ports]
