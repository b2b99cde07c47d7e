"""The addresses of the page: where it is for this browser, and which paths a sign-in may lead back to."""

import re
from urllib.parse import urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

SIGN_IN, SIGNED_IN, SIGN_OUT, SIGNED_OUT = "/sign-in", "/signed-in", "/sign-out", "/signed-out"
HOME = "/"
#: Longer addresses are none of the page's.
MAX_PATH_LENGTH = 1000

_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


def origin_of(scope: Scope, public_url: str | None) -> str:
    """Return the origin under which the browser has the page: the setting, or what the request says.

    Scheme and client address are those that a trusted proxy names (`starter.http_server.server`). A host that
    is none becomes "localhost": the issuer then refuses to send anyone there.
    """
    if public_url:
        return public_url
    host = Headers(scope=scope).get("host", "")
    return f"{scope.get('scheme', 'http')}://{host.lower() if _HOST.fullmatch(host) else 'localhost'}"


def is_own_origin(origin: str, scope: Scope, public_url: str | None) -> bool:
    """Return whether the origin that a browser names is the page's.

    Without the setting only the host is compared: a proxy that is not trusted may hide that it is https://.
    """
    if public_url:
        return origin.lower() == public_url
    return origin.lower().partition("://")[2] == origin_of(scope, None).partition("://")[2]


def local_path(text: str | None) -> str:
    """Return the path if it leads to a page here, and the home page otherwise.

    Browsers take two slashes, or a slash and a backslash, for another site, and skip tabs and line breaks.
    """
    if not text or len(text) > MAX_PATH_LENGTH or not text.startswith("/"):
        return HOME
    is_plain = text.isascii() and text.isprintable() and not set(text) & set(' \\"<>#')
    if not is_plain or text.startswith("//"):
        return HOME
    try:
        parts = urlsplit(text)
    except ValueError:
        return HOME
    if parts.scheme or parts.netloc or parts.path in {SIGN_IN, SIGNED_IN, SIGN_OUT, SIGNED_OUT}:
        return HOME
    return text


def path_of(scope: Scope) -> str:
    """Return the path and query of a request, if a sign-in may lead back to it."""
    raw = scope.get("raw_path") or scope["path"].encode()
    query = scope.get("query_string", b"")
    return local_path((raw + (b"?" + query if query else b"")).decode("latin-1"))


def sign_in_address(next_path: str, **more: str) -> str:
    """Return the address of the sign-in that leads to the path."""
    query = {name: value for name, value in {"next": next_path, **more}.items() if value != HOME}
    return f"{SIGN_IN}?{urlencode(query, safe='/')}" if query else SIGN_IN
