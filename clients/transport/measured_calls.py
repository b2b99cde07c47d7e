"""The calls of clients, for metrics: each with its system, its result for the caller, and its time.

A call may send several requests (`traced_requests`), and only their caller knows what they come to together.
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

#: Gets the system as people know it, the result, and the seconds of a call that is over.
Meter = Callable[[str, str, float], None]


def _ignore(system: str, result: str, seconds: float) -> None:
    """Measure nothing: the process serves no metrics."""


_meter: Meter = _ignore


class _HasSystem(Protocol):
    @property
    def system(self) -> str: ...


_Client = TypeVar("_Client", bound=_HasSystem)
_P = ParamSpec("_P")
_T = TypeVar("_T")


def measure_calls(meter: Meter | None) -> None:
    """Report each call of this process to the meter from now on; None ends that."""
    global _meter
    _meter = meter or _ignore


def measured(
    call: Callable[Concatenate[_Client, _P], Coroutine[Any, Any, _T]],
) -> Callable[Concatenate[_Client, _P], Coroutine[Any, Any, _T]]:
    """Report each call of a client's method. A call that is cancelled counts as `other`."""

    async def measured_call(client: _Client, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        began, result = time.perf_counter(), FAILED
        try:
            answer = await call(client, *args, **kwargs)
            result = SUCCEEDED
            return answer
        except ClientError as error:
            result = result_of(error)
            raise
        finally:
            _meter(client.system, result, time.perf_counter() - began)

    functools.update_wrapper(measured_call, call)
    return measured_call


def result_of(error: ClientError) -> str:
    """Return the result of a call that has failed."""
    return next((RESULTS[kind] for kind in type(error).__mro__ if kind in RESULTS), FAILED)
