"""What can go wrong between the API and Temporal, in the two ways that differ for who asks."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.service import RPCError, RPCStatusCode

#: One call to Temporal that needs no worker: it answers in milliseconds, or something is wrong with it.
CALL_PATIENCE = timedelta(seconds=5)
#: A question to a worker. It answers in milliseconds; a person who looks should not wait longer to learn
#: that none does.
QUERY_PATIENCE = timedelta(seconds=2)
#: A change that a worker has to take. Longer than the 10 s after which the server hands a task that a worker
#: has lost to the next one; shorter than the patience of who asks.
UPDATE_PATIENCE = timedelta(seconds=20)
#: The same, when the worker has just not answered a question, or when there is another way to know.
SHORT_PATIENCE = timedelta(seconds=5)

#: Of the words of an unexpected answer, in characters: enough to know the cause.
LOGGED_MESSAGE = 500

_log = structlog.get_logger(__name__)

NO_WORKER = "No worker is answering"


class TemporalUnavailable(Exception):
    """Temporal does not answer, or refuses this API; the text is a sentence for people."""


class NoWorker(Exception):
    """Temporal answers and no worker does, so a change may or may not still be taken."""


class NothingStarted(NoWorker):
    """The same before anything was started: asking again is safe, and needed."""


@contextmanager
def told() -> Iterator[None]:
    """Errors of calls in it become `TemporalUnavailable`, but for a workflow that is not found."""
    try:
        yield
    except RPCError as error:
        # No such workflow is an answer; no such namespace is a wrong setting.
        if error.status is RPCStatusCode.NOT_FOUND and not _is_about_the_namespace(error):
            raise
        sentence = _SENTENCES.get(error.status)
        if sentence is None:
            # Nobody has foreseen it, and who asks is told no more than its name.
            message = error.message[:LOGGED_MESSAGE]
            _log.error("Temporal answers what was not expected", status=error.status.name, message=message)
            fails = _REFUSES if error.status in _FINAL else _FAILS
            sentence = fails.format(error.status.name)
        raise TemporalUnavailable(sentence) from error


def _is_about_the_namespace(error: RPCError) -> bool:
    # Not by the message: that holds the name of what was looked for, which is anybody's choice.
    return any(detail.Is(NamespaceNotFoundFailure.DESCRIPTOR) for detail in error.grpc_status.details)


#: What it would answer again, however often it is asked.
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
    # Of a workflow whose last task has failed: with a key that is gone, or a mistake in the code.
    RPCStatusCode.FAILED_PRECONDITION: "A worker fails at it again and again: tell the platform team, whose "
    "`moorage doctor` and worker's log say why.",
    RPCStatusCode.RESOURCE_EXHAUSTED: "Temporal has more to do than it can: ask again in a moment.",
    RPCStatusCode.UNAUTHENTICATED: "Temporal refuses the credentials of this API: tell the platform team.",
    RPCStatusCode.PERMISSION_DENIED: "Temporal refuses the credentials of this API: tell the platform team.",
}
