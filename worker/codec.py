"""Encrypts all payloads on their way to Temporal and decrypts them on their way back.

AES-256-GCM by the library `cryptography`. A history lives as long as Temporal's retention, is exported, and
is in backups: who can read those learns ids, search attributes and error types, and no more.
"""

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

KEY_BYTES = 32
#: A random nonce of this length is safe for 2^32 payloads a key (NIST SP 800-38D, 8.3); a life has about
#: two hundred, so that is twenty million lives: change the key before that.
NONCE_BYTES = 12
#: Of the key's SHA-256, in hex: enough to tell an installation's few keys apart, and tells nothing of them.
KEY_ID_LENGTH = 8

ENCODING = "encoding"
ENCRYPTED = b"binary/encrypted"
KEY_ID = "encryption-key-id"

HOW_TO_MAKE_A_KEY = "make one with `openssl rand -base64 32`"


class CannotDecode(ValueError):
    """A payload cannot be decrypted; the text is one sentence, and quotes nothing of it."""


@dataclass(frozen=True)
class Keyring:
    """The keys: the first one encrypts, all decrypt."""

    ids: tuple[str, ...]
    ciphers: tuple[AESGCM, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """The keys in `text`: each 32 bytes in base64, between them blanks, commas or line breaks.

        ValueError with a sentence that quotes no key.
        """
        keys = [_key(number, word) for number, word in enumerate(text.replace(",", " ").split(), 1)]
        if not keys:
            raise ValueError(f"there is no key in it: {HOW_TO_MAKE_A_KEY}")
        ids = tuple(hashlib.sha256(b"moorage key id" + key).hexdigest()[:KEY_ID_LENGTH] for key in keys)
        if len(set(ids)) < len(ids):
            raise ValueError("one key is in it twice")
        return cls(ids, tuple(AESGCM(key) for key in keys))


class EncryptionCodec(PayloadCodec):
    """Encrypts with the first key; decrypts with whichever it was, and leaves alone what is not encrypted.

    That lets an installation read what it wrote before it had a key. Whole payloads are encrypted, with
    their metadata. It runs where it is called: 2 MB, the largest payload there can be, take milliseconds.
    """

    def __init__(self, keys: Keyring) -> None:
        self._ciphers = dict(zip(keys.ids, keys.ciphers, strict=True))
        self._first = keys.ids[0]

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Each payload, encrypted."""
        return [self._encrypted(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Each payload, in clear. Raises CannotDecode."""
        return [
            self._decrypted(payload) if payload.metadata.get(ENCODING) == ENCRYPTED else payload
            for payload in payloads
        ]

    def _encrypted(self, payload: Payload) -> Payload:
        nonce = os.urandom(NONCE_BYTES)
        key_id = self._first.encode()
        sealed = self._ciphers[self._first].encrypt(nonce, payload.SerializeToString(), key_id)
        return Payload(metadata={ENCODING: ENCRYPTED, KEY_ID: key_id}, data=nonce + sealed)

    def _decrypted(self, payload: Payload) -> Payload:
        key_id = payload.metadata.get(KEY_ID, b"").decode(errors="replace")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            known = ", ".join(self._ciphers)
            raise CannotDecode(
                f'something in Temporal is encrypted with the key "{key_id[:KEY_ID_LENGTH]}", and there '
                f"are only {known}: add that key to MOORAGE_ENCRYPTION__KEYS, after the first one"
            )
        nonce, sealed = payload.data[:NONCE_BYTES], payload.data[NONCE_BYTES:]
        try:
            return Payload.FromString(cipher.decrypt(nonce, sealed, key_id.encode()))
        except (InvalidTag, ValueError):  # ValueError: not even as long as a nonce
            raise CannotDecode(
                f'something in Temporal was encrypted with the key "{key_id}" and is not as it was then: '
                "it is damaged, or was tampered with"
            ) from None


def _key(number: int, word: str) -> bytes:
    # Both alphabets of base64, with and without its padding.
    try:
        key = base64.b64decode(
            word.replace("-", "+").replace("_", "/").rstrip("=") + "=" * (-len(word.rstrip("=")) % 4),
            validate=True,
        )
    except (binascii.Error, ValueError):
        raise ValueError(f"key {number} is not base64: {HOW_TO_MAKE_A_KEY}") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"key {number} has {len(key)} bytes and not {KEY_BYTES}: {HOW_TO_MAKE_A_KEY}")
    return key
