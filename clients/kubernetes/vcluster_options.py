"""The options of a Kubernetes host: access to its vClusters, and the sources of images and volumes."""

from dataclasses import dataclass
from enum import StrEnum

from clients.host.models import Peer


class Exposure(StrEnum):
    """How the API server of a vCluster is reached."""

    NODE_PORT = "node-port"  #: at a port of the nodes
    IN_CLUSTER = "in-cluster"  #: at its Service, only from within the host cluster


@dataclass(frozen=True)
class HostOptions:
    """The settings of one host.

    `address`: where the ports of its nodes are reached from outside.
    `image_registry`: the source of all images of vClusters; empty means the chart's.
    `image_repository`: the name of the vCluster's own image there; empty means the chart's.
    `chart_repository`: the source of charts; it overrides the template's.
    `storage_class`: without it, the host's default class is used.
    `api_account`: the service account (namespace/name) with which the API reads kubeconfigs.
    `reachable`: networks and ports beyond the internet that environments may reach, such as a
    control plane's.
    `dns`: name servers in addition to the host's Service kube-dns.
    `api_server`: the host's API server, where it cannot be read from the cluster.
    `node_networks`: networks in which nodes exist or will exist.
    """

    exposure: Exposure = Exposure.IN_CLUSTER
    address: str = ""
    image_registry: str = ""
    image_repository: str = ""
    storage_class: str = ""
    chart_repository: str = ""
    api_account: str = ""
    reachable: tuple[Peer, ...] = ()
    dns: tuple[Peer, ...] = ()
    api_server: tuple[Peer, ...] = ()
    node_networks: tuple[str, ...] = ()
