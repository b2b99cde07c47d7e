"""The virtual clusters of environments: their kubeconfigs on the hosts, and connections with them.

Only the API process uses these kubeconfigs, which contain the chart's administrator certificate. For a host
with its own worker the API has none, and asks that worker.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Container, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from clients.errors import ClientError, Denied, Unreachable
from clients.host.health import find_namespace
from clients.host.kubeconfig import Kubeconfig
from clients.host.protocol import Host, VirtualCluster
from contracts.environment.models import SLEEP_PHASES, Environment, Phase, StepState
from contracts.host_requests import HostAnswer, HostRequestKind
from contracts.templates.client_certificates import CLUSTER_FIELDS
from starter.environments.reader import EnvironmentSnapshot
from starter.environments.schemas import USABLE_PHASES
from starter.host_workers.requests import HostRequests, request_about

#: Open connections. Each has a TLS context and some sockets; opening one costs two calls to the host.
MAX_CONNECTIONS = 200


class NotUsable(Exception):
    """The environment cannot be used now; the text says why."""


class Asleep(NotUsable):
    """The environment sleeps, or is being woken; the text says how to wake it."""


class PeopleAccess(Protocol):
    """What the API does in a vCluster; `VirtualCluster` has it."""

    async def ensure_person(self, person: str, labels: Mapping[str, str]) -> bool:
        """Give the person all rights inside; return whether they were missing."""
        ...

    async def remove_person(self, person: str) -> list[str]:
        """Take the person's rights away; return the bindings that had them, as far as they are known."""
        ...

    async def issue_certificate(
        self, request: bytes, person: str, validity: timedelta, labels: Mapping[str, str]
    ) -> str:
        """Return a client certificate (PEM) for the person's PKCS#10 request (PEM)."""
        ...


class _ByHostWorker:
    """A vCluster to which only the worker beside its host connects."""

    def __init__(self, requests: HostRequests, environment: Environment) -> None:
        self._requests = requests
        self._environment = environment

    async def ensure_person(self, person: str, labels: Mapping[str, str]) -> bool:  # noqa: ARG002
        return (await self.ask(HostRequestKind.ENSURE_PERSON, person=person)).is_new

    async def remove_person(self, person: str) -> list[str]:
        await self.ask(HostRequestKind.REMOVE_PERSON, person=person)
        return []

    async def issue_certificate(
        self,
        request: bytes,
        person: str,
        validity: timedelta,
        labels: Mapping[str, str],  # noqa: ARG002  (the worker takes them from the owner mark)
    ) -> str:
        answer = await self.ask(
            HostRequestKind.CERTIFICATE,
            person=person,
            certificate_request=request.decode(),
            validity=validity,
        )
        return answer.certificate

    async def ask(self, kind: HostRequestKind, **fields: Any) -> HostAnswer:
        environment = self._environment
        answer = await self._requests.send(request_about(environment, kind, **fields))
        if not answer.is_there:
            raise NotUsable(_missing(environment))
        return answer


@dataclass
class _Connection:
    """A client of one vCluster; `exit` closes it."""

    virtual: VirtualCluster
    exit: AsyncExitStack = field(repr=False)
    users: int = 0


class VirtualClusters:
    """Connects to the virtual clusters of environments that can be used.

    Connections stay open for the next caller, by life: the kubeconfig of a life trusts only the authority of
    its own vCluster, so an old connection never reaches another life.

    `elsewhere` are the hosts that only their own worker reaches, which `requests` asks.
    """

    def __init__(
        self,
        hosts: Mapping[str, Host],
        requests: HostRequests | None = None,
        elsewhere: Container[str] = (),
    ) -> None:
        self._hosts = hosts
        self._requests = requests
        self._elsewhere = elsewhere
        self._opening: dict[str, asyncio.Lock] = {}
        self._open: OrderedDict[str, _Connection] = OrderedDict()

    async def kubeconfig(self, environment: Environment) -> Kubeconfig:
        """Return the administrator's kubeconfig; raise NotUsable if it is not there."""
        host = self._host(environment)
        # Check the namespace first, because that name may now belong to another life or another owner.
        namespace = await find_namespace(host, environment.host_names, environment.mark.labels)
        if namespace is None or not environment.mark.matches_labels(namespace.labels):
            raise NotUsable(_missing(environment))
        kubeconfig = await host.kubeconfig(namespace.name, namespace.name)
        if kubeconfig is None:
            raise NotUsable(_missing(environment))
        return kubeconfig

    async def address(self, environment: Environment) -> Mapping[str, Any]:
        """Return the public part of the kubeconfig: the address and the authority of the vCluster."""
        if remote := self._by_host_worker(environment):
            return (await remote.ask(HostRequestKind.CLUSTER)).cluster
        cluster, _ = (await self.kubeconfig(environment)).current()
        return {key: cluster[key] for key in CLUSTER_FIELDS if cluster.get(key)}

    def _by_host_worker(self, environment: Environment) -> _ByHostWorker | None:
        if self._requests is None or environment.host not in self._elsewhere:
            return None
        return _ByHostWorker(self._requests, environment)

    @asynccontextmanager
    async def connect(self, environment: Environment) -> AsyncIterator[PeopleAccess]:
        """Connect as its administrator, or take an open connection.

        A connection that is refused or gets no answer is not used again: the vCluster may have another
        address or another authority now.

        Raises:
            NotUsable: The vCluster or its host is not there.
        """
        if remote := self._by_host_worker(environment):
            yield remote
            return
        life = environment.mark.life
        connection = await self._connection(environment)
        connection.users += 1
        try:
            yield connection.virtual
        except (Denied, Unreachable):
            if self._open.get(life) is connection:
                del self._open[life]
            raise
        finally:
            connection.users -= 1
            if self._open.get(life) is not connection and not connection.users:
                await _close(connection)

    def has_connection(self, environment: Environment) -> bool:
        """Return whether there is an open connection, which was opened for an earlier caller."""
        return environment.mark.life in self._open

    async def close(self) -> None:
        """Close all connections."""
        while self._open:
            await _close(self._open.popitem()[1])

    async def _connection(self, environment: Environment) -> _Connection:
        life = environment.mark.life
        async with self._opening.setdefault(life, asyncio.Lock()):
            try:
                connection = self._open.get(life)
                if connection is None:
                    connection = self._open[life] = await self._opened(environment)
            finally:
                self._opening.pop(life, None)
        self._open.move_to_end(life)
        if len(self._open) > MAX_CONNECTIONS:
            _, oldest = self._open.popitem(last=False)
            if not oldest.users:
                await _close(oldest)
        return connection

    async def _opened(self, environment: Environment) -> _Connection:
        kubeconfig = await self.kubeconfig(environment)
        exit = AsyncExitStack()
        virtual = await exit.enter_async_context(self._host(environment).virtual_cluster(kubeconfig))
        return _Connection(virtual, exit)

    def _host(self, environment: Environment) -> Host:
        host = self._hosts.get(environment.host)
        if host is None:
            raise NotUsable(f'it is on the host "{environment.host}", which this API does not have')
        return host


async def _close(connection: _Connection) -> None:
    with suppress(ClientError):
        await connection.exit.aclose()


def usable_environment(snapshot: EnvironmentSnapshot, *, may_sleep: bool = False) -> Environment:
    """Return the environment of the snapshot.

    Raises:
        Asleep: It sleeps, and it may not.
        NotUsable: It cannot be used now.
    """
    phase = snapshot.view.phase
    if snapshot.ended or phase not in USABLE_PHASES | SLEEP_PHASES:
        raise NotUsable(_why_not(snapshot))
    if phase in SLEEP_PHASES and not may_sleep:
        state = "being woken" if phase is Phase.WAKING else "asleep"
        raise Asleep(f"{snapshot.name} is {state}. Wake it with: moorage wake {snapshot.name}")
    if snapshot.status is None:
        raise NotUsable(snapshot.view.remark)
    return snapshot.status.environment


def _missing(environment: Environment) -> str:
    return (
        f"its kubeconfig is not on the host {environment.host} any more: "
        f"delete {environment.name} and ask for it again, or tell the platform team"
    )


def _why_not(snapshot: EnvironmentSnapshot) -> str:
    name, view = snapshot.name, snapshot.view
    if view.phase is Phase.ORPHANED:
        return view.remark
    if snapshot.ended:
        return f"{name} is gone: ask for a new one"
    if view.phase is Phase.PROVISIONING and view.outcome is None:
        running = next((step for step in view.steps if step.state is StepState.RUNNING), None)
        at = f" It is at the step {running.step}." if running else ""
        return f"{name} is still being made.{at} Follow it with: moorage watch {name}"
    return f"{name} is being torn down"
