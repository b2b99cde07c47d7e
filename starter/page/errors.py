"""All errors of the page as pages, in the words of the API's problem details."""

from typing import Any, TypeVar

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from contracts.telemetry.trace_context import current_trace_id
from contracts.types.printable_text import escape
from starter.api.app import API_ROOT
from starter.api.problem_details import EXPECTED_ERRORS, ApiProblem, ProblemType, to_problem
from starter.page.rendering import page

_log = structlog.get_logger(__name__)

_Model = TypeVar("_Model", bound=BaseModel)


def handle_problems(pages: FastAPI) -> None:
    """Register the handlers that answer every error of a page with a page."""

    async def answer(request: Request, error: Exception) -> Response:
        problem = problem_of(error, request)
        # A program has mistyped an address of the API.
        is_api = request.url.path.startswith(f"{API_ROOT}/")
        return problem.response() if is_api else problem_page(request, problem)

    for kind in EXPECTED_ERRORS:
        pages.add_exception_handler(kind, answer)


def api_request(model: type[_Model], **fields: Any) -> _Model:
    """Return the API's request of a form; raise RequestValidationError, which has the words of the API."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        found = [one | {"loc": ("body", *one["loc"])} for one in error.errors()]
        raise RequestValidationError(found) from None


def problem_of(error: Exception, request: Request) -> ApiProblem:
    """Return the problem of an error. An error without one is logged, and reported as a fault of Moorage."""
    problem = to_problem(error)
    if problem is None:
        _log.error("page failed", method=request.method, path=request.url.path, exc_info=error)
        detail = "This is a mistake in Moorage, and it is in its log: tell the platform team."
        problem = ApiProblem(ProblemType.INTERNAL_ERROR, detail)
    # A sentence repeats what was typed, and one character in that can turn the order of all that follows.
    errors = [each.model_copy(update={"message": escape(each.message)}) for each in problem.details.errors]
    changes = {"detail": escape(problem.details.detail), "errors": errors}
    problem.details = problem.details.model_copy(update=changes)
    return problem


def problem_page(request: Request, problem: ApiProblem) -> Response:
    """Return the page of a problem."""
    response = page(
        request,
        "problem.html",
        status=problem.details.status,
        problem=problem.details,
        trace=current_trace_id(),
    )
    response.headers.update(problem.headers)
    return response
