"""Errors between the API and Temporal: Temporal is unavailable, or no worker answers.

These two cases differ for the caller, so each has its own exception.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.service import RPCError, RPCStatusCode

#: Timeout of a call to Temporal that needs no worker: the server answers in milliseconds, or has a problem.
CALL_TIMEOUT = timedelta(seconds=5)
#: Timeout of a query to a worker. A worker answers in milliseconds; a user should not wait longer to learn
#: that no worker answers.
QUERY_TIMEOUT = timedelta(seconds=2)
#: Timeout of an update, which a worker has to accept. It is longer than the 10 s after which the server gives
#: a task that a worker has lost to the next worker, and shorter than the timeouts of callers.
UPDATE_TIMEOUT = timedelta(seconds=20)
#: Timeout of an update when no worker has just answered a query, or when the result can be read in another
#: way.
SHORT_UPDATE_TIMEOUT = timedelta(seconds=5)

#: Length of an unexpected error message in the log, in characters: enough to know the cause.
LOGGED_MESSAGE = 500

_log = structlog.get_logger(__name__)

NO_WORKER = "No worker is answering"


class TemporalUnavailable(Exception):
    """Temporal does not answer, or refuses this API; the text is a sentence for users."""


class NoWorker(Exception):
    """Temporal answers but no worker does, so a worker may still execute the change later, or not."""


class NothingStarted(NoWorker):
    """No worker answers, and nothing was started: a retry is safe, and needed."""


@contextmanager
def map_rpc_errors() -> Iterator[None]:
    """Map RPC errors in the block to TemporalUnavailable, except NOT_FOUND of a workflow."""
    try:
        yield
    except RPCError as error:
        # A missing workflow is a valid answer, but a missing namespace is a wrong setting.
        if error.status is RPCStatusCode.NOT_FOUND and not _is_about_the_namespace(error):
            raise
        sentence = _SENTENCES.get(error.status)
        if sentence is None:
            # This status is unexpected, so log its message; the caller gets only the name of the status.
            message = error.message[:LOGGED_MESSAGE]
            _log.error("Temporal answers what was not expected", status=error.status.name, message=message)
            fails = _REFUSES if error.status in _FINAL else _FAILS
            sentence = fails.format(error.status.name)
        raise TemporalUnavailable(sentence) from error


def _is_about_the_namespace(error: RPCError) -> bool:
    # Do not check the message: it contains the name in the request, which the caller chooses freely.
    return any(detail.Is(NamespaceNotFoundFailure.DESCRIPTOR) for detail in error.grpc_status.details)


#: Status codes for which a retry gets the same answer.
_FINAL = frozenset({RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.OUT_OF_RANGE, RPCStatusCode.UNIMPLEMENTED})
_REFUSES = (
    "Temporal does not accept this ({}), and will not when it is asked again: tell the platform team, which "
    "finds more in the log of the API."
)
_FAILS = "Temporal fails ({}): ask again in a while; if it lasts, tell the platform team."
_SENTENCES = {
    RPCStatusCode.NOT_FOUND: "Temporal does not have the namespace of this API: tell the platform team.",
    RPCStatusCode.UNAVAILABLE: "Temporal cannot be reached: ask again in a while.",
    RPCStatusCode.DEADLINE_EXCEEDED: "Temporal gave no answer in time: ask again in a while.",
    RPCStatusCode.CANCELLED: "Temporal gave no answer in time: ask again in a while.",
    # The last workflow task has failed, because of a missing encryption key or an error in the code.
    RPCStatusCode.FAILED_PRECONDITION: "A worker fails at it again and again: tell the platform team, whose "
    "`moorage doctor` and worker's log say why.",
    RPCStatusCode.RESOURCE_EXHAUSTED: "Temporal has more to do than it can: ask again in a moment.",
    RPCStatusCode.UNAUTHENTICATED: "Temporal refuses the credentials of this API: tell the platform team.",
    RPCStatusCode.PERMISSION_DENIED: "Temporal refuses the credentials of this API: tell the platform team.",
}
