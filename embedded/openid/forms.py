"""Forms that the provider gets, and the JSON that it answers."""

from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

#: A larger form is none of ours.
_MAX_BYTES = 32 * 1024
SCOPES = ("openid", "email", "profile")


class BadForm(Exception):
    """The request is not a form, or a parameter is in it twice."""


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form.

    Raises:
        BadForm: it is none, it is too large, or a field is in it twice (RFC 6749, 3.2).
    """
    if not request.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):
        raise BadForm
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BYTES:
            raise BadForm
    try:
        return fields_of(body.decode())
    except UnicodeDecodeError:
        raise BadForm from None


def fields_of(text: str) -> dict[str, str]:
    """Return the fields of a query or form; raise BadForm if one is in it twice."""
    pairs = parse_qsl(text, keep_blank_values=True)
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise BadForm
    return fields


def scope_of(form: dict[str, str]) -> str:
    """Return the scopes of the request that the provider has."""
    return " ".join(each for each in form.get("scope", "").split() if each in SCOPES)


def is_s256(form: dict[str, str]) -> bool:
    """Return whether the request has a code challenge of the only method that is accepted (RFC 7636)."""
    return form.get("code_challenge_method") == "S256" and len(form.get("code_challenge", "")) == 43


def answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return a JSON answer that no cache keeps."""
    return JSONResponse(content, status, headers={"Cache-Control": "no-store", **(headers or {})})


async def answer_bad_form(_: Request, __: Exception) -> Response:
    """Answer a form that cannot be read."""
    return answer({"error": "invalid_request"}, 400)
