"""What the stand-in answers, and above all how it refuses: every status and every error shape."""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


@dataclass(frozen=True)
class Reply:
    """One answer, ready to be sent."""

    status: int
    body: bytes
    content_type: str = "application/json"


def reply(value: Any, status: int = 200) -> Reply:
    """`value` as JSON."""
    return Reply(status, json.dumps(value).encode())


class Family(StrEnum):
    """The generations of the API, which differ in their error bodies and authentication headers."""

    V1 = "v1"
    V2 = "v2"
    V3 = "v3"
    AGENT = "agent"  #: of the stand-in's own making

    @property
    def key_header(self) -> bytes:
        """The header in which this family expects the API key."""
        return b"x-api-key" if self is Family.V3 else b"x-rafay-api-keyid"


class Trouble(StrEnum):
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
#: That of MISSING is switchable, since a v1 service may pass on what its database said.
STATUSES = {
    Trouble.UNAUTHENTICATED: 401,
    Trouble.FORBIDDEN: 403,
    Trouble.NO_SUCH_PATH: 404,
    Trouble.MISSING: 404,
    Trouble.INVALID: 400,
    Trouble.DUPLICATE: 400,
    Trouble.ASSIGNED: 400,
    Trouble.NAME_TAKEN: 400,
    Trouble.NOT_EMPTY: 400,
    Trouble.WRONG_STATE: 409,
}

#: Rafay's error codes look like this; which belongs to what is not published.
_ERROR_CODE = "CONFIG035"
#: What a v1 service says of a missing object when it passes on the words of its database.
_DATABASE_WORDS = "pg: no rows in result set"


class Refusal(Exception):
    """Raised by whatever handles a call, to refuse it; `detail` goes into the answer."""

    def __init__(self, trouble: Trouble, detail: str = "") -> None:
        self.trouble = trouble
        self.detail = detail or trouble.value
        super().__init__(self.detail)


def refusal_reply(refusal: Refusal, family: Family, missing_status: int) -> Reply:
    """The answer to a refused call in the shape of its family."""
    status, detail = STATUSES[refusal.trouble], refusal.detail
    if refusal.trouble is Trouble.NO_SUCH_PATH:
        return Reply(status, detail.encode(), "text/plain; charset=utf-8")
    if refusal.trouble is Trouble.NAME_TAKEN:
        return reply(detail, status)  # a bare string
    if refusal.trouble is Trouble.MISSING and family is not Family.V3 and missing_status != status:
        status, detail = missing_status, _DATABASE_WORDS
    match family:
        case Family.V3:
            return reply({"code": status, "external": detail, "internal": detail}, status)
        case Family.V2:
            return reply({"error": detail}, status)
        case _:
            details = [{"error_code": _ERROR_CODE, "detail": detail, "info": ""}]
            return reply({"status_code": status, "details": details}, status)
