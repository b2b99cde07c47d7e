"""The observer of all calls to outside systems: one for the process, which counts and measures them.

Clients name the system as people know it; what the observer makes of that is its own matter.
"""

import functools
import time
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from clients.errors import (
    AlreadyExists,
    ClientError,
    DeadlineExceeded,
    Denied,
    MalformedAnswer,
    NotFound,
    NotYet,
    Rejected,
    ServerFailed,
    Throttled,
    Unreachable,
)

#: The results of calls. A class of errors has the result of its nearest base class here.
RESULTS: dict[type[ClientError], str] = {
    Unreachable: "unreachable",
    ServerFailed: "server_failed",
    Throttled: "throttled",
    MalformedAnswer: "malformed",
    Denied: "denied",
    Rejected: "rejected",
    NotYet: "not_yet",
    DeadlineExceeded: "not_started",
    NotFound: "not_found",
    AlreadyExists: "exists",
}
SUCCEEDED, FAILED = "ok", "other"

#: Gets the system, the result, and the seconds of a call that is over.
Observer = Callable[[str, str, float], None]


def _ignore(system: str, result: str, seconds: float) -> None:
    """Observe nothing: the process serves no metrics."""


_observer: Observer = _ignore


class _HasSystem(Protocol):
    @property
    def system(self) -> str: ...


_Client = TypeVar("_Client", bound=_HasSystem)
_P = ParamSpec("_P")
_T = TypeVar("_T")


def set_call_observer(observer: Observer | None) -> None:
    """Call the observer after each call of this process; None ends that."""
    global _observer
    _observer = observer or _ignore


def observed(
    call: Callable[Concatenate[_Client, _P], Coroutine[Any, Any, _T]],
) -> Callable[Concatenate[_Client, _P], Coroutine[Any, Any, _T]]:
    """Report each call of a client's method. A call that is cancelled counts as `other`."""

    async def observed_call(client: _Client, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        began, result = time.perf_counter(), FAILED
        try:
            answer = await call(client, *args, **kwargs)
            result = SUCCEEDED
            return answer
        except ClientError as error:
            result = result_of(error)
            raise
        finally:
            _observer(client.system, result, time.perf_counter() - began)

    functools.update_wrapper(observed_call, call)
    return observed_call


def result_of(error: ClientError) -> str:
    """Return the result of a call that has failed."""
    return next((RESULTS[kind] for kind in type(error).__mro__ if kind in RESULTS), FAILED)
