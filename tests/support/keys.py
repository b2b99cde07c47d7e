"""RSA keys for tests: making one takes a tenth of a second of processor, so a process makes each once."""

from functools import cache

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import RSAKey


@cache
def rsa_key(number: int) -> rsa.RSAPrivateKey:
    """Return the key of this number; other numbers give other keys."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def rsa_pem(number: int) -> bytes:
    """Return the key of this number in PKCS8."""
    return rsa_key(number).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def rsa_jwk(key_id: str, number: int) -> RSAKey:
    """Return the key of this number as a JWK for signatures, with this id."""
    return RSAKey.import_key(rsa_pem(number), {"kid": key_id, "use": "sig"})
