"""All errors of the API as problem details (RFC 9457): one sentence each, with the field that is wrong."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from clients.errors import ClientError, Denied
from contracts.errors import RefusalReason
from contracts.telemetry.trace_context import current_trace_id
from starter.api.request_models import EnvironmentRequest
from starter.auth.policy import NotAllowed
from starter.auth.rate_limit import Limited
from starter.bookings.reader import BookingNotFound
from starter.bookings.service import WrongCode
from starter.config_files.validation_messages import sentence
from starter.environments.access import EnvironmentNotFound
from starter.environments.credentials.virtual_clusters import Asleep, NotUsable
from starter.environments.lists.cursors import BadCursor
from starter.environments.requests.service import KeyReused
from starter.expiry.sweep_runs import UnknownSweep
from starter.request_errors import FieldProblem, InvalidRequest
from starter.temporal.errors import NO_WORKER, NothingStarted, NoWorker, TemporalUnavailable
from starter.temporal.updates import NoCapacity, Refused, WorkflowClosed
from worker.codec import DecodeError

MEDIA_TYPE = "application/problem+json"
#: Retry-After of a 503, in seconds: systems recover within minutes, and there are many clients.
RETRY_AFTER = "5"

_log = structlog.get_logger(__name__)


class ProblemDetails(BaseModel):
    """Problem details of RFC 9457. `reason` distinguishes refusals; `system` is the unavailable system.

    `latest` is the latest end that an extension can have. If there is no capacity, `next_end` is when the
    next environment that is in the way ends, and `fits` has templates that would fit.
    """

    type: str = Field(examples=["urn:moorage:problem:invalid"])
    title: str = Field(examples=["The request is not valid"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=['name: "My_Env" cannot be a name: at most 30 lower-case letters, …'])
    errors: list[FieldProblem] = []
    reason: str | None = None
    system: str | None = None
    latest: datetime | None = None
    next_end: datetime | None = None
    fits: list[str] = []
    trace: str | None = Field(
        default=None, description="the id of the request's trace, which is in Moorage's logs as well"
    )


class ProblemType(StrEnum):
    """The end of a problem's `type`, with its status and description (the problem's title)."""

    status: HTTPStatus
    description: str

    def __new__(cls, value: str, status: HTTPStatus, description: str) -> "ProblemType":
        """Create a member with its status and title."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.status = status
        member.description = description
        return member

    UNREADABLE = "unreadable", HTTPStatus.BAD_REQUEST, "The request cannot be read"
    UNAUTHENTICATED = "unauthenticated", HTTPStatus.UNAUTHORIZED, "A valid token is required"
    FORBIDDEN = "forbidden", HTTPStatus.FORBIDDEN, "Forbidden"
    NOT_FOUND = "not-found", HTTPStatus.NOT_FOUND, "It does not exist, or you cannot see it"
    METHOD_NOT_ALLOWED = "method-not-allowed", HTTPStatus.METHOD_NOT_ALLOWED, "Method not allowed"
    REFUSED = "refused", HTTPStatus.CONFLICT, "The environment does not accept this now"
    NO_CAPACITY = "no-capacity", HTTPStatus.CONFLICT, "No host has capacity for it now"
    NOT_USABLE = "not-usable", HTTPStatus.CONFLICT, "The environment cannot be used now"
    ASLEEP = "asleep", HTTPStatus.CONFLICT, "The environment is asleep"
    TOO_LARGE = "too-large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The request is too large"
    INVALID = "invalid", HTTPStatus.UNPROCESSABLE_ENTITY, "The request is not valid"
    TOO_MANY_REQUESTS = "too-many-requests", HTTPStatus.TOO_MANY_REQUESTS, "Too many requests"
    INTERNAL_ERROR = "internal-error", HTTPStatus.INTERNAL_SERVER_ERROR, "Moorage has failed"
    UNAVAILABLE = "unavailable", HTTPStatus.SERVICE_UNAVAILABLE, "A required system does not answer"


_TYPE_OF_STATUS = {
    type.status: type
    for type in (
        ProblemType.UNREADABLE,
        ProblemType.UNAUTHENTICATED,
        ProblemType.FORBIDDEN,
        ProblemType.NOT_FOUND,
        ProblemType.METHOD_NOT_ALLOWED,
        ProblemType.TOO_LARGE,
    )
}
_NO_CAPACITY_REASONS = frozenset({RefusalReason.OVER_QUOTA, RefusalReason.NO_ROOM})


class ApiProblem(Exception):
    """An error that ends the request with problem details."""

    def __init__(
        self,
        type: ProblemType,
        detail: str,
        *,
        errors: Sequence[FieldProblem] = (),
        reason: str | None = None,
        system: str | None = None,
        latest: datetime | None = None,
        next_end: datetime | None = None,
        fits: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.headers = dict(headers or {})
        self.details = ProblemDetails(
            type=f"urn:moorage:problem:{type}",
            title=type.description,
            status=type.status,
            detail=detail,
            errors=list(errors),
            reason=reason,
            system=system,
            latest=latest,
            next_end=next_end,
            fits=list(fits),
        )
        super().__init__(detail)

    def response(self) -> JSONResponse:
        """Return the HTTP response with the problem details."""
        details = self.details.model_copy(update={"trace": current_trace_id() or None})
        content = details.model_dump(mode="json", exclude_none=True)
        return _ProblemResponse(content, self.details.status, self.headers, MEDIA_TYPE)


class _ProblemResponse(JSONResponse):
    """JSON response that can quote any text of a request, also half a surrogate pair."""

    def render(self, content: Any) -> bytes:
        """Encode the problem as JSON."""
        return json.dumps(content, ensure_ascii=False).encode(errors="backslashreplace")


def _unavailable(detail: str, system: str) -> ApiProblem:
    return ApiProblem(ProblemType.UNAVAILABLE, detail, system=system, headers={"Retry-After": RETRY_AFTER})


def too_many(what: str, limited: Limited) -> ApiProblem:
    """Return the problem of a caller who is over a rate limit."""
    return ApiProblem(
        ProblemType.TOO_MANY_REQUESTS,
        f"too many {what}: try again in {limited.retry_after} s",
        headers={"Retry-After": str(limited.retry_after)},
    )


def to_problem(error: Exception) -> ApiProblem | None:
    """Map an error of the inner modules to an ApiProblem; None for a bug of Moorage."""
    match error:
        case ApiProblem():
            return error
        case EnvironmentNotFound():
            return ApiProblem(ProblemType.NOT_FOUND, str(error))
        case BookingNotFound():
            return ApiProblem(ProblemType.NOT_FOUND, str(error))
        case WrongCode():
            return to_problem(InvalidRequest([FieldProblem(field="code", message=str(error))]))
        case UnknownSweep():
            return ApiProblem(ProblemType.NOT_FOUND, "there is no such sweep")
        case NotAllowed():
            return ApiProblem(ProblemType.FORBIDDEN, str(error))
        case Asleep():
            return ApiProblem(ProblemType.ASLEEP, str(error))
        case NotUsable():
            return ApiProblem(ProblemType.NOT_USABLE, str(error))
        case InvalidRequest():
            return ApiProblem(ProblemType.INVALID, str(error), errors=error.problems)
        case KeyReused():
            message = "this key was used before, for a request that asks for something else: take a new one"
            return to_problem(InvalidRequest([FieldProblem(field="Idempotency-Key", message=message)]))
        case BadCursor():
            problem = FieldProblem(field="cursor", message=str(error))
            return to_problem(InvalidRequest([problem]))
        case NoCapacity() if error.refusal.reason is RefusalReason.NOT_KNOWN:
            return _unavailable(f"{error.refusal.message} Nothing was started: ask again.", "host cluster")
        case NoCapacity() if error.refusal.reason in _NO_CAPACITY_REASONS:
            return ApiProblem(
                ProblemType.NO_CAPACITY,
                error.refusal.message,
                reason=error.refusal.reason,
                next_end=error.next_end,
                fits=error.fits,
            )
        case Refused():
            refusal = error.refusal
            errors = [
                FieldProblem(field=name, message="differs from what is there") for name in refusal.fields
            ]
            return ApiProblem(
                ProblemType.REFUSED,
                refusal.message,
                errors=errors,
                reason=refusal.reason,
                latest=refusal.latest,
            )
        case WorkflowClosed():
            detail = "It has just ended: ask again."
            return ApiProblem(ProblemType.REFUSED, detail, reason="being_torn_down")
        case TemporalUnavailable():
            return _unavailable(str(error), "Temporal")
        case DecodeError():
            _log.error("what Temporal keeps cannot be read", cause=str(error))
            return _unavailable(
                "What Temporal keeps of it cannot be decrypted: tell the platform team.", "Temporal"
            )
        case NothingStarted():
            detail = f"{NO_WORKER}, so nothing was started: ask again in a while."
            return _unavailable(detail, "Moorage worker")
        case NoWorker():
            detail = f"{NO_WORKER}: what you asked for may still be taken up. Look, and ask again in a while."
            return _unavailable(detail, "Moorage worker")
        case Denied():
            detail = f"{error.system} refuses Moorage's credentials: tell the platform team."
            return _unavailable(detail, error.system)
        case ClientError():
            return _unavailable(f"{error.system} does not answer as it should: {error.detail}", error.system)
        case RequestValidationError():
            return to_problem(InvalidRequest([_field_problem(detail) for detail in error.errors()]))
        case HTTPException():
            return _of_http(error)
    return None


def _field_problem(detail: Any) -> FieldProblem:
    where, *path = detail["loc"]
    if detail["type"] == "json_invalid":
        return FieldProblem(field="body", message="is not JSON")
    if not path:
        return FieldProblem(field=str(where), message=f"{sentence(detail, EnvironmentRequest)}: send JSON")
    message = sentence(detail | {"loc": tuple(path)}, EnvironmentRequest)
    return FieldProblem(field=".".join(map(str, path)), message=message)


def _of_http(error: HTTPException) -> ApiProblem:
    type = _TYPE_OF_STATUS.get(HTTPStatus(error.status_code), ProblemType.UNREADABLE)
    if type is ProblemType.NOT_FOUND:
        return ApiProblem(type, "there is nothing at this address")
    return ApiProblem(type, str(error.detail), headers=error.headers)


#: Errors that have a handler, because Starlette logs every other one as a fault of the application.
EXPECTED_ERRORS: tuple[type[Exception], ...] = (
    ApiProblem,
    EnvironmentNotFound,
    BookingNotFound,
    WrongCode,
    UnknownSweep,
    NotAllowed,
    NotUsable,
    InvalidRequest,
    KeyReused,
    BadCursor,
    Refused,
    WorkflowClosed,
    TemporalUnavailable,
    DecodeError,
    NoWorker,
    ClientError,
    RequestValidationError,
    HTTPException,
    Exception,
)


def handle_problems(app: FastAPI) -> None:
    """Register handlers that answer every error of the application with problem details."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        problem = to_problem(error)
        if problem is None:
            _log.error("request failed", method=request.method, path=request.url.path, exc_info=error)
            detail = "This is a mistake in Moorage, and it is in its log: tell the platform team."
            problem = ApiProblem(ProblemType.INTERNAL_ERROR, detail)
        return problem.response()

    for kind in EXPECTED_ERRORS:
        app.add_exception_handler(kind, answer)
