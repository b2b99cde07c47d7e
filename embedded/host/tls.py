"""The certificate authority of the virtual API servers: made once, kept with the simulated host's data."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from clients.private_files import write_private

#: The authority outlives every kubeconfig that was ever handed out with it.
AUTHORITY_VALIDITY = timedelta(days=3650)
#: The server's certificate is made anew at each start, so this bounds one run; platforms refuse longer ones.
SERVER_VALIDITY = timedelta(days=397)
#: What clocks may differ by between this machine and who looks at a certificate.
CLOCK_SKEW = timedelta(hours=1)


def authority(folder: Path) -> Path:
    """The authority's certificate in `folder`, with its key beside it; made if they are not there."""
    certificate, key_file = folder / "ca.pem", folder / "ca.key"
    if not certificate.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("moorage simulated host")
        made = (
            _builder(name, name, key.public_key(), key.public_key(), AUTHORITY_VALIDITY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        # The certificate last: where it is, its key is too.
        _write_key(key_file, key)
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return certificate


def server_certificate(folder: Path) -> tuple[str, str]:
    """Paths of a fresh certificate for 127.0.0.1 and localhost, by the authority in `folder`, and its key."""
    issuer = x509.load_pem_x509_certificate(authority(folder).read_bytes())
    issuer_key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
    if not isinstance(issuer_key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{folder / 'ca.key'} is not a key that was made here")
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    subject = _name("simulated vclusters")
    made = (
        _builder(subject, issuer.subject, key.public_key(), issuer_key.public_key(), SERVER_VALIDITY)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
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
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + validity)
        # Strict verifiers, such as Python's own since 3.13, want both identifiers.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
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


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(path, pem)
