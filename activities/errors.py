"""What a step can say went wrong, and the one place where any error becomes one that Temporal carries.

Steps raise these, or let a `clients.errors.ClientError` pass; `translate` gives both the type, the words
and the details of `contracts.errors`. Nothing that Moorage did not word itself, or a client did not cut
to size, gets through: the text of an unforeseen exception may quote a credential.
"""

import traceback
from datetime import timedelta
from typing import ClassVar

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCError

from clients import errors as client
from contracts.errors import PERMANENT, ErrorType, StepErrorDetails


class StepError(Exception):
    """A step cannot be done: `cause` is a sentence, `remedy` what a person can do about it.

    `ambiguous`: something of the step may have happened, or may still happen, all the same. `final`: this
    activity shall not be tried again, also where its type alone would allow it.
    """

    type: ClassVar[ErrorType]

    def __init__(
        self, system: str, cause: str, remedy: str, *, ambiguous: bool = False, final: bool = False
    ) -> None:
        self.system = system
        self.cause = sentence(cause)
        self.remedy = sentence(remedy)
        self.ambiguous = ambiguous
        self.final = final
        super().__init__(self.cause)


class Conflict(StepError):
    """Something of that name is there and is not ours. Nobody touches it."""

    type = ErrorType.CONFLICT


class NotConfigured(StepError):
    """The environment needs a system that this worker's settings do not name."""

    type = ErrorType.INVALID_REQUEST


class NotAccepted(StepError):
    """What a system gave, or would have to take, is not of a form that we let pass."""

    type = ErrorType.INVALID_REQUEST


class PersonUnknown(StepError):
    """A directory does not know somebody."""

    type = ErrorType.UNKNOWN_PERSON


class NeverReady(StepError):
    """What was started has failed and will not become ready by itself."""

    type = ErrorType.NEVER_READY


class NotYet(StepError):
    """Not there yet, or something holds it: worth another try."""

    type = ErrorType.NOT_YET


class Interrupted(StepError):
    """The step was told to stop while it waited: by its workflow if `final`, else by its worker's end."""

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

#: What an error of a client means, most specific first, and what a person can do about it.
_MEANINGS: tuple[tuple[type[client.ClientError], _Meaning], ...] = (
    (
        client.DeadlineExceeded,
        (ErrorType.INTERRUPTED, "Nothing: another try takes it up, or it is being undone"),
    ),
    (client.Unreachable, (ErrorType.UNAVAILABLE, "See that {system} is up and reachable from the worker")),
    (client.ServerFailed, (ErrorType.UNAVAILABLE, "See that {system} is well, then try again")),
    (
        client.Unintelligible,
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
    # What a step relies on is not there (any more): made by another step, it may only not be visible yet.
    (client.NotFound, (ErrorType.NOT_YET, "See whether somebody has deleted it in {system}")),
    (client.AlreadyExists, (ErrorType.CONFLICT, "Choose another name, or remove what is there in {system}")),
)

#: Nobody needs to be told of these: they are how waiting and stopping look.
_EXPECTED = frozenset({ErrorType.NOT_YET, ErrorType.INTERRUPTED})


def translate(error: Exception, *, again: bool) -> ApplicationError:
    """The one error that Temporal carries for `error`: its type, its words, whether to try again and when.

    `again`: this was not the first try, so an earlier one may have done something that nobody heard of.
    """
    if isinstance(error, ApplicationError):
        return error
    if isinstance(error, client.ClientError):
        kind, remedy = _meaning(error)
        return _application_error(
            error,
            kind,
            sentence(f"{error.system} could not {error.operation}: {error.detail or 'it does not say why'}"),
            StepErrorDetails(
                system=error.system,
                remedy=sentence(remedy.format(system=error.system)),
                in_doubt=again or error.ambiguous,
            ),
            retry_after=error.retry_after if isinstance(error, client.Throttled) else None,
        )
    if isinstance(error, StepError):
        return _application_error(
            error,
            error.type,
            error.cause,
            StepErrorDetails(system=error.system, remedy=error.remedy, in_doubt=again or error.ambiguous),
            final=error.final,
        )
    if isinstance(error, RPCError):
        # Only those activities call Temporal that look through it: the sweep and the audit.
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
    return _fault_of_ours(error)


def sentence(text: str) -> str:
    """`text` as one sentence: a capital first, a full stop last."""
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


def _fault_of_ours(error: Exception) -> ApplicationError:
    """A bug, by its class and its place. Its text stays out: it may quote what could not be parsed."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].name}, line {frames[-1].lineno}" if frames else ""
    details = StepErrorDetails(
        system="Moorage",
        remedy="Report it: this is a fault of Moorage itself.",
        # It may have struck after a call that changed something.
        in_doubt=True,
    )
    return ApplicationError(
        f"Moorage met an unforeseen {type(error).__name__}{place}.", details, type=type(error).__name__
    ).with_traceback(error.__traceback__)
