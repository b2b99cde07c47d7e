"""The clear-text metadata of encrypted payloads in Temporal.

It says that a payload is encrypted, and with which key. `worker.codec` does the encryption. With this
metadata alone, and without any key, Moorage finds which keys are still needed.
"""

from typing import Protocol, runtime_checkable

from temporalio.api.common.v1 import Payload

ENCODING = "encoding"
ENCRYPTED = b"binary/encrypted"
KEY_ID = "encryption-key-id"
#: For a key's SHA-256, in hex: long enough to distinguish the few keys of an installation, and it reveals
#: nothing about them.
KEY_ID_LENGTH = 8


@runtime_checkable
class EncryptedPayloads(Protocol):
    """A codec that encrypts with one key at a time."""

    @property
    def current_key(self) -> str:
        """The id of the key that encrypts now."""
        ...


def key_id_of(payload: Payload) -> str:
    """Return the id of the key that encrypted a payload, from its metadata; "" if there is none."""
    if payload.metadata.get(ENCODING) != ENCRYPTED:
        return ""
    return payload.metadata.get(KEY_ID, b"").decode(errors="replace")[:KEY_ID_LENGTH]


def is_outdated(payload: Payload, codec: object) -> bool:
    """Return whether a payload is encrypted with another key than the current one."""
    key = key_id_of(payload)
    return bool(key) and isinstance(codec, EncryptedPayloads) and key != codec.current_key
