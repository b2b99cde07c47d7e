"""How the stand-in refuses a call: every status and every shape of an error."""

from enum import StrEnum

from starlette.responses import JSONResponse, PlainTextResponse, Response


class Family(StrEnum):
    """The generations of the API, which differ in their error bodies and authentication headers."""

    V1 = "v1"
    V2 = "v2"
    V3 = "v3"
    AGENT = "agent"  #: not Rafay's: of the agents

    @property
    def key_header(self) -> str:
        """Return the header in which this family expects the API key."""
        return "X-API-KEY" if self is Family.V3 else "X-RAFAY-API-KEYID"


class Reason(StrEnum):
    """Why a call is refused."""

    UNAUTHENTICATED = "no or invalid credentials"
    FORBIDDEN = "method or route not allowed"
    NO_SUCH_PATH = "404 page not found"
    MISSING = "not found"
    INVALID = "invalid"
    DUPLICATE = "already exists"
    ASSIGNED = "already assigned"
    NAME_TAKEN = "Cluster name is already taken. Please choose another name."
    NOT_EMPTY = "not empty"
    WRONG_STATE = "wrong state"


#: The statuses of all refusals. 401, 403 and the texts are Rafay's; the rest of the statuses is our choice.
#: That of MISSING can be changed, since a v1 service may pass on the message of its database.
STATUSES = {
    Reason.UNAUTHENTICATED: 401,
    Reason.FORBIDDEN: 403,
    Reason.NO_SUCH_PATH: 404,
    Reason.MISSING: 404,
    Reason.INVALID: 400,
    Reason.DUPLICATE: 400,
    Reason.ASSIGNED: 400,
    Reason.NAME_TAKEN: 400,
    Reason.NOT_EMPTY: 400,
    Reason.WRONG_STATE: 409,
}

#: Rafay's error codes look like this; which belongs to what is not published.
_ERROR_CODE = "CONFIG035"
#: The message of its database, as a v1 service passes it on for a missing object.
_DATABASE_WORDS = "pg: no rows in result set"


class Refusal(Exception):
    """The call is refused; `detail` goes into the response."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail or reason.value
        super().__init__(self.detail)


def error_response(refusal: Refusal, family: Family, missing_status: int) -> Response:
    """Return the response to a refused call in the shape of its family."""
    status, detail = STATUSES[refusal.reason], refusal.detail
    if refusal.reason is Reason.NO_SUCH_PATH:
        return PlainTextResponse(detail, status)
    if refusal.reason is Reason.NAME_TAKEN:
        return JSONResponse(detail, status)  # a bare string
    if refusal.reason is Reason.MISSING and family is not Family.V3 and missing_status != status:
        status, detail = missing_status, _DATABASE_WORDS
    match family:
        case Family.V3:
            return JSONResponse({"code": status, "external": detail, "internal": detail}, status)
        case Family.V2:
            return JSONResponse({"error": detail}, status)
        case _:
            details = [{"error_code": _ERROR_CODE, "detail": detail, "info": ""}]
            return JSONResponse({"status_code": status, "details": details}, status)
