"""Client assertions (RFC 7523): a short-lived JWT, signed by the client's private key, instead of a secret.

Okta knows the key by its id. Entra ID knows it by its certificate, which is in the same PEM text.
"""

import json
import re
import time
import warnings
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jwt
from joserfc.errors import InvalidKeyTypeError, JoseError, SecurityWarning
from joserfc.jwk import ECKey, RSAKey

from clients.errors import Denied

#: Life of an assertion: it is used once, at once. Entra ID recommends 5 to 10 minutes, Okta allows an hour.
LIFE = timedelta(minutes=5)
#: Shorter RSA keys are not accepted by Okta and Entra ID, and are not safe.
MIN_RSA_BITS = 2048
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

_PEM_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.+?-----END \1-----", re.DOTALL)
_EC_ALGORITHMS = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}

_Key: TypeAlias = RSAKey | ECKey


class SigningKey:
    """A private key, from PEM or JWK text, with what a verifier finds its public half by.

    Raises ValueError, without any part of the text, if it is not a usable private key.
    """

    def __init__(self, text: str, *, key_id: str | None = None, needs_certificate: bool = False) -> None:
        key = _load(text)
        #: When the certificate expires; None for a key that is known by its id.
        self.expires_at: datetime | None = None
        if isinstance(key, RSAKey) and key.raw_value.key_size < MIN_RSA_BITS:
            raise ValueError(f"has fewer than {MIN_RSA_BITS} bits: make a longer RSA key")
        if not needs_certificate:
            algorithm = _EC_ALGORITHMS.get(key.curve_name) if isinstance(key, ECKey) else "RS256"
            key_id = key_id or key.kid
            if algorithm is None:
                raise ValueError("has a curve that is not accepted: use P-256, P-384 or P-521")
            if not key_id:
                raise ValueError("has no id: give key_id, or the key as JWK with its kid")
            self.header = {"alg": algorithm, "typ": "JWT", "kid": key_id}
        else:
            if not isinstance(key, RSAKey):
                raise ValueError("is no RSA key, and Entra ID takes no other")
            certificate = _certificate_of(key, text)
            self.header = {"alg": "PS256", "typ": "JWT", "x5t#S256": _thumbprint(certificate)}
            self.expires_at = certificate.not_valid_after_utc
        self._key = key

    def sign(self, claims: Mapping[str, str | int]) -> str:
        """Return the compact JWT of the claims."""
        return jwt.encode(self.header, dict(claims), self._key, algorithms=[self.header["alg"]])


class ClientAssertion:
    """The proof of a client by assertion, made new for each token.

    `read_key` returns the current text of the key, so that a rotated one is used without a restart.
    """

    def __init__(
        self,
        audience: str,
        client_id: str,
        read_key: Callable[[], str],
        *,
        key_id: str | None = None,
        needs_certificate: bool = False,
        system: str = "identity provider",
    ) -> None:
        self._audience, self._client_id, self._read_key = audience, client_id, read_key
        self._key_id, self._needs_certificate, self._system = key_id, needs_certificate, system
        self._last_key: tuple[str, SigningKey] | None = None

    def __call__(self) -> dict[str, str]:
        """Return the fields of a token request; raise Denied if the key cannot be used any more."""
        try:
            key = self._current_key()
        except ValueError as error:
            problem = str(error)
        else:
            return {"client_assertion_type": ASSERTION_TYPE, "client_assertion": key.sign(self._claims())}
        # Raise outside of the handler, because the errors of libraries may carry the key along.
        raise Denied(self._system, "sign in", f"private_key {problem}")

    def _current_key(self) -> SigningKey:
        """Return the key of the current text; the check of a new RSA key takes a tenth of a second."""
        text = self._read_key()
        if self._last_key is None or self._last_key[0] != text:
            key = SigningKey(text, key_id=self._key_id, needs_certificate=self._needs_certificate)
            self._last_key = text, key
        return self._last_key[1]

    def _claims(self) -> dict[str, str | int]:
        now = int(time.time())
        return {
            "aud": self._audience,
            "iss": self._client_id,
            "sub": self._client_id,
            "jti": str(uuid4()),
            "iat": now,
            "nbf": now,
            "exp": now + int(LIFE.total_seconds()),
        }


def _load(text: str) -> _Key:
    """Return the private key in the text; raise ValueError if there is none that can be used."""
    try:
        # The library warns of short keys, which `SigningKey` refuses.
        with warnings.catch_warnings(action="ignore", category=SecurityWarning):
            if text.lstrip().startswith("{"):
                values = json.loads(text)
                key = (RSAKey if values.get("kty") == "RSA" else ECKey).import_key(values)
                if key.is_private:
                    return key
            elif pem := _block(text, "PRIVATE KEY"):
                return _from_pem(pem)
    except (ValueError, TypeError, AttributeError, RecursionError, JoseError):
        # Raise outside of the handler, because the errors of libraries may carry the key along.
        pass
    raise ValueError("is no private key in PEM or JWK form, without a passphrase")


def _from_pem(pem: str) -> _Key:
    try:
        return RSAKey.import_key(pem)
    except InvalidKeyTypeError:
        return ECKey.import_key(pem)


def _thumbprint(certificate: x509.Certificate) -> str:
    return urlsafe_b64encode(certificate.fingerprint(SHA256())).decode().rstrip("=")


def _certificate_of(key: RSAKey, text: str) -> x509.Certificate:
    block = _block(text, "CERTIFICATE")
    if block is None:
        raise ValueError("has no certificate: put both into one PEM file, as Entra ID knows the certificate")
    try:
        certificate = x509.load_pem_x509_certificate(block.encode())
        belongs = certificate.public_key() == key.public_key
    except ValueError:
        belongs = False
    if not belongs:
        raise ValueError("does not belong to the certificate beside it")
    return certificate


def _block(text: str, kind: str) -> str | None:
    """Return the first PEM block of this kind; encrypted keys are of another kind."""
    for match in _PEM_BLOCK.finditer(text):
        if match[1] == kind or (kind == "PRIVATE KEY" and match[1] in ("RSA PRIVATE KEY", "EC PRIVATE KEY")):
            return match[0]
    return None
