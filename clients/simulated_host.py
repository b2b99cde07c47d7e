"""The simulated host cluster of the embedded stack, over its own small HTTP API.

Its virtual API servers speak Kubernetes, so they are called by the same code as real ones.
"""

import json
import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from clients.errors import Denied, NotFound, Unintelligible
from clients.host import (
    LABEL_POD_SECURITY,
    Chart,
    Ending,
    Health,
    HostNetworks,
    Kubeconfig,
    Manifest,
    Namespace,
    NodeCapacity,
    Peer,
    PeerPods,
    PersistentVolume,
    Release,
    Startup,
)
from clients.http import Answer, HttpSystem, bearer
from clients.virtual_cluster import VirtualClusterApi

_T = TypeVar("_T")

#: What the policy of real hosts takes for pod security.
_POD_SECURITY = frozenset({"baseline", "restricted"})

#: Nothing is enforced here; policies are made of these as of any host's.
SIMULATED_NETWORKS = HostNetworks(
    dns=(Peer("192.0.2.10/32", (53,)),),
    dns_pods=(PeerPods("kube-system", {"k8s-app": "kube-dns"}, (53,)),),
    api_server=(Peer("192.0.2.1/32", (443,)), Peer("192.0.2.2/32", (6443,))),
    nodes=("192.0.2.2/32",),
)

_NAMESPACE = TypeAdapter(Namespace)
_ENDING = TypeAdapter(Ending)
_NODES = TypeAdapter(list[NodeCapacity])
_RELEASE = TypeAdapter(Release)
_STARTUP = TypeAdapter(Startup)
_TEXT = TypeAdapter(str)
_TEXTS = TypeAdapter(list[str])


class SimulatedHost:
    """A `clients.host.Host` that is simulated: it keeps what it is told, takes its time, and runs nothing."""

    def __init__(
        self,
        name: str,
        base_url: str,
        token: str,
        *,
        timeout: timedelta,
        verify: ssl.SSLContext | bool = True,
        reread: Callable[[], str] | None = None,
    ) -> None:
        self._name = name
        self._system = f"simulated host {name}"
        self._timeout = timeout
        self._http = HttpSystem(
            self._system,
            base_url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout,
            explain=_explain,
            verify=verify,
            renewed=(lambda: bearer(reread())) if reread else None,
        )

    @property
    def name(self) -> str:
        """What the settings call it."""
        return self._name

    async def close(self) -> None:
        """Close all connections; the host cannot be called afterwards."""
        await self._http.close()

    async def check(self) -> str:
        """Its version, which shows that it is reachable and that the token is good."""
        return await self._ask(_TEXT, "GET", "/version", "read version")

    async def missing_rights(self) -> list[str]:
        """None: there are no rights here."""
        return []

    async def rehearse_namespace(self, name: str, labels: Mapping[str, str]) -> None:
        """Fine if it bears a mark and has pod security: a policy keeps us to such on real hosts."""
        operation = f"create namespace {name}, as a rehearsal"
        if not labels.keys() - {LABEL_POD_SECURITY}:
            raise Denied(self._system, operation, "it bears no mark")
        if labels.get(LABEL_POD_SECURITY) not in _POD_SECURITY:
            raise Denied(self._system, operation, "it has no pod security")

    async def rehearse_tenants(self) -> list[str]:
        """None: nothing runs here."""
        return []

    async def networks(self) -> HostNetworks:
        """As a small real one has them: documentation's addresses."""
        return SIMULATED_NETWORKS

    async def allocatable(self) -> Sequence[NodeCapacity]:
        """What it was told to say."""
        return await self._ask(_NODES, "GET", "/nodes", "list nodes")

    async def create_namespace(
        self, name: str, labels: Mapping[str, str], annotations: Mapping[str, str]
    ) -> Namespace:
        body = {"name": name, "labels": dict(labels), "annotations": dict(annotations)}
        return await self._ask(_NAMESPACE, "POST", "/namespaces", f"create namespace {name}", body=body)

    async def get_namespace(self, name: str) -> Namespace | None:
        try:
            return await self._ask(_NAMESPACE, "GET", _path(name), f"read namespace {name}")
        except NotFound:
            return None

    async def delete_namespace(self, name: str, uid: str) -> None:
        await self._http.call("DELETE", _path(name), f"delete namespace {name}", query={"uid": uid})

    async def namespace_blockers(self, name: str) -> list[str]:
        operation = f"read what holds namespace {name}"
        try:
            return await self._ask(_TEXTS, "GET", _path(name, "blockers"), operation)
        except NotFound:
            return []

    async def fittings(self, namespace: str, release: str) -> Sequence[Manifest]:  # noqa: ARG002
        """None: there are no rights here, and the way in is its own."""
        return ()

    def planned_overlay(self, namespace: str, release: str) -> Mapping[str, Any]:  # noqa: ARG002
        """Nothing: no value makes a difference here."""
        return {}

    async def overlay(self, namespace: str, release: str) -> Mapping[str, Any]:  # noqa: ARG002
        """Nothing: no value makes a difference here."""
        return {}

    async def apply(self, namespace: str, objects: Sequence[Manifest]) -> None:
        operation = f"apply {len(objects)} objects in namespace {namespace}"
        await self._http.call(
            "POST", _path(namespace, "objects"), operation, body=[dict(each) for each in objects]
        )

    async def get_release(self, namespace: str, name: str) -> Release | None:
        try:
            return await self._ask(
                _RELEASE, "GET", _path(namespace, "releases", name), f"read release {name}"
            )
        except NotFound:
            return None

    async def check_release(self, chart: Chart, values: Mapping[str, Any]) -> None:
        """Fine: there is no chart here that could refuse."""

    async def install_release(
        self, namespace: str, name: str, chart: Chart, values: Mapping[str, Any], labels: Mapping[str, str]
    ) -> None:
        body = {
            "chart": {"repository": chart.repository, "name": chart.name, "version": chart.version},
            "values": dict(values),
            "labels": dict(labels),
        }
        await self._http.call(
            "POST", _path(namespace, "releases", name), f"install release {name}", body=body
        )

    async def stop_release(self, namespace: str, name: str) -> str:  # noqa: ARG002
        """Nothing runs here that could make something."""
        return ""

    async def uninstall_release(self, namespace: str, name: str) -> None:
        await self._http.call("DELETE", _path(namespace, "releases", name), f"uninstall release {name}")

    async def startup(self, namespace: str, release: str) -> Startup:
        path = _path(namespace, "releases", release, "startup")
        return await self._ask(_STARTUP, "GET", path, f"read the start of release {release}")

    async def health(self, namespace: str, release: str) -> Health:
        """What a look at its start says, and whether its Secret is there."""
        if await self.get_namespace(namespace) is None:
            return Health("its namespace is gone")
        try:
            startup = await self.startup(namespace, release)
        except NotFound:
            return Health("its Helm release is gone")
        if not startup.ready:
            return Health(f"its vCluster does not run: waiting for {startup.waiting_for}")
        if await self.kubeconfig(namespace, release) is None:
            return Health(f"the Secret vc-{release} with its kubeconfig is gone")
        return Health()

    async def volumes(self, namespace: str, release: str, *, every_claim: bool = False) -> list[str]:  # noqa: ARG002
        """All that there are: a namespace here has no other claims."""
        path = _path(namespace, "releases", release, "volumes")
        return await self._ask(_TEXTS, "GET", path, f"list volumes of release {release}")

    async def delete_volume(self, namespace: str, name: str) -> None:
        await self._http.call("DELETE", _path(namespace, "volumes", name), f"delete volume {name}")

    async def persistent_volumes(self, namespace: str) -> list[PersistentVolume]:  # noqa: ARG002
        """None: what is stored here goes with its claim."""
        return []

    async def give_up_volume(self, volume: PersistentVolume) -> None:
        """There are none."""
        raise NotFound(self._system, f"give up volume {volume.name}", "there are none")

    async def require_right_to_volumes(self) -> None:
        """Fine: there are none."""

    async def ensure_role_binding(self, namespace: str, labels: Mapping[str, str]) -> None:
        """Fine: there are no rights here."""

    async def end_by_force(self, namespace: str) -> Ending:
        """What is stubborn ends when it has been asked for once before: there are no minutes here."""
        path = _path(namespace, "ends")
        try:
            return await self._ask(_ENDING, "POST", path, f"end by force in namespace {namespace}")
        except NotFound:
            return Ending()

    async def leftovers(self, namespace: str, release: str, *, every_claim: bool = False) -> list[str]:  # noqa: ARG002
        """All that there is: a namespace here has no other claims."""
        path = _path(namespace, "releases", release, "leftovers")
        return await self._ask(_TEXTS, "GET", path, f"list what is left of release {release}")

    async def kubeconfig(self, namespace: str, release: str) -> Kubeconfig | None:
        operation = f"read the kubeconfig of release {release}"
        try:
            secret = await self._http.call_json(
                "GET", _path(namespace, "releases", release, "kubeconfig"), operation
            )
        except NotFound:
            return None
        try:
            return Kubeconfig(secret["config"], secret_name=secret["name"])
        except (KeyError, TypeError, ValueError):
            raise Unintelligible(self._system, operation, "the answer holds no kubeconfig") from None

    def virtual_cluster(self, kubeconfig: Kubeconfig) -> VirtualClusterApi:
        """The API server that the kubeconfig leads to; leaving the context closes its connections."""
        return VirtualClusterApi(kubeconfig, timeout=self._timeout)

    async def _ask(
        self, shape: TypeAdapter[_T], method: str, path: str, operation: str, *, body: Any = None
    ) -> _T:
        answer = await self._http.call_json(method, path, operation, body=body)
        try:
            return shape.validate_python(answer)
        except ValidationError:
            detail = "the answer is not of the agreed form"
            raise Unintelligible(self._system, operation, detail, ambiguous=method != "GET") from None


def _path(namespace: str, *more: str) -> str:
    return "/".join(["/namespaces", *(quote(part, safe="") for part in (namespace, *more))])


def _explain(answer: Answer) -> str:
    try:
        document = json.loads(answer.body)
    except ValueError:
        return ""
    return str(document.get("message", "")) if isinstance(document, dict) else ""
