"""The cookies of the page: their names, and the headers that set and delete them.

`__Host-` makes browsers accept them only from this host, for all paths and over https://. Chromium and
Firefox take http:// on loopback for as secure as that, so that `moorage up` needs no exception.
"""

from starlette.requests import cookie_parser

SESSION_COOKIE = "__Host-moorage"
#: A sign-in under way has a separate cookie, so that two tabs do not disturb each other.
ATTEMPT_COOKIE = "__Host-moorage-sign-in-"
#: The longest name and value that all browsers keep.
MAX_COOKIE_LENGTH = 4096

_ATTRIBUTES = "Path=/; Secure; HttpOnly; SameSite=Lax"


def cookies_of(header: str | None) -> dict[str, str]:
    """Return the cookies of a request."""
    return cookie_parser(header) if header else {}


def set_cookie(name: str, value: str, max_age: int | None = None) -> str:
    """Return the header that sets a cookie; without `max_age` it ends with the browser."""
    age = "" if max_age is None else f"; Max-Age={max_age}"
    return f"{name}={value}; {_ATTRIBUTES}{age}"


def delete_cookie(name: str) -> str:
    """Return the header that deletes a cookie."""
    return set_cookie(name, "", 0)
