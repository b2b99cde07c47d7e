"""Sends requests of the API to the workers beside hosts, by a short workflow in the queue of the host."""

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NoReturn, Protocol

from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutError

from clients.errors import ClientError, Denied, MalformedAnswer, NotYet, Rejected, Throttled, Unreachable
from contracts.environment.models import System
from contracts.environment_workflow import TASK_QUEUE, undo_queue
from contracts.errors import ErrorType
from contracts.host_requests import (
    HOST_REQUEST_ID,
    HOST_REQUEST_WORKFLOW,
    HostAnswer,
    HostRequest,
    HostRequestKind,
)
from contracts.temporal.foreign_payload import RejectedPayload
from contracts.temporal.task_queues import system_queue
from contracts.types.naming import OwnerMark
from starter.temporal.errors import CALL_TIMEOUT, map_rpc_errors

#: A person waits. This is longer than the worker's own time for an answer, so that its error arrives.
ANSWER_TIMEOUT = timedelta(seconds=20)


class Located(Protocol):
    """The properties of an environment that a request to its host needs; `Environment` has them."""

    @property
    def mark(self) -> OwnerMark:
        """The owner mark of its namespace."""

    @property
    def host(self) -> str:
        """The name of its host."""

    @property
    def host_names(self) -> tuple[str, ...]:
        """The names that its namespace and its release may have; the last is its own."""


def request_about(environment: Located, kind: HostRequestKind, **fields: Any) -> HostRequest:
    """Return a request to the worker beside the environment's host."""
    *standby, derived = environment.host_names
    return HostRequest(
        kind=kind,
        host=environment.host,
        mark=environment.mark,
        derived_name=derived,
        standby_name=standby[0] if standby else "",
        **fields,
    )


class HostRequests:
    """Asks the workers beside hosts."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def send(self, request: HostRequest) -> HostAnswer:
        """Return the answer.

        Raises:
            ClientError: What the worker has met, or Unreachable if none answers; as a client of the host.
            TemporalUnavailable: Temporal cannot be asked.
        """
        queue = system_queue(undo_queue(TASK_QUEUE), System.HOST_CLUSTER, request.host)
        with map_rpc_errors():
            handle = await self._client.start_workflow(
                HOST_REQUEST_WORKFLOW,
                request,
                id=f"{HOST_REQUEST_ID}/{request.host}/{secrets.token_hex(16)}",
                task_queue=queue,
                result_type=HostAnswer,
                execution_timeout=ANSWER_TIMEOUT,
                rpc_timeout=CALL_TIMEOUT,
            )
            try:
                answer = await handle.result()
            except WorkflowFailureError as error:
                _raise(error.cause, request, queue)
        if isinstance(answer, RejectedPayload):
            raise MalformedAnswer(_name(request), request.kind, "Moorage did not write the answer")
        found: HostAnswer = answer
        return found


def _name(request: HostRequest) -> str:
    return f"host cluster {request.host}"


#: What the errors of the activity are to a caller of a client; all others are Unreachable.
_ERRORS: Mapping[str, type[Denied | Rejected | NotYet]] = {
    ErrorType.ACCESS_DENIED: Denied,
    ErrorType.INVALID_REQUEST: Rejected,
    ErrorType.NOT_YET: NotYet,
}


def _raise(error: BaseException, request: HostRequest, queue: str) -> NoReturn:
    cause = error.cause if isinstance(error, ActivityError) else error
    raise _client_error(cause, request, queue) from None


def _client_error(cause: BaseException | None, request: HostRequest, queue: str) -> ClientError:
    # What had no answer may have been done nevertheless.
    if isinstance(cause, ApplicationError):
        if cause.type == ErrorType.THROTTLED:
            return Throttled(_name(request), request.kind, cause.message, retry_after=cause.next_retry_delay)
        kind = _ERRORS.get(cause.type or "")
        if kind is not None:
            return kind(_name(request), request.kind, cause.message, ambiguous=True)
        return Unreachable(_name(request), request.kind, cause.message, ambiguous=True)
    why = f"no worker beside it answers (task queue {queue})"
    detail = why if isinstance(cause, TimeoutError) else str(cause)
    return Unreachable(_name(request), request.kind, detail, ambiguous=True)
