"""Thousands of open environments for a benchmark: ready from the start, without having been made."""

import asyncio
from collections.abc import Set
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest

from benchmarks.support.harness import Ground
from contracts.environment.models import Environment, Spec
from contracts.environment_workflow import TASK_QUEUE, EnvironmentStart
from contracts.templates.template import Chart, Size, Template, TimeToLive
from contracts.types.naming import OwnerMark, request_id
from tests.support.seeding import ready_status, seed

#: Environments that are started at one time.
SEEDS_AT_ONCE = 40
#: Settings without a scheduled sweep, and without a capacity audit, which would find thousands of lives
#: without a reservation: only seeded lives start like that.
UNDISTURBED = {"MOORAGE_SWEEP__INTERVAL": "30d", "MOORAGE_CAPACITY__AUDIT": "30d"}

_TEMPLATE = Template(
    name="small",
    version=1,
    description="a benchmark's",
    chart=Chart(version="0.34.0"),
    kubernetes="v1.36.0",
    size=Size(cpu="1", memory="1Gi", storage="1Gi", pods=10),
    ttl=TimeToLive(default="8h", maximum="3d", warnings=()),
)


async def seed_all(here: Ground, names: list[str], over: Set[str] = frozenset()) -> None:
    """Start environments that are ready, `over` of them past their end; return when all are listed."""
    gate = asyncio.Semaphore(SEEDS_AT_ONCE)
    now = datetime.now(UTC)

    async def one(name: str) -> None:
        async with gate:
            start = _start(here, name)
            ends_at = now - timedelta(minutes=1) if name in over else now + timedelta(hours=4)
            await seed(here.client, start, ready_status(start, ends_at), task_queue=TASK_QUEUE)

    await asyncio.gather(*map(one, names))
    first = names[0].partition("-")[0]
    found = f"WorkflowId STARTS_WITH 'environment/{first}-' AND ExecutionStatus = 'Running'"
    await here.until(found, len(names))
    # One that has not started cannot be asked anything: the sweep would wait for that, and be measured by it.
    while True:
        if not await _waiting_tasks(here):
            return
        await asyncio.sleep(0.5)


async def _waiting_tasks(here: Ground) -> int:
    """Tasks that no worker has taken yet."""
    answer = await here.client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=here.client.namespace,
            task_queue=TaskQueue(name=TASK_QUEUE),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
            report_stats=True,
        )
    )
    return answer.stats.approximate_backlog_count


def _start(here: Ground, name: str) -> EnvironmentStart:
    person = here.stack.options.people[0].email
    id = request_id(person, name, "bench")
    return EnvironmentStart(
        environment=Environment(
            mark=OwnerMark.for_request(here.stack.installation, name, id),
            prefix="mrg",
            owner=person,
            spec=Spec(template=_TEMPLATE.name, team="local"),
            template=_TEMPLATE,
            ttl=_TEMPLATE.ttl.default,
            host="local",
            has_identity_provider=True,
        ),
        request_id=id,
        people_are_checked=True,
    )
