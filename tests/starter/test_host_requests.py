"""Ensures that an error of a worker beside a host reaches the API as that of a client of the host."""

from datetime import timedelta
from typing import Any, cast

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutError, TimeoutType

from clients.errors import ClientError, Denied, NotYet, Rejected, Throttled, Unreachable
from contracts.errors import ErrorType
from contracts.host_requests import HostAnswer, HostRequest, HostRequestKind
from contracts.types.naming import OwnerMark
from starter.environments.health import ListedEnvironment
from starter.host_workers.requests import HostRequests, request_about
from tests.starter.test_chart_check import environment

REQUEST = HostRequest(
    kind=HostRequestKind.CLUSTER,
    host="eu",
    mark=OwnerMark(installation="i" * 12, name="demo", life="0" * 20),
    derived_name="mrg-demo",
)


@pytest.mark.parametrize("standby", [None, OwnerMark(installation="i" * 12, name="standby-1", life="1" * 20)])
def test_a_request_has_the_names_that_its_environment_may_have_on_its_host(standby: OwnerMark | None) -> None:
    """Ensures that an environment with a standby is found, also by a list, under the name of the standby."""
    one = environment().model_copy(update={"standby": standby})
    listed = ListedEnvironment(one.mark, one.host, one.prefix, standby.name if standby else "")
    assert len(one.host_names) == (2 if standby else 1)
    for asked in (one, listed):
        request = request_about(asked, HostRequestKind.HEALTH)
        assert request.host_names == one.host_names
        assert (request.host, request.mark, request.derived_name) == (one.host, one.mark, one.derived_name)


class Temporal:
    """A client whose only workflow ends as the test says."""

    def __init__(self, end: HostAnswer | BaseException) -> None:
        self.end = end
        self.started: dict[str, Any] = {}

    async def start_workflow(self, *_: Any, **options: Any) -> "Temporal":
        self.started = options
        return self

    async def result(self) -> HostAnswer:
        if isinstance(self.end, HostAnswer):
            return self.end
        raise WorkflowFailureError(cause=self.end)


def _failed(cause: BaseException) -> ActivityError:
    error = ActivityError(
        "failed",
        scheduled_event_id=1,
        started_event_id=2,
        identity="",
        activity_type="host.answer",
        activity_id="1",
        retry_state=None,
    )
    error.__cause__ = cause
    return error


def _requests(temporal: Temporal) -> HostRequests:
    return HostRequests(cast(Client, temporal))


async def test_the_request_is_in_the_queue_of_its_host() -> None:
    temporal = Temporal(HostAnswer(certificate="c"))
    assert (await _requests(temporal).send(REQUEST)).certificate == "c"
    assert temporal.started["task_queue"] == "moorage-undo-host-eu"
    assert temporal.started["id"].startswith("host-request/eu/")


@pytest.mark.parametrize(
    ("cause", "error"),
    [
        (ApplicationError("no", type=ErrorType.ACCESS_DENIED), Denied),
        (ApplicationError("no", type=ErrorType.INVALID_REQUEST), Rejected),
        (ApplicationError("no", type=ErrorType.NOT_YET), NotYet),
        (ApplicationError("no", type=ErrorType.UNAVAILABLE), Unreachable),
        (ApplicationError("no", type="KeyError"), Unreachable),
    ],
    ids=lambda value: getattr(value, "type", None) or value.__name__,
)
async def test_an_error_of_the_worker_is_one_of_a_client(
    cause: ApplicationError, error: type[ClientError]
) -> None:
    with pytest.raises(error, match="no") as failure:
        await _requests(Temporal(_failed(cause))).send(REQUEST)
    assert failure.value.system == "host cluster eu"


async def test_a_pause_that_the_host_asks_for_is_passed_on() -> None:
    cause = ApplicationError("slow", type=ErrorType.THROTTLED, next_retry_delay=timedelta(seconds=7))
    with pytest.raises(Throttled) as failure:
        await _requests(Temporal(_failed(cause))).send(REQUEST)
    assert failure.value.retry_after == timedelta(seconds=7)


async def test_no_worker_is_said_with_its_queue() -> None:
    end = TimeoutError("late", type=TimeoutType.START_TO_CLOSE, last_heartbeat_details=[])
    with pytest.raises(Unreachable, match=r"no worker beside it answers .*moorage-undo-host-eu"):
        await _requests(Temporal(end)).send(REQUEST)
