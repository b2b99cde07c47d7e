"""The life mark: what a new run needs to continue a life, kept on the namespace when that is made.

It is as of that moment: a later extension, transfer or change of collaborators is not in it. It says whose an
environment is, so it is signed: the administrators of a host can write annotations there.
"""

import base64
import binascii
import zlib
from datetime import datetime
from typing import Protocol, Self, runtime_checkable

from contracts.environment.models import Environment
from contracts.types.decompression import decompress
from contracts.types.models import Frozen
from contracts.types.naming import OwnerMark, life_id

#: Up to this length the text is plain JSON, which people can read with kubectl.
MAX_PLAIN = 32 * 1024
#: Kubernetes allows 256 KiB for all annotations of an object together; the others are short.
MAX_TEXT = 240 * 1024
#: The longest JSON that a text is expanded to: a template and its environment, several times over.
MAX_EXPANDED = 1024 * 1024
_COMPRESSED = "zlib:"


@runtime_checkable
class LifeSigner(Protocol):
    """Signs life marks; the codec of the payloads does it, with its keys."""

    def sign_life(self, text: str) -> str:
        """Return the signature of a life mark."""
        ...

    def has_signed_life(self, text: str, signature: str) -> bool:
        """Return whether one of the keys has made this signature of the life mark."""
        ...


class LifeMark(Frozen):
    """The decisions that a life was started with, and when it was requested."""

    request_id: str
    environment: Environment
    requested_at: datetime

    @property
    def ends_at(self) -> datetime:
        """The end of the life as it was at its start."""
        return self.requested_at + self.environment.ttl

    @property
    def text(self) -> str:
        """The text for the annotation; "" if it would be too long."""
        plain = self.model_dump_json(exclude_defaults=True)
        if len(plain.encode()) <= MAX_PLAIN:
            return plain
        short = _COMPRESSED + base64.b64encode(zlib.compress(plain.encode(), 9)).decode()
        return short if len(short) <= MAX_TEXT else ""

    @classmethod
    def parse(cls, text: str | None, mark: OwnerMark) -> Self | None:
        """Return the life mark that `text` is; None if it is none, or that of another life."""
        try:
            found = cls.model_validate_json(_expand(text or ""))
        except ValueError:
            return None
        is_of_life = found.environment.mark == mark and life_id(found.request_id) == mark.life
        return found if is_of_life else None


def _expand(text: str) -> str:
    if not text.startswith(_COMPRESSED):
        return text
    try:
        packed = base64.b64decode(text.removeprefix(_COMPRESSED), validate=True)
    except binascii.Error as error:
        raise ValueError("it is not base64") from error
    return decompress(packed, MAX_EXPANDED).decode()
