"""The responses of Okta's management API: errors with their codes, and pages with links.

Sources: "Okta error codes and descriptions", and "Pagination" and "Link header" of the API reference.
"""

import base64
import secrets
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

#: What the opaque cursor of a page starts with, before it is encoded.
_CURSOR = "after:"


class OktaError(Exception):
    """The API refuses a call. `causes` are sentences that start with the field."""

    def __init__(self, status: int, code: str, summary: str, causes: Sequence[str] = ()) -> None:
        self.status = status
        self.code = code
        self.causes = causes
        super().__init__(summary)

    def response(self) -> Response:
        """Return it as a response."""
        body = {
            "errorCode": self.code,
            "errorSummary": str(self),
            "errorLink": self.code,
            "errorId": f"oae{secrets.token_urlsafe(16)}",
            "errorCauses": [{"errorSummary": cause} for cause in self.causes],
        }
        return JSONResponse(body, self.status)


def validation_failed(field: str, cause: str) -> OktaError:
    """Return the error for a field that breaks a rule."""
    return OktaError(400, "E0000001", f"Api validation failed: {field}", [f"{field}: {cause}"])


def malformed_body() -> OktaError:
    """Return the error for a body that is not JSON of the right form."""
    return OktaError(400, "E0000003", "The request body was not well-formed.")


def forbidden() -> OktaError:
    """Return the error of an administrator without the permission, and of groups that an app owns."""
    return OktaError(403, "E0000006", "You do not have permission to perform the requested action")


def not_found(key: str, kind: str) -> OktaError:
    """Return the error for something that does not exist; `kind` is `User` or `UserGroup`."""
    return OktaError(404, "E0000007", f"Not found: Resource not found: {key} ({kind})")


def invalid_token() -> OktaError:
    """Return the error for an API token that is not accepted."""
    return OktaError(401, "E0000011", "Invalid token provided")


def invalid_search() -> OktaError:
    """Return the error for a filter or search that cannot be read."""
    return OktaError(400, "E0000031", "Invalid search criteria.")


def too_many_requests() -> OktaError:
    """Return the error for a call past the rate limit."""
    return OktaError(429, "E0000047", "API call exceeded rate limit due to too many requests.")


def unsupported_operation() -> OktaError:
    """Return the error for what cannot be done with a built-in group."""
    return OktaError(501, "E0000060", "Unsupported operation.")


def page_of(
    request: Request,
    documents: Sequence[dict[str, Any]],
    limit: int,
    shown: Callable[[dict[str, Any], Request], dict[str, Any]],
) -> Response:
    """Return the page at the cursor of the request, with links to itself and, if there is one, the next.

    `documents` are in the order of their ids; `shown` makes of one what a response has. A cursor is opaque;
    here it names the last document of the page before, so pages neither skip nor repeat one when others come
    or go.
    """
    after = _decoded(request.query_params.get("after"))
    start = 0 if after is None else bisect_right(documents, after, key=lambda each: each["id"])
    left = documents[start:]
    response = JSONResponse([shown(each, request) for each in left[:limit]])
    response.headers.append("Link", f'<{request.url}>; rel="self"')
    if len(left) > limit:
        cursor = base64.urlsafe_b64encode(f"{_CURSOR}{left[limit - 1]['id']}".encode()).decode().rstrip("=")
        response.headers.append("Link", f'<{request.url.include_query_params(after=cursor)}>; rel="next"')
    return response


def limit_of(request: Request, default: int, most: int) -> int:
    """Return the wanted size of a page; a larger one than allowed is cut to that."""
    given = request.query_params.get("limit")
    if given is None:
        return min(default, most)
    if not given.isdecimal() or int(given) < 1:
        raise validation_failed("limit", "Invalid value for the limit parameter")
    return min(int(given), most)


def _decoded(cursor: str | None) -> str | None:
    if cursor is None:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        text = ""
    if not text.startswith(_CURSOR):
        raise validation_failed("after", "Invalid paging request")
    return text.removeprefix(_CURSOR)
