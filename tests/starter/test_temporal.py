"""What Temporal answers to the API, and what people are told of it."""

import pytest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from starter.temporal import TemporalUnavailable, told


async def ask(server: WorkflowEnvironment, namespace: str, id: str) -> None:
    """Ask for a workflow of the namespace."""
    target = server.client.service_client.config.target_host
    client = await Client.connect(target, namespace=namespace)
    with told():
        await client.get_workflow_handle(id).describe()


async def test_a_namespace_that_is_not_there(temporal_server: WorkflowEnvironment) -> None:
    """Ensures that an API with a wrong namespace says so, and not that nothing is found."""
    with pytest.raises(TemporalUnavailable, match="does not have the namespace of this API"):
        await ask(temporal_server, "nobodys", "environment/demo")


@pytest.mark.parametrize("name", ["namespaced", "namespace-not-found", "demo"])
async def test_a_workflow_that_is_not_there(temporal_server: WorkflowEnvironment, name: str) -> None:
    """Ensures that no name of an environment makes "not found" look like a wrong setting."""
    with pytest.raises(RPCError) as error:
        await ask(temporal_server, "default", f"environment/{name}")
    assert error.value.status is RPCStatusCode.NOT_FOUND
