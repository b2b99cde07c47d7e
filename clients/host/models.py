"""The return values of a host cluster, as frozen values, and the objects that it is given.

This module knows nothing of environments, and imports no library, because settings and commands import it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

#: A Kubernetes object as in a manifest: `apiVersion`, `kind`, `metadata` and the other fields.
Manifest = Mapping[str, Any]
#: Label of a namespace that sets which pod security standard its host enforces on pods there.
#: https://kubernetes.io/docs/concepts/security/pod-security-admission/
LABEL_POD_SECURITY = "pod-security.kubernetes.io/enforce"


@dataclass(frozen=True)
class Namespace:
    """A namespace on the host.

    `uid` distinguishes it from an earlier or later namespace with the same name. `made_at` is the creation
    time by the host's clock. `version` changes with each change of it.
    """

    name: str
    uid: str
    made_at: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    terminating: bool = False
    version: str = ""


@dataclass(frozen=True)
class PersistentVolume:
    """A PersistentVolume bound by a claim in a namespace; its data may outlive the claim.

    The namespace is known only by its name: it may be an earlier one with that name. `retained`: the volume
    stays after its claim is deleted. `released`: its claim is deleted. `made_at` is the creation time by the
    host's clock.
    """

    name: str
    uid: str
    retained: bool
    released: bool
    made_at: datetime | None


class ReleaseStatus(StrEnum):
    """The status of a Helm release.

    PENDING without a running Helm process is what a killed Helm leaves; it blocks every later install.
    """

    DEPLOYED = "deployed"
    PENDING = "pending"
    FAILED = "failed"
    UNINSTALLING = "uninstalling"


@dataclass(frozen=True)
class Release:
    """A Helm release on the host, with the labels that were set at its install.

    `chart_version` is empty where reading it would require the whole release record.
    """

    name: str
    namespace: str
    status: ReleaseStatus
    chart_version: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Chart:
    """A chart; `repository` is a URL (https, oci), or None when `name` itself is a reference.

    `digest` is "sha256:" and the hexadecimal digest of the packaged chart; with None it is not verified.
    """

    repository: str | None
    name: str
    version: str
    digest: str | None = None


@dataclass(frozen=True)
class Startup:
    """The progress of the start of a release, in words for users.

    `waiting_for` is empty once `ready`; `failed` is the cause when waiting longer is useless.
    """

    ready: bool
    waiting_for: str = ""
    failed: str | None = None


@dataclass(frozen=True)
class NodeCapacity:
    """What one node can allocate to pods, as Kubernetes quantities."""

    cpu: str
    memory: str


@dataclass(frozen=True)
class Peer:
    """A network (CIDR) and the ports that may be reached there."""

    cidr: str
    ports: tuple[int, ...]


@dataclass(frozen=True)
class PeerPods:
    """Pods of the host, selected by the name of their namespace and their labels, with ports."""

    namespace: str
    labels: Mapping[str, str]
    ports: tuple[int, ...]


@dataclass(frozen=True)
class HostNetworks:
    """The addresses of a host that network policies need.

    `dns` and `dns_pods` are the name servers, on UDP and TCP. `api_server` holds the addresses of the host's
    API server: its Service and the endpoints behind it. `nodes` are the addresses of nodes and API server,
    which no environment may reach; `pods` are the networks of the host's pods.
    """

    dns: tuple[Peer, ...] = ()
    dns_pods: tuple[PeerPods, ...] = ()
    api_server: tuple[Peer, ...] = ()
    nodes: tuple[str, ...] = ()
    pods: tuple[str, ...] = ()


@dataclass(frozen=True)
class Health:
    """The health of a vCluster that was ready: `problem` says what fails, in words.

    `problem` is "" if nothing fails, or if it cannot be determined. `since` is by the host's clock, where the
    host knows it.
    """

    problem: str = ""
    since: datetime | None = None


@dataclass(frozen=True)
class ForcedDeletion:
    """The progress of a forced deletion, in words, one entry for each object.

    `waiting_for`: objects that still exist. `forced`: objects that this call deleted by force.
    """

    waiting_for: tuple[str, ...] = ()
    forced: tuple[str, ...] = ()
