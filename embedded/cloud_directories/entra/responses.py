"""The errors of Microsoft Graph: a code, a message, and ids of the request.

Source: "Microsoft Graph error responses and resource types"; the messages are those that users of it report.
"""

from datetime import UTC, datetime
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response


class GraphError(Exception):
    """Graph refuses a request."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        self.status = status
        self.code = code
        self.headers = headers
        super().__init__(message)

    def response(self, request: Request) -> Response:
        """Return it as a response."""
        request_id = str(uuid4())
        inner = {
            "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
            "request-id": request_id,
            "client-request-id": request.headers.get("client-request-id", request_id),
        }
        error = {"code": self.code, "message": str(self), "innerError": inner}
        return JSONResponse({"error": error}, self.status, self.headers)


def bad_request(message: str) -> GraphError:
    """Return the error for a request that breaks a rule of the directory."""
    return GraphError(400, "Request_BadRequest", message)


def invalid_body() -> GraphError:
    """Return the error for a body that is not JSON of the right form."""
    return GraphError(400, "BadRequest", "Unable to read JSON request payload.")


def missing_value(name: str) -> GraphError:
    """Return the error for a group without a property that it needs."""
    return bad_request(f"A value is required for property '{name}' of resource 'Group'.")


def invalid_value(name: str) -> GraphError:
    """Return the error for a property with a value that it cannot have."""
    return bad_request(f"Invalid value specified for property '{name}' of resource 'Group'.")


def taken_value(name: str) -> GraphError:
    """Return the error for a value that another object has, which may be a deleted one."""
    return bad_request(f"Another object with the same value for property {name} already exists.")


def unsupported_query(message: str) -> GraphError:
    """Return the error for a query that is not served, or not without `ConsistencyLevel`."""
    return GraphError(400, "Request_UnsupportedQuery", message)


def not_found(key: str) -> GraphError:
    """Return the error for an object that does not exist, or is not there yet."""
    missing = "does not exist or one of its queried reference-property objects are not present"
    return GraphError(404, "Request_ResourceNotFound", f"Resource '{key}' {missing}.")


def denied() -> GraphError:
    """Return the error for an app without the permission."""
    message = "Insufficient privileges to complete the operation."
    return GraphError(403, "Authorization_RequestDenied", message)


def invalid_token(message: str) -> GraphError:
    """Return the error for an access token that is not accepted."""
    return GraphError(401, "InvalidAuthenticationToken", message, {"WWW-Authenticate": 'Bearer realm=""'})


def too_many_requests(seconds: int | None) -> GraphError:
    """Return the error for a call past the limits. Not every one says how long to wait."""
    headers = None if seconds is None else {"Retry-After": str(seconds)}
    return GraphError(429, "TooManyRequests", "Too many requests. Please try again later.", headers)
