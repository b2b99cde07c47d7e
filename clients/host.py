"""The seam to a host cluster: what Moorage needs of a Kubernetes with Helm, and nothing of environments.

`Host` and `VirtualCluster` are what the simulated host and a real one both offer; the frozen models are what
they answer. Every failure is a `clients.errors.ClientError`. Nothing here waits for anything to come
about: callers ask again, and can be cancelled in between.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NoReturn, Protocol

import yaml

from clients.safe_yaml import read_yaml

#: A Kubernetes object as it stands in a manifest: `apiVersion`, `kind`, `metadata` and the rest.
Manifest = Mapping[str, Any]
#: Label of a namespace: what its host enforces on the pods there.
#: https://kubernetes.io/docs/concepts/security/pod-security-admission/
LABEL_POD_SECURITY = "pod-security.kubernetes.io/enforce"


@dataclass(frozen=True)
class Namespace:
    """A namespace as the host has it. `uid` tells it from an earlier or later one of the same name.

    `made_at` is by the host's clock.
    """

    name: str
    uid: str
    made_at: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    terminating: bool = False


@dataclass(frozen=True)
class PersistentVolume:
    """A volume that a claim in a namespace of this name has bound; what is stored may outlive the claim.

    `retained`: it stays when its claim goes. `released`: its claim is gone. `made_at` is by the host's clock.
    """

    name: str
    uid: str
    retained: bool
    released: bool
    made_at: datetime | None


class ReleaseStatus(StrEnum):
    """Where a Helm release stands.

    PENDING with nobody working on it is what a killed Helm leaves; it blocks every later install.
    """

    DEPLOYED = "deployed"
    PENDING = "pending"
    FAILED = "failed"
    UNINSTALLING = "uninstalling"


@dataclass(frozen=True)
class Release:
    """A Helm release as the host has it, with the labels that were given at its install.

    `chart_version` is empty where telling it would mean to read the whole record.
    """

    name: str
    namespace: str
    status: ReleaseStatus
    chart_version: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Chart:
    """Which chart. `repository` is a URL (https, oci), or None when `name` itself says where it is."""

    repository: str | None
    name: str
    version: str


@dataclass(frozen=True)
class Startup:
    """How far the start of a release is, in words that a person understands.

    `waiting_for` is empty once `ready`; `failed` is the cause when waiting longer has no sense.
    """

    ready: bool
    waiting_for: str = ""
    failed: str | None = None


class Kubeconfig:
    """A kubeconfig that never shows its content: not in `repr`, `str` or a pickle, only by `text()`.

    Raises ValueError, without a word of the content, for what is no kubeconfig.
    """

    __slots__ = ("__cluster", "__text", "__user", "fingerprint", "secret_name", "server")

    #: SHA-256 of the text, in hex: tells whether it is still the same one, and nothing else.
    fingerprint: str
    #: The Secret of the host cluster in which it lives.
    secret_name: str
    #: The address of the API server that it leads to.
    server: str

    def __init__(self, text: str, *, secret_name: str) -> None:
        current = _current(text)
        if current is None:
            # Raised here and not where it was found: the parser's own error quotes what it could not read.
            raise ValueError(f"what Secret {secret_name} holds is not a kubeconfig with a current context")
        self.__text = text
        self.__cluster, self.__user = current
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()
        self.secret_name = secret_name
        self.server = str(self.__cluster["server"])

    def text(self) -> str:
        """The YAML itself: a credential."""
        return self.__text

    def current(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The cluster and the user of the current context, as the kubeconfig's YAML has them: credentials."""
        return self.__cluster, self.__user

    def __repr__(self) -> str:
        return f"Kubeconfig(server={self.server!r}, fingerprint={self.fingerprint[:12]!r}, text hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a kubeconfig is not serialized")


def _current(text: str) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    try:
        document = read_yaml(text)
        wanted = document["current-context"]
        context = next(entry["context"] for entry in document["contexts"] if entry["name"] == wanted)
        cluster = next(
            entry["cluster"] for entry in document["clusters"] if entry["name"] == context["cluster"]
        )
        user = next(entry["user"] for entry in document["users"] if entry["name"] == context["user"])
        cluster["server"]
        dict(user)
    except (yaml.YAMLError, KeyError, TypeError, ValueError, StopIteration):
        return None
    return cluster, user


class VirtualCluster(Protocol):
    """The API server inside a vCluster, spoken to with its kubeconfig."""

    async def ready(self) -> bool:
        """Whether `/readyz` says so; False as well while nothing answers. Denied for a refused credential."""
        ...

    async def version(self) -> str:
        """The Kubernetes version that it gives, such as `v1.36.0`."""
        ...

    async def apply(self, manifests: Sequence[Manifest], labels: Mapping[str, str]) -> None:
        """Make all of them be there, with `labels` added to each; again does nothing more.

        Namespaces and definitions of kinds come first, the rest in the given order. Rejected for what is
        no Kubernetes object or of a kind that it does not know.
        """
        ...

    async def present(self, manifests: Sequence[Manifest]) -> list[str]:
        """Which of them are there, as `Kind name` or `Kind namespace/name`."""
        ...


@dataclass(frozen=True)
class NodeCapacity:
    """What one node has for pods, as Kubernetes quantities."""

    cpu: str
    memory: str


@dataclass(frozen=True)
class Peer:
    """A network (CIDR) and the ports at which it may be reached."""

    cidr: str
    ports: tuple[int, ...]


@dataclass(frozen=True)
class PeerPods:
    """Pods of the host, by the labels of their namespace's name and their own, and their ports."""

    namespace: str
    labels: Mapping[str, str]
    ports: tuple[int, ...]


@dataclass(frozen=True)
class HostNetworks:
    """What network policies have to know of a host.

    `dns` and `dns_pods` answer names, on UDP and TCP. `api_server` is where the host's API server is, by its
    Service and behind it. `nodes` are the addresses of nodes and API server, which no environment may get at;
    `pods` are the networks of its pods.
    """

    dns: tuple[Peer, ...] = ()
    dns_pods: tuple[PeerPods, ...] = ()
    api_server: tuple[Peer, ...] = ()
    nodes: tuple[str, ...] = ()
    pods: tuple[str, ...] = ()


@dataclass(frozen=True)
class Health:
    """What is wrong with a vCluster that was ready, in words; "" if nothing is, or nobody can tell.

    `since` is by the host's clock, where the host knows.
    """

    wrong: str = ""
    since: datetime | None = None


@dataclass(frozen=True)
class Ending:
    """What is still there of what has to end, and what was ended by force just now: in words, one each."""

    waiting_for: tuple[str, ...] = ()
    forced: tuple[str, ...] = ()


class Host(Protocol):
    """A host cluster. Absent things are None on get, NotFound on delete; AlreadyExists on create."""

    @property
    def name(self) -> str:
        """What the settings call it."""
        ...

    async def close(self) -> None:
        """Close all connections; the host cannot be called afterwards."""
        ...

    async def check(self) -> str:
        """Its version, which shows that it is reachable and that the credentials are good.

        Denied names the rights that they lack.
        """
        ...

    async def missing_rights(self) -> list[str]:
        """The rights in the whole cluster that our account lacks, in words, one each."""
        ...

    async def rehearse_namespace(self, name: str, labels: Mapping[str, str]) -> None:
        """Return if a namespace with these labels could be created; nothing is made. Denied says why not."""
        ...

    async def rehearse_tenants(self) -> list[str]:
        """What its policies let tenants do that they must not, in words; nothing is made.

        Denied if it cannot be rehearsed.
        """
        ...

    async def networks(self) -> HostNetworks:
        """Where its DNS, its API server, its nodes and pods are. Rejected if it does not say."""
        ...

    async def allocatable(self) -> Sequence[NodeCapacity] | None:
        """What each node has on which pods can be placed; None if the host does not know."""
        ...

    async def create_namespace(
        self, name: str, labels: Mapping[str, str], annotations: Mapping[str, str]
    ) -> Namespace:
        """Create it, and never adopt one: AlreadyExists if there is one, terminating or not."""
        ...

    async def get_namespace(self, name: str) -> Namespace | None: ...

    async def delete_namespace(self, name: str, uid: str) -> None:
        """Ask for the end of exactly the one with this UID; it is gone when `get_namespace` says so.

        NotFound if there is none, Rejected if there is one with another UID. Again while it terminates: fine.
        """
        ...

    async def namespace_blockers(self, name: str) -> list[str]:
        """What keeps a terminating namespace from going, in words; empty if nothing does or it is gone."""
        ...

    async def fittings(self, namespace: str, release: str) -> Sequence[Manifest]:
        """What this host itself needs in the namespace, to be applied before all else: our rights there, and
        the way in to the vCluster. They bear no labels yet."""
        ...

    def planned_overlay(self, namespace: str, release: str) -> Mapping[str, Any]:
        """The same as `overlay` before anything is there; what is not settled yet is said in words."""
        ...

    async def overlay(self, namespace: str, release: str) -> Mapping[str, Any]:
        """What this host lays over the chart's values: the way in, once the fittings are applied, and where
        images and volumes come from. NotYet while the way in is not settled."""
        ...

    async def apply(self, namespace: str, objects: Sequence[Manifest]) -> None:
        """Make all of them be in the namespace, which the caller has read as its own.

        NotFound if the namespace is not there, Rejected while it terminates.
        """
        ...

    async def get_release(self, namespace: str, name: str) -> Release | None: ...

    async def check_release(self, chart: Chart, values: Mapping[str, Any]) -> None:
        """Whether the chart is to be had and takes the values; Rejected says why not. Nothing is made."""
        ...

    async def install_release(
        self, namespace: str, name: str, chart: Chart, values: Mapping[str, Any], labels: Mapping[str, str]
    ) -> None:
        """Install without waiting for the start. AlreadyExists whatever the status of the one that is there.

        NotFound if the namespace is not there, Rejected while it terminates or for a chart or values
        that cannot be.
        """
        ...

    async def stop_release(self, namespace: str, name: str) -> str:
        """Have the vCluster make nothing any more, and say what still runs of it; "" once nothing does.

        To be called again. Without it, what it deletes takes as long to end as its tenants have asked for.
        """
        ...

    async def uninstall_release(self, namespace: str, name: str) -> None:
        """Uninstall it, in any status; what it ran may end a little later, and its volumes stay."""
        ...

    async def startup(self, namespace: str, release: str) -> Startup:
        """How far its start is. NotFound if there is no such release."""
        ...

    async def health(self, namespace: str, release: str) -> Health:
        """Whether a vCluster that was ready still runs and answers, and has all that it was made with."""
        ...

    async def volumes(self, namespace: str, release: str, *, every_claim: bool = False) -> list[str]:
        """Names of the volume claims that the release left or uses, whether or not it is there any more.

        `every_claim`: whoever made it; the caller has read the namespace as its own.
        """
        ...

    async def delete_volume(self, namespace: str, name: str) -> None:
        """Delete the volume claim. NotFound if it is gone."""
        ...

    async def persistent_volumes(self, namespace: str) -> list[PersistentVolume]:
        """Those that claims in a namespace of this name have bound, this one or an earlier one."""
        ...

    async def give_up_volume(self, volume: PersistentVolume) -> None:
        """Ask for the end of a released one and of what is stored on it: its policy becomes Delete, so that
        whoever made it removes both. NotFound if it is gone."""
        ...

    async def require_right_to_volumes(self) -> None:
        """Return if `give_up_volume` is allowed to us; else Denied."""
        ...

    async def ensure_role_binding(self, namespace: str, labels: Mapping[str, str]) -> None:
        """Have our rights in a namespace of ours again, should somebody have taken them away."""
        ...

    async def end_by_force(self, namespace: str) -> Ending:
        """Take a look at a namespace of ours in which everything has to end, and see to it that it does.

        What a vCluster has made there, pods, and what has finalizers are deleted; no pod has more than half a
        minute. What has been ending for a minute is ended: pods are killed, and finalizers removed that are
        not of the host's own controllers.
        To be called again until nothing is waited for. Nothing if there is no namespace.
        """
        ...

    async def leftovers(self, namespace: str, release: str, *, every_claim: bool = False) -> list[str]:
        """All that is still there of the release, its record and its volumes included, as `Kind name`.

        `every_claim`: as in `volumes`.
        """
        ...

    async def kubeconfig(self, namespace: str, release: str) -> Kubeconfig | None:
        """The exported kubeconfig of the vCluster; None until its Secret is there. It may lag the pod."""
        ...

    def virtual_cluster(self, kubeconfig: Kubeconfig) -> AbstractAsyncContextManager[VirtualCluster]:
        """The API server that the kubeconfig leads to; leaving the context closes its connections."""
        ...
