"""The certificate authority of the virtual API servers: created once, kept with the simulated host's data."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from clients.private_files import write_private

#: The authority outlives every kubeconfig with its certificate.
AUTHORITY_VALIDITY = timedelta(days=3650)
#: Each start creates a new certificate for the server, so this limits one run; clients refuse longer ones.
SERVER_VALIDITY = timedelta(days=397)
#: Difference of clocks between this machine and a client that checks a certificate.
CLOCK_SKEW = timedelta(hours=1)


def authority(folder: Path) -> Path:
    """Return the path of the authority's certificate in `folder`; create it and its key if missing."""
    certificate, key_file = folder / "ca.pem", folder / "ca.key"
    if not certificate.exists():
        made, key = new_authority("moorage simulated host")
        # The certificate last: if it exists, its key does too.
        _write_key(key_file, key)
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return certificate


def new_authority(name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Return the certificate of a new authority, which signs no other authorities, and its key."""
    key, subject = ec.generate_private_key(ec.SECP256R1()), _name(name)
    made = (
        _builder(subject, subject, key.public_key(), key.public_key(), AUTHORITY_VALIDITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made, key


def server_certificate(folder: Path) -> tuple[str, str]:
    """Return the paths of a new certificate for 127.0.0.1 and localhost, and of its key.

    The authority in `folder` signs it.
    """
    issuer = x509.load_pem_x509_certificate(authority(folder).read_bytes())
    issuer_key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
    if not isinstance(issuer_key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{folder / 'ca.key'} is not a key of the simulated host")
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    subject = _name("simulated vclusters")
    made = (
        _builder(subject, issuer.subject, key.public_key(), issuer_key.public_key(), SERVER_VALIDITY)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    certificate, key_file = folder / "server.pem", folder / "server.key"
    _write_key(key_file, key)
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return str(certificate), str(key_file)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
    validity: timedelta,
) -> x509.CertificateBuilder:
    """Return a certificate that is valid from now on, to which extensions are added before it is signed."""
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + validity)
        # Strict verifiers, such as that of Python since 3.13, require both identifiers.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """Return what the key of a certificate may do: sign certificates, or prove who holds it."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(name: str) -> x509.Name:
    """Return a subject or issuer of this name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the key as it is kept: in PEM, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    write_private(path, key_pem(key))
