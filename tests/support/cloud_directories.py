"""Clients and keys for the stand-ins of Okta and Entra ID, by the vendors' documented examples."""

import base64
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.jwk import RSAKey

from embedded.cloud_directories.assertions import ALGORITHMS, ASSERTION_TYPE
from embedded.cloud_directory_behaviour import BEHAVIOUR_PATH
from tests.support.deadline import HANG
from tests.support.stand_ins import TLS, control

OKTA_TOKEN = "00-token-of-an-okta-administrator"


def client(url: str, authorization: str) -> httpx.Client:
    """A client with this header of authorization; "" for none."""
    headers = {"Authorization": authorization} if authorization else {}
    return httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=HANG, verify=TLS)


def okta_client(url: str, token: str = OKTA_TOKEN) -> httpx.Client:
    return client(url, f"SSWS {token}")


def behave(url: str, **changes: Any) -> None:
    """Change the behaviour of the stand-in."""
    control(url, "PUT", BEHAVIOUR_PATH, changes)


class Signer:
    """A private key of an application, with its public half in the forms that vendors take."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.private_pem = pem.decode()
        self._jwk = RSAKey.import_key(pem)
        self.certificate = self._self_signed()

    @property
    def public_jwk(self) -> dict[str, Any]:
        return dict(self._jwk.as_dict(private=False))

    @property
    def certificate_pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def _self_signed(self) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "moorage")])
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .sign(self._key, hashes.SHA256())
        )

    def assertion(self, client_id: str, audience: str, **changes: Any) -> str:
        """A client assertion; `changes` replace claims, `header` adds to the header."""
        now = int(time.time())
        header = {"alg": "RS256", **changes.pop("header", {})}
        claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": audience,
            "iat": now,
            "exp": now + 300,
            "jti": str(uuid4()),
            **changes,
        }
        given = {key: value for key, value in claims.items() if value is not None}
        return jwt.encode(header, given, self._jwk, algorithms=ALGORITHMS)


def thumbprint(certificate: x509.Certificate, algorithm: hashes.HashAlgorithm) -> str:
    """The thumbprint of a certificate as it stands in the header of an assertion."""
    return base64.urlsafe_b64encode(certificate.fingerprint(algorithm)).decode().rstrip("=")


def assertion_form(assertion: str, **fields: str) -> dict[str, str]:
    """The form of a token request with a client assertion."""
    return {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
        **fields,
    }
