"""The errors of calls to outside systems, in one class tree.

    ClientError
    ├── Unreachable       no answer: refused, timed out, cut                    retry
    ├── ServerFailed      5xx                                                   retry
    ├── Throttled         429, with the requested delay                         retry, later
    ├── MalformedAnswer   the answer does not have the agreed form              retry, a few times
    ├── Denied            401, 403                                              a person has to act
    ├── Rejected          400, 422 and all else that the system does not accept a person has to act
    │   └── InUse         cannot delete it while something belongs to it        retry, when that is gone
    ├── NotYet            it exists, but is not ready for the request           retry
    ├── DeadlineExceeded  not started: the caller has continued without it      no caller is left to retry
    ├── NotFound          404 and its equivalents
    └── AlreadyExists     409 and its equivalents

Clients raise these; `activities/` decides what they mean for an environment.
"""

from datetime import timedelta

#: Maximum length of a system's own message in an error: enough to recognise the cause, too little to flood
#: a history or a log when a proxy answers with a page.
MAX_DETAIL = 300


#: Marks where `shorten` left out a part of a text.
CUT = " … "


def shorten(text: str, limit: int) -> str:
    """Return the text in one line of at most `limit` characters; cut the middle of a longer one.

    The beginning says what failed, the end says why: errors that wrap others have their cause last.
    """
    text = " ".join(text.split())
    if len(text) <= limit:
        return text
    head = (limit - len(CUT)) // 3
    return f"{text[:head].rstrip()}{CUT}{text[len(text) - (limit - len(CUT) - head) :].lstrip()}"


class ClientError(Exception):
    """One failed call: the system, the operation, and the system's message.

    `ambiguous` is true when the system may have done the operation, or may still do it, although the call
    failed. Messages never hold credentials, and at most `MAX_DETAIL` characters of a system's own text.
    """

    retryable = False

    def __init__(self, system: str, operation: str, detail: str, *, ambiguous: bool = False) -> None:
        self.system = system
        self.operation = operation
        self.detail = shorten(detail, MAX_DETAIL)
        self.ambiguous = ambiguous
        super().__init__(f"{system}: {operation}: {self.detail}")


class Unreachable(ClientError):
    """No answer came; not ambiguous when the connection was never established."""

    retryable = True


class ServerFailed(ClientError):
    """The system, or a gateway before it, failed; ambiguous for every call that changes data."""

    retryable = True

    def __init__(
        self, system: str, operation: str, detail: str, *, status: int, ambiguous: bool = True
    ) -> None:
        self.status = status
        super().__init__(system, operation, detail, ambiguous=ambiguous)


class Throttled(ClientError):
    """The system refused the call for now; `retry_after` is the delay that it requested, if any."""

    retryable = True

    def __init__(self, system: str, operation: str, detail: str, *, retry_after: timedelta | None) -> None:
        self.retry_after = retry_after
        super().__init__(system, operation, detail)


class MalformedAnswer(ClientError):
    """The answer is malformed: HTML from a proxy, a truncated body, a missing field."""

    retryable = True


class Denied(ClientError):
    """Credentials are missing, wrong or expired, or lack a right."""


class Rejected(ClientError):
    """The system understood the request and does not accept it."""


class InUse(Rejected):
    """The system cannot delete an object to which something else belongs, as far as we know."""

    retryable = True


class NotYet(ClientError):
    """The object exists, but what the call needs from it is still being created."""

    retryable = True


class DeadlineExceeded(ClientError):
    """The call was not started: its deadline has passed, and the caller has moved on."""

    retryable = True


class NotFound(ClientError):
    """The object does not exist."""


class AlreadyExists(ClientError):
    """The object exists already, created by any caller."""
