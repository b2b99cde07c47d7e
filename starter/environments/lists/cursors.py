"""Cursors of lists: Temporal's page tokens with an HMAC, so that the API accepts only tokens it has issued.

Temporal spends seconds of work on a forged token. All API replicas of an installation have the same keys, so
each accepts the cursors of the others.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

#: Length of the HMAC. A guess is correct with a probability of 1 in 2^96.
SEAL_BYTES = 12


class BadCursor(ValueError):
    """This list has not issued the cursor."""


class Cursors:
    """Writes and reads cursors. The first key signs, and all keys verify, so that keys can be rotated."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(keys)

    def write(self, token: bytes | None, query: str) -> str | None:
        """Return the cursor of the next page of the list of `query`; None on the last page."""
        if not token:
            return None
        sealed = _seal(self._keys[0], token, query) + token
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def read(self, cursor: str | None, query: str) -> bytes | None:
        """Return the page token in a cursor; raise BadCursor if it is forged or from another list."""
        if not cursor:
            return None
        try:
            content = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            content = b""
        seal, token = content[:SEAL_BYTES], content[SEAL_BYTES:]
        if not token or not any(hmac.compare_digest(seal, _seal(key, token, query)) for key in self._keys):
            raise BadCursor("it is none that this list has given")
        return token


def _seal(key: bytes, token: bytes, query: str) -> bytes:
    asked = hashlib.sha256(query.encode()).digest()
    return hmac.new(key, asked + token, hashlib.sha256).digest()[:SEAL_BYTES]
