"""Client certificates of the person for an environment: requested from the API, for a key made here.

The private key never leaves this machine.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Protocol

from contracts.templates.client_certificates import MAX_CREDENTIAL
from starter.cli.client.api_paths import environment_path
from starter.cli.errors import CliError, Code

#: A new certificate is requested this long before the end of the old one: a command may run for a while with
#: the one that it has, and clocks differ.
RENEWAL_MARGIN = timedelta(minutes=1)


@dataclass(frozen=True)
class ClientCertificate:
    """A certificate and its private key (PEM). `use_until` is by the clock of this machine."""

    certificate: str = field(repr=False)
    key: str = field(repr=False)
    use_until: datetime


class Caller(Protocol):
    """What is needed of a client of the API: one call, whose failure is a CliError."""

    def call(self, method: str, path: str, *, body: Any = None, once: bool = False) -> Any:
        """Return the JSON of the answer."""


def request_certificate(api: Caller, name: str, *, person: str, life: str) -> ClientCertificate:
    """Make a key and return the certificate that the API gives for it.

    Raises:
        CliError: The API refuses it; the next step is in the error.
    """
    # Import it here: a command that finds a certificate in the cache needs none of it.
    from starter.cli.views.base import parse
    from starter.cli.views.people import CredentialView

    key, request = _key_and_request(person)
    command = f"moorage kubeconfig {name} --merge"
    now = datetime.now(UTC)
    try:
        path = f"{environment_path(name)}/credential"
        answer = api.call("POST", path, body={"request": request, "life": life or None}, once=True)
    except CliError as error:
        problem = error.problem or {}
        if problem.get("status") == HTTPStatus.UNPROCESSABLE_ENTITY:
            # The request itself is valid, so it names another person than the token.
            message = f"the credential is for {person}, and your token is another person's"
            step = f"sign in as {person}, or write your own kubeconfig: {command}"
            raise CliError(Code.NOT_ALLOWED, message, next_steps=[step]) from None
        if problem.get("reason") == "other_life":
            message = f"{name} was deleted and created again, so this kubeconfig is out of date"
            step = f"write the kubeconfig again: {command}"
            raise CliError(error.code, message, next_steps=[step]) from None
        raise
    try:
        credential = parse(answer, CredentialView)
    except ValueError:
        message = "the answer to the request for a credential is none: is it Moorage's API?"
        raise CliError(Code.UNREACHABLE, message) from None
    valid_seconds = min(max(0, credential.valid_seconds), MAX_CREDENTIAL.total_seconds())
    use_until = now + timedelta(seconds=valid_seconds) - RENEWAL_MARGIN
    return ClientCertificate(credential.certificate, key, use_until.replace(microsecond=0))


def _key_and_request(person: str) -> tuple[str, str]:
    import warnings

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    with warnings.catch_warnings():
        # Kubernetes allows user names of more than 64 characters, which X.509 discourages.
        warnings.simplefilter("ignore")
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, person, _validate=False)])
        request = x509.CertificateSigningRequestBuilder(subject).sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private.decode(), request.public_bytes(serialization.Encoding.PEM).decode()
