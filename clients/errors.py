"""What can go wrong in talking to an outside system, in one tree.

    ClientError
    ├── Unreachable      no answer: refused, timed out, cut                 try again
    ├── ServerFailed     5xx                                                try again
    ├── Throttled        429, with the delay asked for                      try again, later
    ├── Unintelligible   an answer that is not of the agreed form           try again, a few times
    ├── Denied           401, 403                                           a person has to act
    ├── Rejected         400, 422 and what else the system will not accept  a person has to act
    │   └── InUse        will not delete what something still belongs to    try again, when that is gone
    ├── NotYet           there, but what was asked of it is not ready       try again
    ├── DeadlineExceeded          not begun: whoever asked has gone on without it    nobody is there to try
    ├── NotFound         404 and its other spellings
    └── AlreadyExists    409 and its other spellings

Clients raise these; `activities/` decides what they mean for an environment.
"""

from datetime import timedelta

#: Longest piece of a system's own words that is carried along: enough to recognise the cause, too
#: little to flood a history or a log when a proxy answers with a page.
MAX_DETAIL = 300


#: Where something was left out of a text.
CUT = " … "


def shorten(text: str, limit: int) -> str:
    """Give the text in one line of at most `limit` characters, without its middle where it is longer.

    The beginning says what failed, the end why: errors that wrap others have their cause last.
    """
    text = " ".join(text.split())
    if len(text) <= limit:
        return text
    head = (limit - len(CUT)) // 3
    return f"{text[:head].rstrip()}{CUT}{text[len(text) - (limit - len(CUT) - head) :].lstrip()}"


class ClientError(Exception):
    """One failed call: which system, which operation, and what the system said.

    `ambiguous` is true when the system may have done the thing, or may still do it, although the
    call failed. Messages never hold credentials, and of a system's own text at most `MAX_DETAIL`
    characters.
    """

    retryable = False

    def __init__(self, system: str, operation: str, detail: str, *, ambiguous: bool = False) -> None:
        self.system = system
        self.operation = operation
        self.detail = shorten(detail, MAX_DETAIL)
        self.ambiguous = ambiguous
        super().__init__(f"{system}: {operation}: {self.detail}")


class Unreachable(ClientError):
    """No answer came. Not ambiguous when the connection was never made."""

    retryable = True


class ServerFailed(ClientError):
    """The system, or a gateway before it, failed. Always ambiguous for a call that changes something."""

    retryable = True

    def __init__(
        self, system: str, operation: str, detail: str, *, status: int, ambiguous: bool = True
    ) -> None:
        self.status = status
        super().__init__(system, operation, detail, ambiguous=ambiguous)


class Throttled(ClientError):
    """The system refused for now; `retry_after` is the delay that it asked for, if it named one."""

    retryable = True

    def __init__(self, system: str, operation: str, detail: str, *, retry_after: timedelta | None) -> None:
        self.retry_after = retry_after
        super().__init__(system, operation, detail)


class Unintelligible(ClientError):
    """The answer is not of the agreed form: HTML from a proxy, a truncated body, a missing field."""

    retryable = True


class Denied(ClientError):
    """Credentials are missing, wrong or expired, or lack a right."""


class Rejected(ClientError):
    """The system understood and will not accept it as it is."""


class InUse(Rejected):
    """The system will not delete it while something still belongs to it, so far as one can tell."""

    retryable = True


class NotYet(ClientError):
    """The thing is there, and what was asked of it is still being made."""

    retryable = True


class DeadlineExceeded(ClientError):
    """It was not begun: its time was over, and whoever wanted it has gone on without it."""

    retryable = True


class NotFound(ClientError):
    """There is no such thing."""


class AlreadyExists(ClientError):
    """There is such a thing already, whoever made it."""
