"""Protection against requests that another site makes in the name of a signed-in person (CSRF)."""

import hashlib
import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import Scope

from starter.page.session.addresses import is_own_origin

CSRF_FIELD, CSRF_HEADER = "csrf", "x-csrf-token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

_PURPOSE = b"moorage csrf\0"


class CsrfTokens:
    """The token of each session. It survives renewals, so that a form may be open for hours.

    The first key makes it, and all keys verify it, so that keys can be rotated.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(keys)

    def of(self, root: str) -> str:
        """Return the token for the forms of a session."""
        return _token(self._keys[0], root)

    def is_valid(self, token: str, root: str) -> bool:
        """Return whether the token is this session's; the time says nothing about a wrong one."""
        given, is_valid = token.encode(), False
        for key in self._keys:
            is_valid = hmac.compare_digest(given, _token(key, root).encode()) or is_valid
        return is_valid


def is_from_own_page(scope: Scope, public_url: str | None) -> bool:
    """Return whether the browser says that a page of ours sends the request, or says nothing about it.

    `Origin: null` says nothing: pages with a strict referrer policy send it.
    """
    headers = Headers(scope=scope)
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site not in ("same-origin", "none"):
        return False
    if origin in (None, "null"):
        # Without a word of Sec-Fetch-Site, "null" may be a page in a sandbox elsewhere.
        return origin is None or site == "same-origin"
    return is_own_origin(str(origin), scope, public_url)


def _token(key: bytes, root: str) -> str:
    return hmac.new(key, _PURPOSE + root.encode(), hashlib.sha256).hexdigest()
