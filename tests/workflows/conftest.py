"""A real Temporal server, an in-process worker with scripted activities, and environments to ask for."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WithStartWorkflowOperation, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from contracts.environment.models import Environment, EnvironmentStatus, Spec
from contracts.environment_workflow import Answer, EnvironmentStart, LifecycleTimeouts, RequestInput
from contracts.templates.supported_charts import NEWEST_TESTED
from contracts.templates.template import Chart, Size, Template, TimeToLive
from contracts.temporal.workflow_memo import build_memo
from contracts.types.naming import OwnerMark, life_id, workflow_id
from tests.support.deadline import HANG, pauses
from tests.support.temporal_server import running_temporal_server
from tests.support.workers import working
from tests.workflows.scripted_activities import Script
from workflows.environment.workflow import EnvironmentWorkflow

#: Everything that takes minutes in earnest takes fractions of a second here.
HURRY = LifecycleTimeouts(
    late_response_window=timedelta(seconds=0.5),
    heartbeat_timeout=timedelta(seconds=2),
    first_retry=timedelta(milliseconds=20),
    longest_retry=timedelta(milliseconds=100),
    step_timeout=timedelta(seconds=20),
    undo_timeout=timedelta(seconds=2),
    first_pause=timedelta(milliseconds=100),
    longest_pause=timedelta(milliseconds=200),
    give_up_after=timedelta(seconds=30),
)

#: The request of all starts that do not say which, and the life that it starts.
REQUEST_ID = "r-1"
LIFE = life_id(REQUEST_ID)

_NUMBERS = itertools.count(1)
#: Longest pause between two looks, in seconds: most ask a workflow, which has to be replayed or to answer.
LONGEST_PAUSE = 0.15


def a_start(
    name: str, *, timeouts: LifecycleTimeouts = HURRY, identity: bool = True, request_id: str = REQUEST_ID
) -> EnvironmentStart:
    """A request of alice's for the environment `name`."""
    template = Template(
        name="small",
        version=1,
        description="small",
        chart=Chart(version=NEWEST_TESTED),
        kubernetes="1.36",
        size=Size(cpu="1", memory="1Gi", storage="1Gi", pods=10),
        ttl=TimeToLive(default="8h", maximum="3d"),
    )
    return EnvironmentStart(
        environment=Environment(
            mark=OwnerMark.for_request("testinstallation"[:16], name, request_id),
            prefix="t",
            owner="alice@example.com",
            spec=Spec(template="small", team="blue"),
            template=template,
            ttl=timedelta(hours=8),
            host="one",
            has_identity_provider=identity,
        ),
        request_id=request_id,
        people_are_checked=True,
        timeouts=timeouts,
    )


@pytest.fixture(scope="package")
async def server() -> AsyncIterator[WorkflowEnvironment]:
    async with running_temporal_server(pydantic_data_converter) as environment:
        yield environment


#: More than there are tests with capacity, which there is once in each namespace, as in an installation.
NAMESPACES = tuple(f"house-{number}" for number in range(200))
#: Temporal's own work in a namespace, such as schedules, takes a worker in each.
WITHOUT_OWN_WORK = ("--dynamic-config-value", "worker.perNamespaceWorkerCount=0")


@pytest.fixture(scope="package")
async def namespaces() -> AsyncIterator[tuple[str, Iterator[str]]]:
    """One server for all that need a namespace to themselves: its address, and names not yet taken."""
    arguments = [word for name in NAMESPACES for word in ("--namespace", name)]
    arguments += WITHOUT_OWN_WORK
    async with running_temporal_server(pydantic_data_converter, arguments) as first:
        yield first.client.service_client.config.target_host, iter(NAMESPACES)


@pytest.fixture
async def namespace(namespaces: tuple[str, Iterator[str]]) -> WorkflowEnvironment:
    """A namespace in which nothing is yet."""
    address, names = namespaces
    client = await Client.connect(address, namespace=next(names), data_converter=pydantic_data_converter)
    return WorkflowEnvironment.from_client(client)


@dataclass(frozen=True)
class Life:
    """One environment under test: what to ask of it, and the script that its steps follow."""

    start: EnvironmentStart
    script: Script
    handle: WorkflowHandle[EnvironmentWorkflow, EnvironmentStatus]
    answer: Answer

    async def status(self) -> EnvironmentStatus:
        return await self.handle.query(EnvironmentWorkflow.status)


@dataclass(frozen=True)
class Bench:
    """Asks for environments as the API does, on a worker of the test's own."""

    client: Client
    task_queue: str
    script: Script
    #: The names of the environments that were asked for.
    names: set[str] = field(default_factory=set)

    async def ask(
        self, start: EnvironmentStart, ask: RequestInput | None = None, *, id: str | None = None
    ) -> Answer:
        """Send a request by update-with-start, like the API."""
        self.names.add(start.environment.name)
        ask = ask or RequestInput(
            owner=start.environment.owner, spec=start.environment.spec, request_id=start.request_id
        )
        operation = WithStartWorkflowOperation(
            EnvironmentWorkflow.run,
            start,
            id=workflow_id(start.environment.name),
            task_queue=self.task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            memo=build_memo(start),
        )
        return await self.client.execute_update_with_start_workflow(
            EnvironmentWorkflow.request, ask, start_workflow_operation=operation, id=id
        )

    async def begin(self, start: EnvironmentStart | None = None) -> Life:
        """Ask for a new environment."""
        start = start or a_start(f"env-{next(_NUMBERS)}")
        answer = await self.ask(start)
        handle: WorkflowHandle[EnvironmentWorkflow, Any] = self.client.get_workflow_handle_for(
            EnvironmentWorkflow.run, workflow_id(start.environment.name)
        )
        return Life(start, self.script, handle, answer)


@pytest.fixture
async def bench(server: WorkflowEnvironment) -> AsyncIterator[Bench]:
    async with a_bench(server) as bench:
        yield bench


@asynccontextmanager
async def a_bench(server: WorkflowEnvironment) -> AsyncIterator[Bench]:
    bench = Bench(server.client, f"queue-{next(_NUMBERS)}", Script())
    async with working(server.client, bench.task_queue, bench.script.activities()):
        yield bench
    # No worker serves these runs any more: a later test that asks for such a name would wait for ever.
    for name in bench.names:
        with suppress(RPCError):
            await server.client.get_workflow_handle(workflow_id(name)).terminate()


async def accepted_updates(handle: WorkflowHandle[Any, Any]) -> int:
    """How many updates the history of the run has; other events may come at any time on a busy machine."""
    kind = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED
    return len([event async for event in handle.fetch_history_events() if event.event_type == kind])


async def until(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = HANG) -> None:
    """Wait until `condition` holds; fail with `what` did not happen."""
    looks = pauses(0.02, LONGEST_PAUSE)
    ends = asyncio.get_running_loop().time() + seconds
    while not await condition():
        assert asyncio.get_running_loop().time() < ends, f"within {seconds} s it did not happen that {what}"
        await asyncio.sleep(next(looks))
