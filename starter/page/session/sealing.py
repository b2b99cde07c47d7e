"""Seals what a cookie keeps in the browser: only the APIs of this installation can read or write it."""

import base64
import binascii
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

#: A random nonce of this length is safe for 2^32 cookies a key (NIST SP 800-38D, 8.3).
_NONCE_BYTES = 12


class BadSeal(ValueError):
    """The text was not sealed here for this purpose, or with a key that is no longer in use."""


class Sealer:
    """Encrypts with AES-256-GCM. The first key seals, all of them open, so that keys can be rotated.

    A sealed text is bound to its purpose and to the installation.
    """

    def __init__(self, keys: Sequence[bytes], installation: str) -> None:
        self._ciphers = [AESGCM(key) for key in keys]
        self._installation = installation

    def seal(self, purpose: str, content: bytes) -> str:
        """Return the content as text that fits into a cookie."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._ciphers[0].encrypt(nonce, content, self._bound_to(purpose))
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def open(self, purpose: str, text: str) -> bytes:
        """Return the content of a sealed text; raise BadSeal if it is not one for this purpose."""
        try:
            sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise BadSeal("it is not sealed") from None
        nonce, encrypted = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(nonce, encrypted, self._bound_to(purpose))
            except (InvalidTag, ValueError):
                continue
        raise BadSeal("no key opens it")

    def _bound_to(self, purpose: str) -> bytes:
        return f"moorage page\0{self._installation}\0{purpose}".encode()
