"""What Temporal answers to the API, and the errors that users get for it."""

from datetime import timedelta

import pytest
from structlog.testing import capture_logs
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from contracts.temporal import search_attributes
from starter.temporal.errors import TemporalUnavailable, map_rpc_errors
from starter.temporal.updates import map_update_errors
from tests.support.deadline import HANG
from worker.codec import KeyMissing


async def ask(server: WorkflowEnvironment, namespace: str, id: str) -> None:
    """Ask for a workflow of the namespace."""
    target = server.client.service_client.config.target_host
    client = await Client.connect(target, namespace=namespace)
    with map_rpc_errors():
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


async def test_update_that_the_worker_cannot_read_is_about_its_keys() -> None:
    """Ensures that a worker without the API's key is not reported as a fault of Moorage."""
    refused = ApplicationError("Failed decoding arguments", type="RuntimeError")
    refused.__cause__ = ApplicationError('something is encrypted with the key "b"', type=KeyMissing.__name__)
    with pytest.raises(KeyMissing, match=r'a worker cannot read .* with the key "b"'):
        async with map_update_errors(timedelta(seconds=HANG)):
            raise WorkflowUpdateFailedError(refused)
    other = WorkflowUpdateFailedError(ApplicationError("Failed decoding arguments", type="RuntimeError"))
    with pytest.raises(WorkflowUpdateFailedError):
        async with map_update_errors(timedelta(seconds=HANG)):
            raise other


def failed(status: RPCStatusCode) -> RPCError:
    return RPCError("value size 2141 exceeds size limit 2048", status, b"")


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (RPCStatusCode.INVALID_ARGUMENT, "does not accept this .INVALID_ARGUMENT., and will not"),
        (RPCStatusCode.INTERNAL, "fails .INTERNAL.: ask again in a while"),
        (RPCStatusCode.UNKNOWN, "fails .UNKNOWN.: ask again in a while"),
        (RPCStatusCode.ABORTED, "fails .ABORTED.: ask again in a while"),
    ],
)
def test_unexpected_answer_leaves_a_log_line(status: RPCStatusCode, sentence: str) -> None:
    """Ensures that the platform team finds the detail in the log that the user does not get."""
    with capture_logs() as logs, pytest.raises(TemporalUnavailable, match=sentence), map_rpc_errors():
        raise failed(status)
    assert [(line["log_level"], line["status"]) for line in logs] == [("error", status.name)]
    assert "2141" in logs[0]["message"]


@pytest.mark.parametrize("status", [RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED])
def test_outage_is_not_logged_for_each_who_asks(status: RPCStatusCode) -> None:
    """Ensures that a server that is away does not fill the log."""
    with capture_logs() as logs, pytest.raises(TemporalUnavailable), map_rpc_errors():
        raise failed(status)
    assert logs == []


@pytest.mark.parametrize("size", [search_attributes.MAX_VALUE_BYTES, search_attributes.MAX_VALUE_BYTES + 1])
async def test_limit_of_a_list_of_keywords(temporal_server: WorkflowEnvironment, size: int) -> None:
    """Ensures that the limit at the door is that of the server, to the byte."""
    people = [f"{number:0100}" for number in range(19)]
    people.append("x" * (size - search_attributes.value_size([*people, ""])))
    assert search_attributes.value_size(people) == size
    starting = temporal_server.client.start_workflow(
        "NeverTaken",
        id=f"limit-{size}",
        task_queue="no-worker",
        search_attributes=TypedSearchAttributes(
            [SearchAttributePair(search_attributes.COLLABORATORS, people)]
        ),
    )
    if size == search_attributes.MAX_VALUE_BYTES:
        await (await starting).terminate()
        return
    with pytest.raises(RPCError, match="exceeds size limit") as error:
        await starting
    assert error.value.status is RPCStatusCode.INVALID_ARGUMENT
