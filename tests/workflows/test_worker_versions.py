"""Ensures that each run stays on one version of the workers, and moves to the current one between runs."""

import asyncio
import re
import shlex
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from temporalio.api.workflowservice.v1 import SetWorkerDeploymentCurrentVersionRequest
from temporalio.service import RPCError, RPCStatusCode

from contracts.capacity.models import CAPACITY_ID
from contracts.environment.models import Phase
from contracts.environment_workflow import ActorInput
from contracts.temporal.worker_versions import DEPLOYMENT, build_id_of
from contracts.types.naming import workflow_id
from embedded.stack.temporal_server import find_server
from starter.setup.check import Found, Kind
from starter.setup.temporal import Temporal
from tests.support.processes import CHECKOUT
from tests.workflows.conftest import LIFE, until
from tests.workflows.house import CapacityBench, a_house, most
from tests.workflows.scripted_activities import waits_for
from worker.settings.groups.expiry import Sweep
from workflows.environment.workflow import EnvironmentWorkflow

pytestmark = pytest.mark.slow

#: The command of docs/how-to/upgrade.md for runs whose version has no workers any more.
DOCUMENTED = r"^\$ (temporal workflow update-options (?:.*\\\n)*.*)$"
#: The server has not seen the version's workers yet, or is still at work on what they said.
NOT_YET = (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.RESOURCE_EXHAUSTED)


@pytest.fixture
async def house() -> AsyncIterator[CapacityBench]:
    async with a_house({"one": most(50)}, audit=timedelta(milliseconds=300)) as house:
        yield house


async def doctor(house: CapacityBench) -> Found:
    """What `moorage doctor` says of the versions."""
    temporal = Temporal(house.client.data_converter, Sweep())
    temporal._client = house.client
    return await temporal._versions()


async def make_current(house: CapacityBench, version: str) -> None:
    """As `temporal worker deployment set-current-version`, once the version has registered."""
    request = SetWorkerDeploymentCurrentVersionRequest(
        namespace=house.client.namespace, deployment_name=DEPLOYMENT, build_id=version
    )

    async def done() -> bool:
        try:
            await house.client.workflow_service.set_worker_deployment_current_version(request)
        except RPCError as error:
            if error.status not in NOT_YET:
                raise
            return False
        return True

    await until(done, f"{version} is current")


async def until_on(house: CapacityBench, version: str, *ids: str) -> None:
    """Wait until the open runs of these workflows are pinned to the version."""

    async def moved() -> bool:
        query = "ExecutionStatus = 'Running'"
        on = {
            run.id: build_id_of(run.typed_search_attributes)
            async for run in house.client.list_workflows(query)
        }
        return {id: on.get(id) for id in ids} == dict.fromkeys(ids, version)

    await until(moved, f"{ids} run on {version}")


async def ready(house: CapacityBench, name: str) -> None:
    await house.begin(name)

    async def is_ready() -> bool:
        return (await house.handle(name).query(EnvironmentWorkflow.status)).phase is Phase.READY

    await until(is_ready, f"{name} is ready")


async def test_idle_runs_move_to_the_current_version_and_back(house: CapacityBench) -> None:
    kept, ids = "kept", (CAPACITY_ID, workflow_id("kept"))
    async with house.worker("v1"):
        await make_current(house, "v1")
        await ready(house, kept)
        await until_on(house, "v1", *ids)
        before = await house.handle(kept).query(EnvironmentWorkflow.status)
        async with house.worker("v2"):
            await make_current(house, "v2")
            await until_on(house, "v2", *ids)
            await until(lambda: says(house, '"v2" is current'), "the doctor needs nothing else")
            assert await house.handle(kept).query(EnvironmentWorkflow.status) == before
            await make_current(house, "v1")
            await until_on(house, "v1", *ids)
        await house.handle(kept).execute_update(EnvironmentWorkflow.delete, ActorInput(actor="a", life=LIFE))
        await house.handle(kept).result()


async def says(house: CapacityBench, words: str) -> bool:
    return (await doctor(house)).detail == words


async def test_what_began_without_versions_moves_as_well(house: CapacityBench) -> None:
    async with house.worker():
        assert (await doctor(house)).detail == "workers have no versions"
        await ready(house, "old")
    async with house.worker("v1"):

        async def registered() -> bool:
            return (await doctor(house)).kind is Kind.BY_HAND

        await until(registered, "the doctor misses a current version")
        assert '"v1"' in (await doctor(house)).detail
        await make_current(house, "v1")
        await until_on(house, "v1", CAPACITY_ID, workflow_id("old"))


async def test_the_doctor_names_the_version_that_is_still_needed(house: CapacityBench) -> None:
    async with house.worker("v1"):
        await make_current(house, "v1")
        house.script.before["vcluster.ensure"] = waits_for(goes_on := asyncio.Event())
        await house.begin("coming")
        await until_on(house, "v1", workflow_id("coming"))
        async with house.worker("v2"):
            await make_current(house, "v2")
            await until_on(house, "v2", CAPACITY_ID)
            wanted = '"v2" is current; still needed: "v1" by 1 open run'
            await until(lambda: says(house, wanted), "the doctor names the run that is not idle")
            goes_on.set()
            await until_on(house, "v2", workflow_id("coming"))


async def test_the_documented_command_moves_the_runs_of_a_version_without_workers(
    house: CapacityBench,
) -> None:
    async with house.worker("1.4.2"):
        await make_current(house, "1.4.2")
        await ready(house, "lost")
        await until_on(house, "1.4.2", CAPACITY_ID, workflow_id("lost"))
    async with house.worker("1.5.0"):
        await make_current(house, "1.5.0")
        text = (CHECKOUT / "docs" / "how-to" / "upgrade.md").read_text()
        [command] = re.findall(DOCUMENTED, text, re.MULTILINE)
        words = shlex.split(command.replace("\\\n", ""))[1:]
        address = house.client.service_client.config.target_host
        process = await asyncio.create_subprocess_exec(
            find_server(), *words, "--yes", "--address", address, stderr=asyncio.subprocess.STDOUT
        )
        assert await process.wait() == 0
        await until_on(house, "1.5.0", CAPACITY_ID, workflow_id("lost"))
