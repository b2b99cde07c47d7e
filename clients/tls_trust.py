"""Which certificates are trusted: those of the file that is named, else those of the system.

One rule for every connection that Python makes. Helm's library is Go, which has the same rule.
"""

import os
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx
import truststore

#: As OpenSSL, curl and Go have it: the file, or the folder, with the authorities that are trusted.
FILE_VARIABLE, FOLDER_VARIABLE = "SSL_CERT_FILE", "SSL_CERT_DIR"


class TrustError(Exception):
    """The certificates cannot be used; the text is a sentence with the setting and what is wrong."""


def tls_context(
    file: Path | None = None, *, setting: str = "", environ: Mapping[str, str] = os.environ
) -> ssl.SSLContext:
    """A context that trusts the authorities in `file` (from `setting`), in SSL_CERT_FILE, or of the system.

    A file replaces what the system trusts, as everywhere. Raises TrustError.
    """
    if file is None and environ.get(FILE_VARIABLE):
        file, setting = Path(environ[FILE_VARIABLE]), FILE_VARIABLE
    if file is not None:
        return _of_file(file, setting)
    if folder := environ.get(FOLDER_VARIABLE):
        if not Path(folder).is_dir():
            raise TrustError(f"{FOLDER_VARIABLE}: {folder} is not a folder")
        return ssl.create_default_context(capath=folder)
    if not _system_has_any():
        return httpx.create_ssl_context(trust_env=False)
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def context_for(url: str, file: Path | None = None, *, setting: str = "") -> ssl.SSLContext:
    """The context for calls to `url`; without encryption, one that trusts nobody and costs nothing."""
    if url.lower().startswith("http://"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return tls_context(file, setting=setting)


def _of_file(file: Path, setting: str) -> ssl.SSLContext:
    try:
        with file.open("rb"):
            pass  # OpenSSL's own words for a file that cannot be read do not say why
        return ssl.create_default_context(cafile=str(file))
    except ssl.SSLError:
        raise TrustError(
            f"{setting}: {file} has no certificate in PEM (-----BEGIN CERTIFICATE-----)"
        ) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no path"
        raise TrustError(f"{setting}: {file} cannot be read: {why}") from None


def _system_has_any() -> bool:
    """Whether the system has a store at all: small images have none, and there httpx's own list is better."""
    if sys.platform != "linux":
        return True
    paths = ssl.get_default_verify_paths()
    return any(place and _has_any(Path(place)) for place in (paths.cafile, paths.capath, *_LINUX_STORES))


def _has_any(path: Path) -> bool:
    try:
        return path.is_file() or (path.is_dir() and any(path.iterdir()))
    except OSError:
        return False


#: Where distributions have their store, and truststore looks for it.
_LINUX_STORES = (
    "/etc/ssl/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/cert.pem",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/ca-bundle.pem",
)
