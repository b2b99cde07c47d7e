"""When the certificates that a process uses expire: those of Temporal, the outside systems and the hosts.

Files that a process reads once, at its start, are read here once as well: a rotated file helps it only after
a restart. The certificate of the API's own public address is that of the proxy before it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from temporalio.client import Client
from temporalio.service import TLSConfig

from clients.kubernetes.auth.kubeconfig import UnusableCredentials, decode_base64, read_context
from clients.private_files import read_trusted
from worker.settings.groups.hosts import KubernetesHostCluster
from worker.settings.models import HostWorkerSettings, Settings
from worker.settings.sources import reader_of


@dataclass(frozen=True)
class Certificate:
    """A certificate that is in use: for what, for which host if for one, and until when it is valid."""

    use: str
    host: str
    expires_at: datetime


class Certificates:
    """The certificates of a process, by its settings and its connection to Temporal."""

    def __init__(self, settings: Settings | HostWorkerSettings, client: Client) -> None:
        self._settings = settings
        self._at_start = tuple(self._read_at_start(client))

    def read(self) -> tuple[Certificate, ...]:
        """Return the certificates in use. What cannot be read is left out: its user reports it."""
        return (*self._at_start, *self._read_again())

    def _read_at_start(self, client: Client) -> Iterator[Certificate]:
        tls = client.service_client.config.tls
        if isinstance(tls, TLSConfig):
            yield from _authority("temporal ca", "", tls.server_root_ca_cert)
            yield from _own("temporal client", "", tls.client_cert)
        settings = self._settings
        if isinstance(settings, Settings):
            yield from self._of_central_systems(settings)
        for name, cluster in settings.hosts.items():
            if not isinstance(cluster, KubernetesHostCluster):
                yield from _authority("host ca", name, _content(cluster.ca_file))

    def _of_central_systems(self, settings: Settings) -> Iterator[Certificate]:
        yield from _authority("control plane ca", "", _content(settings.control_plane.ca_file))
        if settings.identity is not None:
            yield from _authority("identity provider ca", "", _content(settings.identity.ca_file))

    def _read_again(self) -> Iterator[Certificate]:
        """Yield those that the process itself reads again, so that a rotation needs no restart."""
        identity = self._settings.identity if isinstance(self._settings, Settings) else None
        if identity is not None and identity.private_key is not None:
            read = reader_of(identity.private_key, is_one_line=False)
            text = read() if read else identity.private_key.get_secret_value()
            yield from _own("identity provider client", "", text.encode())
        for name, cluster in self._settings.hosts.items():
            if not isinstance(cluster, KubernetesHostCluster) or cluster.kubeconfig is None:
                continue
            try:
                found = read_context(cluster.kubeconfig, cluster.context)
            except UnusableCredentials:
                continue
            yield from _authority("host ca", name, _embedded(found.cluster, "certificate-authority"))
            yield from _own("host client", name, _embedded(found.user, "client-certificate"))


def _embedded(node: Mapping[str, Any], key: str) -> bytes | None:
    """Return the bytes in a kubeconfig, or those of the file that it names."""
    return decode_base64(node[f"{key}-data"]) if f"{key}-data" in node else _content(node.get(key))


def _content(path: Path | str | None) -> bytes | None:
    try:
        return read_trusted(Path(path).expanduser()) if path else None
    except OSError:
        return None


def _own(use: str, host: str, pem: bytes | None) -> Iterable[Certificate]:
    """Return our own certificate: the first of a chain."""
    return [Certificate(use, host, ends) for ends in _ends(pem)[:1]]


def _authority(use: str, host: str, pem: bytes | None) -> Iterable[Certificate]:
    """Return the authority that expires first; those that have expired count only if all have.

    A file may have the former authority beside its successor.
    """
    ends = sorted(_ends(pem))
    valid = [end for end in ends if end > datetime.now(UTC)]
    return [Certificate(use, host, end) for end in (valid or ends[-1:])[:1]]


def _ends(pem: bytes | None) -> list[datetime]:
    # A file may begin with the private key, which the loader skips.
    try:
        return [one.not_valid_after_utc for one in x509.load_pem_x509_certificates(pem)] if pem else []
    except ValueError:
        return []
