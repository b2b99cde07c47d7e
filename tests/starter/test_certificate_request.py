"""Certificate requests of people, and the certificates for them: whose, for which key, for how long."""

import warnings
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from clients.errors import MalformedAnswer
from starter.environments.credentials.certificate_request import (
    CertificateRequest,
    check_certificate,
    read_request,
)
from starter.request_errors import InvalidRequest
from tests.support.credentials import request_of
from tests.support.keys import rsa_key
from tests.support.virtual_access import new_key

ADA = "ada@example.com"
HOUR = timedelta(hours=1)


def name_of(*values: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in values])


OURS = name_of((NameOID.COMMON_NAME, ADA))
MASTERS = (NameOID.ORGANIZATION_NAME, "system:masters")


def signed(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
) -> str:
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    builder = x509.CertificateSigningRequestBuilder(subject)
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
@pytest.mark.parametrize("person", [ADA, "grüße@example.com", "a" * 70 + "@example.com"])
def test_request_of_the_person_is_accepted(curve: ec.EllipticCurve, person: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        text = request_of(person, ec.generate_private_key(curve))
    read = read_request(f"comment\n{text}\n", person)
    assert read.person == person
    assert read.pem.decode() == text, "more than the request is handed on"


def _broken(text: str) -> str:
    """The request with another signature."""
    lines = text.splitlines()
    last = lines[-2]
    lines[-2] = ("A" if last[0] != "A" else "B") + last[1:]
    return "\n".join(lines)


def _with_extension() -> str:
    builder = x509.CertificateSigningRequestBuilder(OURS)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("kubernetes")]), critical=False)
    return builder.sign(new_key(), hashes.SHA256()).public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not a PKCS#10"),
        ("nonsense", "is not a PKCS#10"),
        ("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----", "is not a PKCS#10"),
        ("\ud800", "is not a PKCS#10"),
        (_broken(request_of(ADA)), "is not signed with its own key"),
        (request_of("bob@example.com"), "another subject"),
        (request_of(ADA.upper()), "another subject"),
        (signed(name_of((NameOID.COMMON_NAME, ADA), MASTERS), new_key()), "another subject"),
        (signed(name_of(MASTERS), new_key()), "another subject"),
        (signed(name_of(), new_key()), "another subject"),
        (signed(name_of(*[(NameOID.COMMON_NAME, ADA)] * 2), new_key()), "another subject"),
        (signed(OURS, rsa_key(1)), "P-256 or P-384"),
        (signed(OURS, ed25519.Ed25519PrivateKey.generate()), "P-256 or P-384"),
        (signed(OURS, ec.generate_private_key(ec.SECP256K1())), "P-256 or P-384"),
        (_with_extension(), "asks for extensions"),
    ],
)  # fmt: skip
def test_other_requests_are_refused(text: str, reason: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        read_request(text, ADA)
    [problem] = refusal.value.problems
    assert problem.field == "request"
    assert reason in problem.message


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    return new_key()


@pytest.fixture
def request_(key: ec.EllipticCurvePrivateKey) -> CertificateRequest:
    return read_request(request_of(ADA, key), ADA)


def certificate(subject: x509.Name, key: ec.EllipticCurvePrivateKey, end: datetime) -> str:
    issuer = new_key()
    builder = x509.CertificateBuilder(
        name_of((NameOID.COMMON_NAME, "authority")),
        subject,
        key.public_key(),
        1,
        end - HOUR,
        end,
    )
    return builder.sign(issuer, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def test_certificate_of_the_request_is_accepted(
    key: ec.EllipticCurvePrivateKey, request_: CertificateRequest
) -> None:
    end = datetime.now(UTC).replace(microsecond=0) + HOUR
    assert check_certificate(certificate(OURS, key, end), request_, end) == end
    assert check_certificate(certificate(OURS, key, end), request_, end - timedelta(minutes=4)) == end


def test_other_certificates_are_refused(
    key: ec.EllipticCurvePrivateKey, request_: CertificateRequest
) -> None:
    end = datetime.now(UTC) + HOUR
    other = name_of((NameOID.COMMON_NAME, ADA), MASTERS)
    for text, reason in (
        ("nonsense", "no certificate"),
        (certificate(OURS, new_key(), end), "another key or person"),
        (certificate(other, key, end), "another key or person"),
        (certificate(OURS, key, end + timedelta(days=365)), "longer than requested"),
    ):
        with pytest.raises(MalformedAnswer, match=reason):
            check_certificate(text, request_, end)
