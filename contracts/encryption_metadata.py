"""What stands in clear beside everything that is encrypted in Temporal: that it is, and with which key.

How it is encrypted is `worker.codec`'s; what is here tells without any key which keys are still needed.
"""

from typing import Protocol, runtime_checkable

from temporalio.api.common.v1 import Payload

ENCODING = "encoding"
ENCRYPTED = b"binary/encrypted"
KEY_ID = "encryption-key-id"
#: Of a key's SHA-256, in hex: enough to tell an installation's few keys apart, and tells nothing of them.
KEY_ID_LENGTH = 8


@runtime_checkable
class Seals(Protocol):
    """A codec that encrypts with one key at a time."""

    @property
    def current_key(self) -> str:
        """The id of the key that encrypts now."""
        ...


def key_of(payload: Payload) -> str:
    """The id of the key with which a payload says that it is encrypted; "" if it says none."""
    if payload.metadata.get(ENCODING) != ENCRYPTED:
        return ""
    return payload.metadata.get(KEY_ID, b"").decode(errors="replace")[:KEY_ID_LENGTH]


def is_outdated(payload: Payload, codec: object) -> bool:
    """Whether a payload is encrypted with another key than the one that encrypts now."""
    key = key_of(payload)
    return bool(key) and isinstance(codec, Seals) and key != codec.current_key
