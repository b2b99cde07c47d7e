"""The errors of a Kubernetes API server as it writes them: a `Status` with reason, code and message."""

from typing import Any

from starlette.responses import JSONResponse, Response


class ApiError(Exception):
    """The API server refuses a request; `reason` and `code` are those of a Kubernetes `Status`."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(message)

    def response(self) -> Response:
        """Return it as a response."""
        return JSONResponse(_status("Failure", str(self), self.reason, self.code), status_code=self.code)


def bad_request(message: str) -> ApiError:
    """Return the error for a request that cannot be read."""
    return ApiError(400, "BadRequest", message)


def not_found(resource: str, name: str) -> ApiError:
    """Return the error for an object that does not exist."""
    return ApiError(404, "NotFound", f'{resource} "{name}" not found')


def already_exists(resource: str, name: str) -> ApiError:
    """Return the error for a create of an object that exists."""
    return ApiError(409, "AlreadyExists", f'{resource} "{name}" already exists')


def conflict(resource: str, name: str, why: str) -> ApiError:
    """Return the error for a write that names another version or another object."""
    return ApiError(409, "Conflict", f'Operation cannot be fulfilled on {resource} "{name}": {why}')


def forbidden(resource: str, name: str, why: str) -> ApiError:
    """Return the error of a caller without the right, or of an admission plugin."""
    subject = f'{resource} "{name}"' if name else resource
    return ApiError(403, "Forbidden", f"{subject} is forbidden: {why}")


def invalid(kind: str, name: str, why: str) -> ApiError:
    """Return the error for an object whose fields break a rule. `kind` is like `Role.rbac.…`."""
    return ApiError(422, "Invalid", f'{kind} "{name}" is invalid: {why}')


def success(details: dict[str, Any]) -> Response:
    """Return the response to a delete."""
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
    return JSONResponse(body)


def _status(status: str, message: str, reason: str, code: int) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": status,
        "message": message,
        "reason": reason,
        "code": code,
    }
