"""Codes of seats: made here, shown once, and kept only as hashes."""

import hashlib
import hmac
import secrets

#: Base 32 without letters that look like digits or other letters (Crockford's).
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ_AS = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})
#: The first characters say which booking it is, so that not every booking is asked; they are no secret.
TAG_LENGTH = 4
#: Random characters of a code: 60 bits.
SECRET_LENGTH = 12
_GROUP = 4
_BITS = 5


def make_code(life: str) -> str:
    """Return a new code of the booking with this life, such as "7QF2-9XMB-2DWT-HRVE"."""
    code = _tag_of(life) + "".join(secrets.choice(ALPHABET) for _ in range(SECRET_LENGTH))
    return "-".join(code[start : start + _GROUP] for start in range(0, len(code), _GROUP))


def read_code(text: str) -> str:
    """Return a code as it was typed, without hyphens; "" if it cannot be one."""
    code = text.strip().upper().translate(_READ_AS)
    is_code = len(code) == TAG_LENGTH + SECRET_LENGTH and set(code) <= set(ALPHABET)
    return code if is_code else ""


def is_of_booking(code: str, life: str) -> bool:
    """Return whether a code that was read can be one of the booking with this life."""
    return code[:TAG_LENGTH] == _tag_of(life)


def hash_code(life: str, code: str) -> str:
    """Return the hash of a code, as it was made or read. The life of its booking is the salt."""
    return hmac.new(life.encode(), read_code(code).encode(), hashlib.sha256).hexdigest()


def _tag_of(life: str) -> str:
    number = int(hashlib.sha256(life.encode()).hexdigest()[:_BITS], 16)
    return "".join(ALPHABET[number >> _BITS * place & (1 << _BITS) - 1] for place in range(TAG_LENGTH))
