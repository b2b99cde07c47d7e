"""Seals all payloads on their way to Temporal, and opens and checks them on their way back.

AES-256-GCM by the library `cryptography`. A history lives as long as Temporal's retention, is exported, and
is in backups: who can read those learns ids, search attributes and error types, and no more. And who can
write there makes nothing of ours: each payload is bound to the namespace and the workflow that it is for.
"""

import base64
import binascii
import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ActivitySerializationContext,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from temporalio.exceptions import ApplicationError

from contracts.encryption_metadata import ENCODING as ENCODING
from contracts.encryption_metadata import ENCRYPTED as ENCRYPTED
from contracts.encryption_metadata import KEY_ID, KEY_ID_LENGTH
from contracts.errors import ErrorType
from contracts.expiry_sweep import SWEEP_SCHEDULED

KEY_BYTES = 32
#: A random nonce of this length is safe for 2^32 payloads a key (NIST SP 800-38D, 8.3); a life has about
#: two hundred, so that is twenty million lives: change the key before that.
NONCE_BYTES = 12
#: What a payload is bound to stands beside it in clear as well: the codec server, which is not told where a
#: payload comes from, needs it to decrypt.
VERSION = "encryption-version"
NAMESPACE = "encryption-namespace"
WORKFLOW_ID = "encryption-workflow-id"
#: Version 1 bound a payload to nothing, and is not accepted.
CURRENT_VERSION = b"2"

#: What takes the place of a payload that is refused, until somebody wants its value: its data is the reason.
#: Raising at once would fail a whole workflow task for one forged argument of one update, again and again.
REFUSED = b"moorage/refused"
#: Whether the reason is that a key is lacking, which passes when it is added.
LACKS_KEY = "lacks-key"

HOW_TO_MAKE_A_KEY = "make one with `openssl rand -base64 32`"

#: The ids that Temporal makes of the one that a schedule names: it appends the time.
_STARTED_BY_SCHEDULE = re.compile(re.escape(SWEEP_SCHEDULED) + r"-\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")


class CannotDecode(ValueError):
    """A payload cannot be decrypted; the text is one sentence, and quotes nothing of it."""


class LacksKey(CannotDecode):
    """It is encrypted with a key that is not there, or by an earlier version: that can be put right."""


class NotOurs(CannotDecode, ApplicationError):
    """It was not written by Moorage for the place where it is.

    In a workflow it is a failure and not a mistake of the code: what others started fails, and is not tried
    again and again.
    """

    def __init__(self, sentence: str) -> None:
        ApplicationError.__init__(self, sentence, type=ErrorType.TAMPERED, non_retryable=True)


@dataclass(frozen=True)
class Place:
    """Where a payload belongs: to one workflow id of one namespace."""

    namespace: str
    workflow_id: str

    @classmethod
    def of(cls, context: SerializationContext) -> Self | None:
        """The place that the SDK says; None for what belongs to no workflow."""
        if isinstance(context, WorkflowSerializationContext | ActivitySerializationContext):
            return cls(context.namespace, context.workflow_id) if context.workflow_id else None
        return None

    def is_good_at(self, actual: "Place") -> bool:
        """Whether a payload for this place is accepted at `actual`: a schedule does not know the exact id."""
        if self == actual:
            return True
        is_scheduled = self == Place(actual.namespace, SWEEP_SCHEDULED)
        return is_scheduled and _STARTED_BY_SCHEDULE.fullmatch(actual.workflow_id) is not None


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

    @property
    def first(self) -> str:
        """The id of the key that encrypts."""
        return self.ids[0]

    def seal(self, payload: Payload, place: Place) -> Payload:
        """The payload, encrypted whole with its metadata, for that place only."""
        bound = {
            VERSION: CURRENT_VERSION,
            KEY_ID: self.first.encode(),
            NAMESPACE: place.namespace.encode(),
            WORKFLOW_ID: place.workflow_id.encode(),
        }
        nonce = os.urandom(NONCE_BYTES)
        sealed = self.ciphers[0].encrypt(nonce, payload.SerializeToString(), _associated(bound))
        return Payload(metadata={ENCODING: ENCRYPTED, **bound}, data=nonce + sealed)

    def open(self, payload: Payload) -> tuple[Payload, Place]:
        """A sealed payload in clear, and the place for which it was sealed. Raises CannotDecode."""
        metadata = payload.metadata
        if metadata.get(ENCODING) != ENCRYPTED:
            raise NotOurs("something in Temporal is not encrypted: it was not written by Moorage")
        key_id = metadata.get(KEY_ID, b"").decode(errors="replace")[:KEY_ID_LENGTH]
        if key_id not in self.ids:
            known = ", ".join(self.ids)
            raise LacksKey(
                f'something in Temporal is encrypted with the key "{key_id}", and there '
                f"are only {known}: add that key to MOORAGE_ENCRYPTION__KEYS, after the first one"
            )
        if VERSION not in metadata:
            raise LacksKey(
                "something in Temporal was written by an earlier version of Moorage, which did not bind it "
                "to its workflow: end with that version what it began"
            )
        nonce, sealed = payload.data[:NONCE_BYTES], payload.data[NONCE_BYTES:]
        bound = {key: metadata.get(key, b"") for key in (VERSION, KEY_ID, NAMESPACE, WORKFLOW_ID)}
        try:
            clear = self.ciphers[self.ids.index(key_id)].decrypt(nonce, sealed, _associated(bound))
            place = Place(bound[NAMESPACE].decode(), bound[WORKFLOW_ID].decode())
            return Payload.FromString(clear), place
        except (InvalidTag, ValueError):  # ValueError: not even as long as a nonce
            raise NotOurs(
                f'something in Temporal was encrypted with the key "{key_id}" and is not as it was then: '
                "it is damaged, or was tampered with"
            ) from None


class EncryptionCodec(PayloadCodec, WithSerializationContext):
    """Encrypts with the first key, for the workflow at hand; accepts only what was encrypted for that one.

    What it refuses it replaces, and `worker.data_converter` raises for that when its value is wanted. Without
    a workflow at hand it encrypts nothing and accepts nothing. It runs where it is called: 2 MB, the largest
    payload there can be, take milliseconds.
    """

    def __init__(self, keys: Keyring, place: Place | None = None) -> None:
        self.keys = keys
        self._place = place

    @property
    def current_key(self) -> str:
        """See `contracts.encryption_metadata.Seals`."""
        return self.keys.first

    def with_context(self, context: SerializationContext) -> Self:
        """The same for the workflow of the context."""
        return type(self)(self.keys, Place.of(context))

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Each payload, encrypted. Raises ValueError when no workflow is at hand."""
        if self._place is None:
            raise ValueError("nothing is encrypted that is for no workflow: give the converter its context")
        return [self.keys.seal(payload, self._place) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Each payload in clear, or what says that it is refused."""
        return [self._decoded(payload) for payload in payloads]

    def _decoded(self, payload: Payload) -> Payload:
        try:
            clear, place = self.keys.open(payload)
            if self._place is None or not place.is_good_at(self._place):
                raise NotOurs("something in Temporal was written by Moorage for another workflow than this")
        except CannotDecode as error:
            lacks_key = b"true" if isinstance(error, LacksKey) else b""
            return Payload(metadata={ENCODING: REFUSED, LACKS_KEY: lacks_key}, data=str(error).encode())
        return clear


def _associated(bound: dict[str, bytes]) -> bytes:
    # As JSON: no two different sets of values are written alike.
    return json.dumps({key: value.hex() for key, value in sorted(bound.items())}).encode()


def derived_keys(text: str, purpose: bytes) -> tuple[bytes, ...]:
    """A key for another purpose from each of the keys in `text`, in their order: HKDF's expand step."""
    keys = (_key(number, word) for number, word in enumerate(text.replace(",", " ").split(), 1))
    return tuple(HKDFExpand(hashes.SHA256(), KEY_BYTES, purpose).derive(key) for key in keys)


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
