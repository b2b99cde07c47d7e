"""The trusted certificates: those of the configured file, or else those of the system.

One rule applies to every connection that Python makes. Helm's library is written in Go, which has the same
rule.
"""

import os
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path

#: As in OpenSSL, curl and Go: the file or the folder with the trusted authorities.
FILE_VARIABLE, FOLDER_VARIABLE = "SSL_CERT_FILE", "SSL_CERT_DIR"


class TrustError(Exception):
    """The certificates cannot be used; the message names the setting and the cause."""


def tls_context(
    file: Path | None = None, *, setting: str = "", environ: Mapping[str, str] = os.environ
) -> ssl.SSLContext:
    """Create a context that trusts `file`, else SSL_CERT_FILE, else the system's authorities.

    `setting` is the setting that gives `file`, for messages. A file replaces the system's authorities, as in
    other tools.

    Raises:
        TrustError: the certificates cannot be used.
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
        import httpx

        return httpx.create_ssl_context(trust_env=False)
    # Import it here: a command that calls http:// does not need it.
    import truststore

    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def context_for(url: str, file: Path | None = None, *, setting: str = "") -> ssl.SSLContext:
    """Return the context for calls to `url`; for http, an empty one that is cheap to create."""
    if url.lower().startswith("http://"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return tls_context(file, setting=setting)


def _of_file(file: Path, setting: str) -> ssl.SSLContext:
    try:
        with file.open("rb"):
            # OpenSSL's own message for a file that cannot be read does not give the cause.
            pass
        return ssl.create_default_context(cafile=str(file))
    except ssl.SSLError:
        raise TrustError(
            f"{setting}: {file} has no certificate in PEM (-----BEGIN CERTIFICATE-----)"
        ) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no path"
        raise TrustError(f"{setting}: {file} cannot be read: {why}") from None


def _system_has_any() -> bool:
    """Return whether the system has a certificate store.

    Small images have none, and there httpx's own list is better.
    """
    if sys.platform != "linux":
        return True
    paths = ssl.get_default_verify_paths()
    return any(place and _has_any(Path(place)) for place in (paths.cafile, paths.capath, *_LINUX_STORES))


def _has_any(path: Path) -> bool:
    try:
        return path.is_file() or (path.is_dir() and any(path.iterdir()))
    except OSError:
        return False


#: Paths at which distributions have their store, and where truststore looks for it.
_LINUX_STORES = (
    "/etc/ssl/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/cert.pem",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/ca-bundle.pem",
)
