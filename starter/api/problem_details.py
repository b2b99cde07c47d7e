"""All errors of the API as problem details (RFC 9457): one sentence each, with the field that is wrong.

400 unreadable       404 not-found    409 refused, no-room, not-usable-yet    422 not-valid
401 who-are-you      405              413                                     429 too-often
403 not-allowed                                                               500 our-fault
                                                                              503 unavailable
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
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
from starter.api.request_models import EnvironmentRequest
from starter.config_files.validation_messages import sentence
from starter.environments.commands import KeyReused
from starter.environments.cursors import BadCursor
from starter.environments.planning import FieldProblem, NotValid
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

    type: str = Field(examples=["urn:moorage:problem:not-valid"])
    title: str = Field(examples=["The request cannot be granted as it is"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=['name: "My_Env" cannot be a name: at most 30 lower-case letters, …'])
    errors: list[FieldProblem] = []
    reason: str | None = None
    system: str | None = None
    latest: datetime | None = None
    next_end: datetime | None = None
    fits: list[str] = []


_TITLES = {
    "unreadable": "The request cannot be read",
    "who-are-you": "The API does not know who is asking",
    "not-allowed": "This is for others to decide",
    "not-found": "There is no such thing, or not for you",
    "refused": "The environment does not accept this now",
    "no-room": "There is no room for it now",
    "not-usable-yet": "The environment cannot be used yet",
    "not-valid": "The request cannot be granted as it is",
    "too-often": "The API is asked too often",
    "unavailable": "A system that is needed does not answer",
    "our-fault": "Moorage has failed",
}

_NO_ROOM = frozenset({RefusalReason.OVER_QUOTA, RefusalReason.NO_ROOM})


class ApiProblem(Exception):
    """An error that ends the request with problem details."""

    def __init__(
        self,
        status: HTTPStatus,
        kind: str,
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
            type=f"urn:moorage:problem:{kind}",
            title=_TITLES.get(kind, status.phrase),
            status=status,
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
        content = self.details.model_dump(mode="json", exclude_none=True)
        return _ProblemResponse(content, self.details.status, self.headers, MEDIA_TYPE)


class _ProblemResponse(JSONResponse):
    """JSON response that can quote any text of a request, also half a surrogate pair."""

    def render(self, content: Any) -> bytes:
        """Encode the problem as JSON."""
        return json.dumps(content, ensure_ascii=False).encode(errors="backslashreplace")


def no_environment(name: str) -> ApiProblem:
    """Build a 404 that does not reveal whether the name is free or the caller may not see it."""
    return ApiProblem(
        HTTPStatus.NOT_FOUND, "not-found", f'there is no environment "{name[:80]}" that you can see'
    )


def _unavailable(detail: str, system: str) -> ApiProblem:
    return ApiProblem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "unavailable",
        detail,
        system=system,
        headers={"Retry-After": RETRY_AFTER},
    )


def problem_of(error: Exception) -> ApiProblem | None:
    """Map an error of the inner modules to an ApiProblem; None for a bug of Moorage."""
    match error:
        case ApiProblem():
            return error
        case NotValid():
            return ApiProblem(HTTPStatus.UNPROCESSABLE_ENTITY, "not-valid", str(error), errors=error.problems)
        case KeyReused():
            message = "this key was used before, for a request that asks for something else: take a new one"
            return problem_of(NotValid([FieldProblem(field="Idempotency-Key", message=message)]))
        case BadCursor():
            problem = FieldProblem(field="cursor", message=str(error))
            return problem_of(NotValid([problem]))
        case NoCapacity() if error.refusal.reason is RefusalReason.NOT_KNOWN:
            return _unavailable(f"{error.refusal.message} Nothing was started: ask again.", "host cluster")
        case NoCapacity() if error.refusal.reason in _NO_ROOM:
            return ApiProblem(
                HTTPStatus.CONFLICT,
                "no-room",
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
                HTTPStatus.CONFLICT,
                "refused",
                refusal.message,
                errors=errors,
                reason=refusal.reason,
                latest=refusal.latest,
            )
        case WorkflowClosed():
            detail = "It has just ended: ask again."
            return ApiProblem(HTTPStatus.CONFLICT, "refused", detail, reason="being_torn_down")
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
            return problem_of(NotValid([_field_problem(detail) for detail in error.errors()]))
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
    status = HTTPStatus(error.status_code)
    if status is HTTPStatus.NOT_FOUND:
        return ApiProblem(status, "not-found", "there is nothing at this address")
    kind = "unreadable" if status is HTTPStatus.BAD_REQUEST else status.phrase.lower().replace(" ", "-")
    return ApiProblem(status, kind, str(error.detail), headers=error.headers)


def handle_problems(app: FastAPI) -> None:
    """Register handlers that answer every error of the application with problem details."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        problem = problem_of(error)
        if problem is None:
            _log.error("request failed", method=request.method, path=request.url.path, exc_info=error)
            detail = "This is a mistake in Moorage, and it is in its log: tell the platform team."
            problem = ApiProblem(HTTPStatus.INTERNAL_SERVER_ERROR, "our-fault", detail)
        return problem.response()

    for kind in (
        ApiProblem,
        NotValid,
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
    ):
        app.add_exception_handler(kind, answer)
