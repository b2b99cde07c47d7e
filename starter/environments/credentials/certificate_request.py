"""Checks of a person's certificate request (PKCS#10), and of the certificate that a vCluster issues."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from clients.errors import MalformedAnswer
from starter.request_errors import FieldProblem, InvalidRequest

FIELD = "request"
#: A request for an elliptic curve has some 500 bytes.
MAX_REQUEST = 4096
_CURVES = (ec.SECP256R1, ec.SECP384R1)
#: A certificate may end this much later than requested: the clocks of two machines differ.
CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True)
class CertificateRequest:
    """A valid request of a person. `pem` holds nothing else; `public_key` is its SubjectPublicKeyInfo."""

    person: str
    pem: bytes
    public_key: bytes


def read_request(text: str, person: str) -> CertificateRequest:
    """Return the person's request in the PEM text.

    It must be signed with its own key, of the curve P-256 or P-384, and name the person and nothing else: a
    group, which others can give rights to, would outlive the removal of the person.

    Raises:
        InvalidRequest: It is another, with the reason.
    """
    with _long_names():
        try:
            request = x509.load_pem_x509_csr(text.encode())
            key, subject = request.public_key(), list(request.subject)
            has_extensions, is_signed = bool(len(request.extensions)), request.is_signature_valid
        except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature, x509.DuplicateExtension):
            raise _invalid("is not a PKCS#10 certificate request in PEM") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _CURVES):
        raise _invalid("needs a key of the elliptic curve P-256 or P-384")
    if not is_signed:
        raise _invalid("is not signed with its own key")
    if _names(subject) != _expected(person):
        raise _invalid(f"has another subject than CN={person}, which is you")
    if has_extensions:
        raise _invalid("asks for extensions: a credential has none")
    return CertificateRequest(person, request.public_bytes(Encoding.PEM), _encoded(key))


def make_request(person: str) -> tuple[str, str]:
    """Return a request of the person, and its new key, in PEM: for people who cannot make one."""
    key = ec.generate_private_key(ec.SECP256R1())
    with _long_names():
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, person)])
        request = x509.CertificateSigningRequestBuilder(subject).sign(key, hashes.SHA256())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return request.public_bytes(Encoding.PEM).decode(), pem.decode()


def check_certificate(text: str, request: CertificateRequest, latest_end: datetime) -> datetime:
    """Return when the certificate ends; raise MalformedAnswer if it is not the one that was requested.

    Tenants administer the vCluster that has issued it.
    """
    operation = f"issue a certificate for {request.person}"
    with _long_names():
        try:
            certificate = x509.load_pem_x509_certificate(text.encode())
            key, subject = _encoded(certificate.public_key()), _names(list(certificate.subject))
            end = certificate.not_valid_after_utc
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise MalformedAnswer("vCluster", operation, "the answer is no certificate") from None
    if key != request.public_key or subject != _expected(request.person):
        raise MalformedAnswer("vCluster", operation, "the certificate is for another key or person")
    if end > latest_end + CLOCK_SKEW:
        raise MalformedAnswer("vCluster", operation, "the certificate is valid for longer than requested")
    return end


def _expected(person: str) -> list[tuple[x509.ObjectIdentifier, object]]:
    return [(NameOID.COMMON_NAME, person)]


def _names(subject: list[x509.NameAttribute[str | bytes]]) -> list[tuple[x509.ObjectIdentifier, object]]:
    return [(each.oid, each.value) for each in subject]


def _encoded(key: object) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return encoded


@contextmanager
def _long_names() -> Iterator[None]:
    """Allow addresses of more than 64 characters, which Kubernetes allows and X.509 discourages."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*length must be")
        yield


def _invalid(message: str) -> InvalidRequest:
    return InvalidRequest([FieldProblem(field=FIELD, message=message)])
