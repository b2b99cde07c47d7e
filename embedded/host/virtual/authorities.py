"""The certificate authorities of the vClusters: each signs client certificates for its API server only."""

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from sqlite3 import Connection, Row

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from embedded.host.tls import key_pem, key_usage, new_authority
from embedded.host.virtual.rbac import User

#: Certificates are valid from this long before they are signed, as those of kube-controller-manager.
BACKDATE = timedelta(minutes=5)
#: Longer certificates end earlier by the backdate, so that their whole validity is what was requested.
SHORT = timedelta(hours=8)
#: `--cluster-signing-duration` of kube-controller-manager: the longest validity, and that without a request.
LONGEST_VALIDITY = timedelta(days=365)
#: OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python has no name for. The API server looks at the time
#: itself, so that an expired certificate gets a 401, not a broken handshake.
_IGNORE_TIME = ssl.VerifyFlags(0x200000)
#: Where a user's credential is named, so that an audit tells two of one user apart.
CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
#: Presented certificates that are kept parsed; each call on a connection presents the same one.
_PARSED = 256


class Authorities:
    """The authorities, each created when it first signs.

    An authority belongs to the volume of a vCluster, which `volume` names, and ends with it: its certificates
    are refused from then on. All of them are trusted in the handshake, where it is not known yet which
    vCluster a client calls. A client certificate of another authority, or after a restart of one that has
    ended, breaks the handshake; a real API server answers 401.
    """

    def __init__(self, rows: Connection) -> None:
        self._rows = rows
        self._context: ssl.SSLContext | None = None
        #: The longest validity that is signed.
        self.longest = LONGEST_VALIDITY

    def accept_certificates(self, context: ssl.SSLContext) -> None:
        """Ask clients on this context for a certificate, without which they may connect as well."""
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= _IGNORE_TIME
        for row in self._rows.execute("SELECT certificate FROM authorities"):
            context.load_verify_locations(cadata=row["certificate"])
        self._context = context

    def sign(
        self,
        where: tuple[str, str],
        volume: str,
        request: x509.CertificateSigningRequest,
        validity: timedelta,
    ) -> str:
        """Return a client certificate, in PEM, with the subject and the key of the request."""
        issuer, key = self._authority(where, volume)
        now = datetime.now(UTC)
        validity = min(validity, self.longest)
        signed = (
            x509.CertificateBuilder()
            .subject_name(request.subject)
            .issuer_name(issuer.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(now + validity - (BACKDATE if validity >= SHORT else timedelta()))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        return signed.public_bytes(serialization.Encoding.PEM).decode()

    def user(self, volume: str, chain: Sequence[str]) -> User | None:
        """Return the user whose certificate, in PEM, this is; None if it is expired or of another authority.

        The common name is the user's name, the organizations are the groups.
        """
        row = self._find(volume)
        if row is None or not chain:
            return None
        presented = _parsed(chain[0])
        try:
            presented.verify_directly_issued_by(_parsed(row["certificate"]))
        except (ValueError, TypeError, InvalidSignature):
            return None
        if not presented.not_valid_before_utc <= datetime.now(UTC) < presented.not_valid_after_utc:
            return None
        names = _values(presented.subject, NameOID.COMMON_NAME)
        if not names:
            return None
        groups = _values(presented.subject, NameOID.ORGANIZATION_NAME)
        digest = sha256(presented.public_bytes(serialization.Encoding.DER)).hexdigest()
        extra = {CREDENTIAL_ID: [f"X509SHA256={digest}"]}
        return User(names[0], (*groups, "system:authenticated"), extra)

    def _authority(
        self, where: tuple[str, str], volume: str
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        row = self._find(volume)
        if row is None:
            return self._create(where, volume)
        return _parsed(row["certificate"]), _parsed_key(row["key"])

    def _find(self, volume: str) -> Row | None:
        row: Row | None = self._rows.execute(
            "SELECT certificate, key FROM authorities WHERE volume = ?", (volume,)
        ).fetchone()
        return row

    def _create(
        self, where: tuple[str, str], volume: str
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        # Their names differ, so that a handshake finds the right one among many.
        made, key = new_authority(f"simulated vcluster {x509.random_serial_number():x}")
        certificate = made.public_bytes(serialization.Encoding.PEM).decode()
        values = (*where, volume, certificate, key_pem(key).decode())
        with self._rows:
            self._rows.execute("INSERT INTO authorities VALUES (?, ?, ?, ?, ?)", values)
        if self._context:
            self._context.load_verify_locations(cadata=certificate)
        return made, key


@lru_cache(maxsize=_PARSED)
def _parsed(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


@lru_cache(maxsize=_PARSED)
def _parsed_key(pem: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the key of this authority is none of the simulated host")
    return key


def _values(subject: x509.Name, attribute: x509.ObjectIdentifier) -> list[str]:
    return [str(each.value) for each in subject.get_attributes_for_oid(attribute)]
