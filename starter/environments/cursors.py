"""Cursors of lists: Temporal's page tokens, sealed so that only those which a list has given are taken back.

Temporal works for seconds on a forged one. Every API of an installation has the same keys, and so takes
those of the others.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

#: Of the seal. A guess is right once in 2^96.
SEAL_BYTES = 12


class BadCursor(ValueError):
    """The cursor is none that this list has given."""


class Cursors:
    """Makes and reads cursors. The first key seals; all of them are taken, so that keys can be replaced."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(keys)

    def write(self, token: bytes | None, query: str) -> str | None:
        """The cursor of a page of the list that `query` finds; None on the last page."""
        if not token:
            return None
        sealed = _seal(self._keys[0], token, query) + token
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def read(self, cursor: str | None, query: str) -> bytes | None:
        """The page token in a cursor. Raises BadCursor for one that was made up, or is another list's."""
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
