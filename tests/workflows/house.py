"""A Temporal server of a test's own with all that gives places on hosts, which alone are not real.

The steps of environments are scripted, as in `scripted`; the hosts have what a test says.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.booking_end import Bookings
from activities.capacity.audit import CapacityAudit, CapacitySettings
from activities.capacity.standby_starts import Pools
from activities.capacity.wake_admission import WakeAdmission
from clients.errors import Unreachable
from clients.host.models import NodeCapacity
from contracts.capacity.models import (
    Amount,
    CapacityState,
    Limits,
    Quotas,
    Reservation,
    ReservationRequest,
    StateInput,
)
from contracts.capacity.sizes import size_of
from contracts.capacity.workflow_input import CapacityStart
from contracts.environment.chart_values import compose_values
from contracts.environment_workflow import TASK_QUEUE, EnvironmentStart
from contracts.types.naming import OwnerMark, workflow_id
from starter.environments.reader import EnvironmentReader
from starter.environments.requests.service import EnvironmentStarter, StartOutcome
from starter.placement.reservations import Reservations
from tests.support.temporal_server import running_temporal_server
from tests.support.workers import working
from tests.workflows.conftest import HURRY, Life, a_start, until
from tests.workflows.real_edge import RealEdge
from tests.workflows.scripted_activities import Script
from workflows.environment.workflow import EnvironmentWorkflow

#: A run goes on in a new one after so many events, instead of four thousand.
SHORT_RUNS = ("--dynamic-config-value", "limit.historyCount.suggestContinueAsNew=60")
#: What a test's environments hold: it is small, and the vCluster's own is on top.
SIZE = size_of(a_start("a").environment.template.size, compose_values(a_start("a").environment))
BLUE = StateInput(person="alice@example.com", teams=("blue",))


def name_of(scripted: Callable[..., Any]) -> str | None:
    """The name by which workflows call an activity."""
    return activity._Definition.must_from_callable(scripted).name


@dataclass
class Nodes:
    """A host: what its nodes say, or that it does not answer."""

    name: str
    nodes: list[NodeCapacity] | None = None
    is_away: bool = False

    async def allocatable(self) -> list[NodeCapacity] | None:
        if self.is_away:
            raise Unreachable(f"host cluster {self.name}", "list nodes", "it does not answer")
        return self.nodes


#: Activities that are scripted elsewhere, and real here.
_REAL = ("capacity.wake", "capacity.resize")


@dataclass
class CapacityBench:
    """Asks for places and environments as the API does."""

    server: WorkflowEnvironment
    client: Client
    hosts: dict[str, Nodes]
    admission: CapacitySettings
    start: CapacityStart
    script: Script = field(default_factory=Script)
    workers: int = 0
    #: The activities that workers have started, in order; not the further attempts of one that failed.
    started: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reservations = Reservations(self.client, start=self.start)

    @asynccontextmanager
    async def worker(self, version: str = "") -> AsyncIterator[Worker]:
        """A worker, of a version if one is named; leaving it stops it."""
        capacity = CapacityAudit(self.client, self.hosts, self.admission)  # type: ignore[arg-type]
        admission = WakeAdmission(self.client, self.admission)
        scripted = [each for each in self.script.activities() if name_of(each) not in _REAL]
        activities: list[Callable[..., Any]] = [*scripted, capacity.audit, capacity.resize, admission.admit]
        bookings = Bookings(self.client)
        activities += [Pools(self.client, HURRY).start, bookings.freeze, bookings.end_places]
        edge = [RealEdge("capacity.", "bookings.", started=self.started)]
        async with working(self.client, TASK_QUEUE, activities, interceptors=edge, version=version) as worker:
            yield worker

    def ask(self, name: str, request: str = "r-1", **fields: Any) -> ReservationRequest:
        """What alice asks for with the environment `name`."""
        return ReservationRequest(
            **{
                "name": name,
                "life": OwnerMark.for_request("testinstallation"[:16], name, request).life,
                "owner": "alice@example.com",
                "team": "blue",
                "template": "small",
                "size": SIZE,
                "hosts": tuple(self.hosts),
                "ends_at": datetime.now(UTC) + timedelta(hours=8),
            }
            | fields
        )

    async def request(
        self, name: str, request: str = "r-1", start: EnvironmentStart | None = None, **fields: Any
    ) -> StartOutcome:
        """Ask for an environment."""
        start = start or a_start(name, request_id=request)
        # Each request behaves as if from a separate process: only Temporal is shared.
        starter = EnvironmentStarter(self.client, EnvironmentReader(self.client), self.reservations)
        return await starter.start_or_join(start, self.ask(name, request, **fields))

    async def begin(self, name: str, request: str = "r-1", **fields: Any) -> Life:
        """An environment that is being made."""
        outcome = await self.request(name, request, **fields)
        return Life(a_start(name, request_id=request), self.script, self.handle(name), outcome.answer)

    def handle(self, name: str) -> WorkflowHandle[Any, Any]:
        return self.client.get_workflow_handle_for(EnvironmentWorkflow.run, workflow_id(name))

    async def state(self) -> CapacityState:
        return await self.reservations.state(BLUE)

    async def held(self) -> dict[str, Reservation]:
        """Who holds what, by name."""
        return {one.name: one for one in await self.reservations.list_reservations()}

    async def until_audited(self, times: int) -> None:
        """Wait until so many audits have looked at what is there now, and their results have been applied."""
        # The first of them may have started before, and the last is only one that starts: before it does,
        # the workflow has applied what the one before has found.
        wanted = self.started.count("capacity.audit") + times + 2

        async def there() -> bool:
            return self.started.count("capacity.audit") >= wanted

        await until(there, f"{times} audits have looked at it")

    async def until_held(self, *names: str, seconds: float = 20) -> None:
        async def there() -> bool:
            return set(await self.held()) == set(names)

        await until(there, f"exactly {sorted(names)} hold a place", seconds)


@asynccontextmanager
async def a_house(
    hosts: Mapping[str, Limits] | None = None,
    *,
    nodes: Mapping[str, Nodes] | None = None,
    audit: timedelta = timedelta(seconds=30),
    arguments: tuple[str, ...] = (),
    server: WorkflowEnvironment | None = None,
) -> AsyncIterator[CapacityBench]:
    """A house without a worker; its hosts have so much by the settings, or what their `nodes` say.

    It is the only one on `server`, in the namespace of its client. Without `server` it starts another.
    """
    hosts = hosts or {}
    known = {name: Nodes(name) for name in hosts} | dict(nodes or {})
    own = running_temporal_server(pydantic_data_converter, arguments)
    async with contextlib.nullcontext(server) if server else own as server:
        start = CapacityStart(first_audit_delay=timedelta(milliseconds=100))
        yield CapacityBench(server, server.client, known, CapacitySettings(dict(hosts), audit), start)


def most(environments: int | None = None, **fields: int) -> Limits:
    return Limits(environments=environments, **fields)


def team(limits: Limits) -> Quotas:
    return Quotas(team=limits)


async def at_once(count: int, coroutine: Any) -> list[Any]:
    """What comes of `count` calls that are made together."""
    return await asyncio.gather(*(coroutine(number) for number in range(count)), return_exceptions=True)


def times(size: Amount, count: int) -> Amount:
    return Amount().plus(size, count)
