"""The virtual clusters of environments: their kubeconfigs on the hosts, and connections with them.

Only the API process uses these kubeconfigs, which contain the chart's administrator certificate.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

from clients.errors import ClientError, Denied, Unreachable
from clients.host.kubeconfig import Kubeconfig
from clients.host.protocol import Host, VirtualCluster
from contracts.environment import SLEEP_PHASES, Environment, Phase, StepState
from starter.environments.reader import EnvironmentSnapshot
from starter.environments.schemas import USABLE_PHASES

#: Open connections. Each has a TLS context and some sockets; opening one costs two calls to the host.
MAX_CONNECTIONS = 200


class NotUsable(Exception):
    """The environment cannot be used now; the text says why."""


class Asleep(NotUsable):
    """The environment sleeps, or is being woken; the text says how to wake it."""


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
    """

    def __init__(self, hosts: Mapping[str, Host]) -> None:
        self._hosts = hosts
        self._opening: dict[str, asyncio.Lock] = {}
        self._open: OrderedDict[str, _Connection] = OrderedDict()

    async def kubeconfig(self, environment: Environment) -> Kubeconfig:
        """Return the administrator's kubeconfig; raise NotUsable if it is not there."""
        host = self._host(environment)
        # Check the namespace first, because that name may now belong to another life or another owner.
        namespace = await host.get_namespace(environment.derived_name)
        if namespace is None or not environment.mark.matches_labels(namespace.labels):
            raise NotUsable(_missing(environment))
        kubeconfig = await host.kubeconfig(environment.derived_name, environment.derived_name)
        if kubeconfig is None:
            raise NotUsable(_missing(environment))
        return kubeconfig

    @asynccontextmanager
    async def connect(self, environment: Environment) -> AsyncIterator[VirtualCluster]:
        """Connect as its administrator, or take an open connection.

        A connection that is refused or gets no answer is not used again: the vCluster may have another
        address or another authority now.

        Raises:
            NotUsable: The vCluster or its host is not there.
        """
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
