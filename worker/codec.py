"""The payload codec: it encrypts all payloads for Temporal, and decrypts and verifies them on return.

It uses AES-256-GCM from the library `cryptography`. A history lives as long as Temporal's retention, is
exported, and is in backups: a reader of those learns ids, search attributes and error types, and no more. A
writer there cannot forge a payload of ours: each payload is bound to the namespace and the workflow that it
is for.
"""

import base64
import binascii
import hashlib
import json
import os
import re
import zlib
from collections.abc import Callable, Sequence
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

from contracts.errors import ErrorType
from contracts.sweeps.expiry import SWEEP_SCHEDULED
from contracts.temporal.encryption_metadata import ENCODING as ENCODING
from contracts.temporal.encryption_metadata import ENCRYPTED as ENCRYPTED
from contracts.temporal.encryption_metadata import KEY_ID, KEY_ID_LENGTH
from contracts.types.decompression import decompress

KEY_BYTES = 32
#: A random nonce of this length is safe for 2^32 payloads a key (NIST SP 800-38D, 8.3). A life has about two
#: hundred, so that is twenty million lives: change the key before that.
NONCE_BYTES = 12
#: The length of the tag by which AES-GCM authenticates.
TAG_BYTES = 16
#: The metadata that a payload is bound to is also in clear text beside it, because the codec server needs it
#: to decrypt and does not learn where a payload comes from.
VERSION = "encryption-version"
NAMESPACE = "encryption-namespace"
WORKFLOW_ID = "encryption-workflow-id"
#: Version 1 did not bind a payload to a workflow, and is not accepted.
CURRENT_VERSION = b"2"
#: How the payload was compressed before it was encrypted; empty if it was not.
COMPRESSION = "encryption-compression"
ZLIB = b"zlib"
_BOUND = (VERSION, COMPRESSION, KEY_ID, NAMESPACE, WORKFLOW_ID)
#: What a signature of a life mark is bound to. What payloads are bound to begins with a brace.
_LIFE_MARK = b"moorage life mark\n"

#: Most payloads are smaller, and too small to gain from compression. The size of a compressed text says a
#: little about its content; payloads hold no secrets.
COMPRESSED_FROM_BYTES = 4096
#: The fastest level: the state of the capacity of 11,000 environments takes a fifth of its size with it.
COMPRESSION_LEVEL = 1
#: A larger payload is rejected before it fills the memory. The largest of Moorage, the state of the
#: capacity, is some 300 bytes an environment.
MAX_CLEAR_BYTES = 32 * 2**20

#: Encoding of the replacement for a payload that is rejected; its data is the reason. The error is raised
#: only when code needs the value: raising at once would fail a whole workflow task for one forged argument of
#: one update, again and again.
REFUSED = b"moorage/refused"
#: Whether the reason is a missing key, which is a temporary state: it ends when the key is added.
KEY_MISSING = "lacks-key"

KEY_HINT = "make one with `openssl rand -base64 32`"

#: The workflow ids that Temporal derives from the id in a schedule: it appends the time.
_STARTED_BY_SCHEDULE = re.compile(re.escape(SWEEP_SCHEDULED) + r"-\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")


class DecodeError(ValueError):
    """A payload cannot be decrypted; the text is one sentence, and quotes nothing of the payload."""


class KeyMissing(DecodeError):
    """The payload is encrypted with a missing key. An administrator can correct that."""


class ForeignPayload(DecodeError, ApplicationError):
    """Moorage did not write the payload for the place where it is.

    In a workflow this is a failure and not an error of the code: a run that another writer started fails, and
    is not retried again and again.
    """

    def __init__(self, sentence: str) -> None:
        ApplicationError.__init__(self, sentence, type=ErrorType.TAMPERED, non_retryable=True)


@dataclass(frozen=True)
class PayloadContext:
    """The place that a payload belongs to: one workflow id of one namespace."""

    namespace: str
    workflow_id: str

    @classmethod
    def of(cls, context: SerializationContext) -> Self | None:
        """Return the place in the SDK's context; None for what belongs to no workflow."""
        if isinstance(context, WorkflowSerializationContext | ActivitySerializationContext):
            return cls(context.namespace, context.workflow_id) if context.workflow_id else None
        return None

    def is_accepted_at(self, actual: "PayloadContext") -> bool:
        """Return whether a payload for this place is accepted at `actual`.

        The two may differ for a schedule, because a schedule does not know the exact workflow id.
        """
        if self == actual:
            return True
        is_scheduled = self == PayloadContext(actual.namespace, SWEEP_SCHEDULED)
        return is_scheduled and _STARTED_BY_SCHEDULE.fullmatch(actual.workflow_id) is not None


@dataclass(frozen=True)
class Keyring:
    """The encryption keys: the first one encrypts, all of them decrypt."""

    ids: tuple[str, ...]
    ciphers: tuple[AESGCM, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the keys in `text`: each 32 bytes in base64, separated by blanks, commas or line breaks.

        Raises ValueError with a sentence that quotes no key.
        """
        keys = [_key(number, word) for number, word in enumerate(text.replace(",", " ").split(), 1)]
        if not keys:
            raise ValueError(f"there is no key in it: {KEY_HINT}")
        ids = tuple(hashlib.sha256(b"moorage key id" + key).hexdigest()[:KEY_ID_LENGTH] for key in keys)
        if len(set(ids)) < len(ids):
            raise ValueError("one key is in it twice")
        return cls(ids, tuple(AESGCM(key) for key in keys))

    @property
    def first(self) -> str:
        """The id of the key that encrypts."""
        return self.ids[0]

    def encrypt(self, payload: Payload, place: PayloadContext) -> Payload:
        """Encrypt the payload with its metadata, for that place only.

        Raises:
            ValueError: It is larger than `MAX_CLEAR_BYTES`, so `open` would refuse it.
        """
        clear = payload.SerializeToString()
        if len(clear) > MAX_CLEAR_BYTES:
            raise ValueError(f"a payload of {len(clear)} bytes is larger than {MAX_CLEAR_BYTES}")
        is_large = len(clear) >= COMPRESSED_FROM_BYTES
        bound = {
            VERSION: CURRENT_VERSION,
            COMPRESSION: ZLIB if is_large else b"",
            KEY_ID: self.first.encode(),
            NAMESPACE: place.namespace.encode(),
            WORKFLOW_ID: place.workflow_id.encode(),
        }
        nonce = os.urandom(NONCE_BYTES)
        sealed = self.ciphers[0].encrypt(
            nonce, zlib.compress(clear, COMPRESSION_LEVEL) if is_large else clear, _associated(bound)
        )
        return Payload(metadata={ENCODING: ENCRYPTED, **bound}, data=nonce + sealed)

    def open(self, payload: Payload) -> tuple[Payload, PayloadContext]:
        """Decrypt a payload; return it and the place that it was encrypted for. Raises DecodeError."""
        metadata = payload.metadata
        if metadata.get(ENCODING) != ENCRYPTED:
            raise ForeignPayload("a payload in Temporal is not encrypted: it was not written by Moorage")
        key_id = metadata.get(KEY_ID, b"").decode(errors="replace")[:KEY_ID_LENGTH]
        if key_id not in self.ids:
            known = ", ".join(self.ids)
            raise KeyMissing(
                f'a payload in Temporal is encrypted with the key "{key_id}", and there '
                f"are only {known}: add that key to MOORAGE_ENCRYPTION__KEYS, after the first one"
            )
        nonce, sealed = payload.data[:NONCE_BYTES], payload.data[NONCE_BYTES:]
        bound = {key: metadata.get(key, b"") for key in _BOUND}
        try:
            clear = self.ciphers[self.ids.index(key_id)].decrypt(nonce, sealed, _associated(bound))
            place = PayloadContext(bound[NAMESPACE].decode(), bound[WORKFLOW_ID].decode())
            if bound[COMPRESSION] == ZLIB:
                clear = decompress(clear, MAX_CLEAR_BYTES)
            return Payload.FromString(clear), place
        except (InvalidTag, ValueError):  # ValueError: the data is shorter than a nonce.
            raise ForeignPayload(
                f'a payload in Temporal was encrypted with the key "{key_id}" and is not as it was then: '
                "it is damaged, or was tampered with"
            ) from None

    def sign_life(self, text: str) -> str:
        """Return the signature of a life mark: the tag of AES-GCM without a content (GMAC)."""
        nonce = os.urandom(NONCE_BYTES)
        tag = self.ciphers[0].encrypt(nonce, b"", _LIFE_MARK + text.encode())
        return f"{self.first}:{base64.b64encode(nonce + tag).decode()}"

    def has_signed_life(self, text: str, signature: str) -> bool:
        """Return whether one of the keys has made this signature of the life mark."""
        key_id, _, encoded = signature.partition(":")
        if key_id not in self.ids:
            return False
        try:
            sealed = base64.b64decode(encoded, validate=True)
            self.ciphers[self.ids.index(key_id)].decrypt(
                sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _LIFE_MARK + text.encode()
            )
        except (InvalidTag, ValueError):  # ValueError: it is not base64, or too short
            return False
        return len(sealed) == NONCE_BYTES + TAG_BYTES


class EncryptionCodec(PayloadCodec, WithSerializationContext):
    """Encrypts with the first key for the current workflow, and accepts only payloads for that workflow.

    It replaces a payload that it rejects, and `worker.data_converter` raises the error when code needs the
    value. Without a current workflow it encrypts nothing and accepts nothing. It runs in the caller's thread:
    2 MB, the largest possible payload, takes milliseconds.
    """

    def __init__(
        self,
        keys: Keyring,
        place: PayloadContext | None = None,
        on_refusal: Callable[[DecodeError], None] | None = None,
    ) -> None:
        self.keys = keys
        self._place = place
        self._on_refusal = on_refusal

    @property
    def current_key(self) -> str:
        """The id of the key that encrypts; see `contracts.temporal.encryption_metadata.Seals`."""
        return self.keys.first

    def sign_life(self, text: str) -> str:
        """Return the signature of a life mark; see `contracts.reconcile.recovery_mark.LifeSigner`."""
        return self.keys.sign_life(text)

    def has_signed_life(self, text: str, signature: str) -> bool:
        """Return whether one of the keys has made this signature of the life mark."""
        return self.keys.has_signed_life(text, signature)

    def with_context(self, context: SerializationContext) -> Self:
        """Return the same codec for the workflow of the context."""
        return type(self)(self.keys, PayloadContext.of(context), self._on_refusal)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt each payload. Raises ValueError without a current workflow."""
        if self._place is None:
            raise ValueError("only payloads of a workflow are encrypted: give the converter its context")
        return [self.keys.encrypt(payload, self._place) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypt each payload, or replace it by the reason why it is rejected."""
        return [self._decoded(payload) for payload in payloads]

    def _decoded(self, payload: Payload) -> Payload:
        try:
            clear, place = self.keys.open(payload)
            if self._place is None or not place.is_accepted_at(self._place):
                raise ForeignPayload(
                    "a payload in Temporal was written by Moorage for another workflow than this"
                )
        except DecodeError as error:
            # A payload that is read without its place, such as a schedule's, is accepted where it is used.
            if self._on_refusal and self._place is not None:
                self._on_refusal(error)
            lacks_key = b"true" if isinstance(error, KeyMissing) else b""
            return Payload(metadata={ENCODING: REFUSED, KEY_MISSING: lacks_key}, data=str(error).encode())
        return clear


def _associated(bound: dict[str, bytes]) -> bytes:
    # Use JSON, because no two different sets of values have the same text in it.
    return json.dumps({key: value.hex() for key, value in sorted(bound.items())}).encode()


def derived_keys(text: str, purpose: bytes) -> tuple[bytes, ...]:
    """Derive a key for another purpose from each of the keys in `text`, in their order.

    It uses the expand step of HKDF.
    """
    keys = (_key(number, word) for number, word in enumerate(text.replace(",", " ").split(), 1))
    return tuple(HKDFExpand(hashes.SHA256(), KEY_BYTES, purpose).derive(key) for key in keys)


def _key(number: int, word: str) -> bytes:
    # Accept both alphabets of base64, with and without padding.
    try:
        key = base64.b64decode(
            word.replace("-", "+").replace("_", "/").rstrip("=") + "=" * (-len(word.rstrip("=")) % 4),
            validate=True,
        )
    except (binascii.Error, ValueError):
        raise ValueError(f"key {number} is not base64: {KEY_HINT}") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"key {number} has {len(key)} bytes and not {KEY_BYTES}: {KEY_HINT}")
    return key
