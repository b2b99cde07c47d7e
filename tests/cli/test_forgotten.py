"""What is left of an environment that Temporal has forgotten, as the platform team meets it."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from clients.identity.scim import Scim
from contracts.types.naming import workflow_id
from embedded.stack.stack import Stack
from tests.cli.test_commands import cli_of
from tests.lifecycle.databases import PREFIX, Systems
from tests.support.stack import ALICE, BOB, unique
from tests.support.stand_ins import TLS
from tests.workflows.conftest import until

pytestmark = pytest.mark.slow


async def test_what_temporal_has_forgotten(stack: Stack, tmp_path: Path) -> None:
    """Ensures that owner marks alone find and remove a life, and that a stranger's group stays."""
    alice, bob = (cli_of(stack, tmp_path, person.email) for person in (ALICE, BOB))
    name = unique()
    assert (await bob("request", name, "small")).code == 0
    life = (await bob("show", name, "--output", "json")).json["life"]
    open_run = await alice("teardown", name, "--force", "--yes")
    assert (open_run.code, "its own workflow runs" in open_run.err) == (1, True)
    await _forget(stack, name)
    scim = Scim(
        stack.env["MOORAGE_IDENTITY__URL"],
        stack.env["MOORAGE_IDENTITY__TOKEN"],
        timeout=timedelta(seconds=20),
        verify=TLS,
    )
    [ours] = await scim.groups_by_name(f"{PREFIX}-{name}")
    await scim.delete_group(ours.id)
    strangers = await scim.create_group(f"{PREFIX}-{name}", "of another owner")

    async def is_shown_no_more() -> bool:
        return (await bob("show", name)).code == 3

    await until(is_shown_no_more, "it is shown no more")
    assert (await bob("teardown", name, "--force", "--yes")).code == 3, "a developer learns of it"
    again = await bob("request", name, "small")
    assert (again.code, f"moorage teardown {name} --force" in again.err) == (1, True), again.err
    unasked = await alice("teardown", name, "--force")
    assert (unasked.code, "--yes" in unasked.err) == (2, True)
    assert f"Temporal has forgotten life {life} of {name}" in unasked.err
    assert f"namespace {PREFIX}-{name} on host local" in unasked.err
    elsewhere = await alice("teardown", name, "--force", "--yes", "--host", "nowhere")
    assert (elsewhere.code, 'there is no host "nowhere"' in elsewhere.err) == (1, True)
    assert set(Systems(stack).holds(name)) > {"project", "namespace", "release"}

    forced = await alice("teardown", name, "--force", "--yes")
    assert forced.code == 0, forced.err
    assert f"{name} is gone (deleted)." in forced.out
    assert forced.out.count("nothing left") == 3, forced.out
    assert Systems(stack).holds(name) == {"IdP group": 1}
    assert [group.id for group in await scim.groups_by_name(f"{PREFIX}-{name}")] == [strangers.id]
    await scim.delete_group(strangers.id)
    await scim.close()
    history = await alice("history", name)
    assert "had what is left of it torn down" in history.out
    again = await alice("teardown", name, "--force", "--yes")
    assert (again.code, "nothing is left" in again.err) == (1, True)
    await _forget(stack, name, terminate=False)
    never = await alice("teardown", name, "--force", "--yes")
    assert (never.code, f"no run of {name} in Temporal can be read" in never.err) == (1, True), never.err


async def _forget(stack: Stack, name: str, *, terminate: bool = True) -> None:
    """Have Temporal forget the runs of a name, as after its retention."""
    client = await Client.connect(stack.temporal_address)
    handle = client.get_workflow_handle(workflow_id(name))
    if terminate:
        await handle.terminate()
    await client.workflow_service.delete_workflow_execution(
        DeleteWorkflowExecutionRequest(
            namespace=client.namespace, workflow_execution=WorkflowExecution(workflow_id=workflow_id(name))
        )
    )

    async def is_forgotten() -> bool:
        try:
            await handle.describe()
        except RPCError as error:
            return error.status is RPCStatusCode.NOT_FOUND
        await asyncio.sleep(0.1)
        return False

    await until(is_forgotten, "Temporal has forgotten it")
