"""The errors of steps, and the one place that translates any error into one that Temporal carries.

Steps raise these, or let a `clients.errors.ClientError` pass; `translate` gives both the type, the message
and the details of `contracts.errors`. Only text that Moorage wrote, or that a client truncated, gets through:
the text of an unexpected exception may quote a credential.
"""

import traceback
from datetime import timedelta
from typing import ClassVar

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCError

from clients import errors as client
from contracts.errors import PERMANENT, ErrorType, StepErrorDetails


class StepError(Exception):
    """A step cannot be done: `cause` is a sentence, `remedy` says what a person can do about it.

    `ambiguous`: the step may have had an effect, or may still have one, despite the error. `final`: this
    activity must not be retried, even where its type alone would allow it.
    """

    type: ClassVar[ErrorType]

    def __init__(
        self, system: str, cause: str, remedy: str, *, ambiguous: bool = False, final: bool = False
    ) -> None:
        self.system = system
        self.cause = as_sentence(cause)
        self.remedy = as_sentence(remedy)
        self.ambiguous = ambiguous
        self.final = final
        super().__init__(self.cause)


class Conflict(StepError):
    """A resource of that name exists and is not ours. No step touches it."""

    type = ErrorType.CONFLICT


class NotConfigured(StepError):
    """The environment needs a system that this worker's settings do not name."""

    type = ErrorType.INVALID_REQUEST


class NotAccepted(StepError):
    """Data from a system, or data for it, has a form that Moorage rejects."""

    type = ErrorType.INVALID_REQUEST


class PersonUnknown(StepError):
    """A directory does not know a person."""

    type = ErrorType.UNKNOWN_PERSON


class NeverReady(StepError):
    """A resource that was started has failed and will not become ready without help."""

    type = ErrorType.NEVER_READY


class NotYet(StepError):
    """A resource is not there yet, or something blocks it: a retry may succeed."""

    type = ErrorType.NOT_YET


class Interrupted(StepError):
    """The step was stopped while it waited: by its workflow if `final`, else by a worker shutdown."""

    type = ErrorType.INTERRUPTED

    def __init__(self, *, waiting_for: str, final: bool, ambiguous: bool = False) -> None:
        why = "it was cancelled" if final else "its worker is stopping"
        super().__init__(
            "Moorage",
            f"Stopped because {why}, while waiting for {waiting_for or 'an answer'}",
            "Nothing: it is being undone" if final else "Nothing: another worker takes it up",
            ambiguous=ambiguous,
            final=final,
        )


_Meaning = tuple[ErrorType, str]

#: What an error of a client means, most specific class first, and what a person can do about it.
_MEANINGS: tuple[tuple[type[client.ClientError], _Meaning], ...] = (
    (
        client.DeadlineExceeded,
        (ErrorType.INTERRUPTED, "Nothing: another try takes it up, or it is being undone"),
    ),
    (client.Unreachable, (ErrorType.UNAVAILABLE, "See that {system} is up and reachable from the worker")),
    (client.ServerFailed, (ErrorType.UNAVAILABLE, "See that {system} is well, then try again")),
    (
        client.MalformedAnswer,
        (
            ErrorType.UNAVAILABLE,
            "See that the address of {system} in the settings leads to it and not a proxy",
        ),
    ),
    (client.Throttled, (ErrorType.THROTTLED, "Wait, or have the limits of {system} raised")),
    (
        client.Denied,
        (
            ErrorType.ACCESS_DENIED,
            "Renew the credentials for {system} in the settings, or grant the missing right",
        ),
    ),
    (client.InUse, (ErrorType.NOT_YET, "See what in {system} still belongs to it")),
    (client.NotYet, (ErrorType.NOT_YET, "Wait; if it stays so, look at it in {system}")),
    (client.Rejected, (ErrorType.INVALID_REQUEST, "Correct the template or the request as {system} says")),
    # A step depends on a resource that is not there (any more). Another step made it, so it may only not be
    # visible yet.
    (client.NotFound, (ErrorType.NOT_YET, "See who has deleted it in {system}")),
    (client.AlreadyExists, (ErrorType.CONFLICT, "Choose another name, or remove what is there in {system}")),
)

#: These types are a normal part of waiting and stopping, so Temporal does not report them as failures.
_EXPECTED = frozenset({ErrorType.NOT_YET, ErrorType.INTERRUPTED, ErrorType.OTHER_QUEUE})


def translate(error: Exception, *, is_retry: bool) -> ApplicationError:
    """Return the error that Temporal carries for `error`: type, message, whether and when to retry.

    `is_retry`: this was not the first attempt, so an earlier one may have had an effect whose response was
    lost.
    """
    if isinstance(error, ApplicationError):
        return error
    if isinstance(error, client.ClientError):
        kind, remedy = _meaning(error)
        return _application_error(
            error,
            kind,
            as_sentence(
                f"{error.system} could not {error.operation}: {error.detail or 'it does not say why'}"
            ),
            StepErrorDetails(
                system=error.system,
                remedy=as_sentence(remedy.format(system=error.system)),
                in_doubt=is_retry or error.ambiguous,
            ),
            retry_after=error.retry_after if isinstance(error, client.Throttled) else None,
        )
    if isinstance(error, StepError):
        return _application_error(
            error,
            error.type,
            error.cause,
            StepErrorDetails(system=error.system, remedy=error.remedy, in_doubt=is_retry or error.ambiguous),
            final=error.final,
        )
    if isinstance(error, RPCError):
        # Only the expiry sweep and the capacity audit call Temporal from an activity.
        return _application_error(
            error,
            ErrorType.UNAVAILABLE,
            f"Temporal could not answer: {error.status.name}.",
            StepErrorDetails(
                system="Temporal",
                remedy="See that the Temporal server is well, and that the workers are not overloaded.",
                in_doubt=True,
            ),
        )
    return _internal_error(error)


def as_sentence(text: str) -> str:
    """Return `text` as one sentence: a capital letter first, a full stop last."""
    text = " ".join(text.split()).rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


def _meaning(error: client.ClientError) -> _Meaning:
    return next(
        (meaning for kind, meaning in _MEANINGS if isinstance(error, kind)),
        (ErrorType.UNAVAILABLE, "Look at {system}"),
    )


def _application_error(
    error: Exception,
    kind: ErrorType,
    message: str,
    details: StepErrorDetails,
    *,
    retry_after: timedelta | None = None,
    final: bool = False,
) -> ApplicationError:
    return ApplicationError(
        message,
        details,
        type=kind.value,
        non_retryable=final or kind in PERMANENT,
        next_retry_delay=retry_after,
        category=(
            ApplicationErrorCategory.BENIGN if kind in _EXPECTED else ApplicationErrorCategory.UNSPECIFIED
        ),
    ).with_traceback(error.__traceback__)


def _internal_error(error: Exception) -> ApplicationError:
    """Return the error for a bug: its class and its place, without its text.

    The text stays out because it may quote data that could not be parsed.
    """
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].name}, line {frames[-1].lineno}" if frames else ""
    details = StepErrorDetails(
        system="Moorage",
        remedy="Report it: this is a fault of Moorage itself.",
        # The bug may have occurred after a call that changed something.
        in_doubt=True,
    )
    return ApplicationError(
        f"Moorage met an unforeseen {type(error).__name__}{place}.", details, type=type(error).__name__
    ).with_traceback(error.__traceback__)
