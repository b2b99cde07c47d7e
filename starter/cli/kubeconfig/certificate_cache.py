"""Certificates that the plugin has got before, in files of this user alone, so that `kubectl` starts fast.

A cached certificate keeps no access: the rights are in the environment, which can take them away at once.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from clients.private_files import ensure_private_folder, read_private, write_private
from starter.cli.kubeconfig.certificates import ClientCertificate
from starter.cli.state_folder import xdg_folder

#: No certificate is valid for longer, so an older file is of no use.
LONGEST_SECONDS = 3600
#: A certificate and its key have some 1,500 bytes.
_LONGEST_FILE = 20_000
_SUFFIX = ".json"


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the folder by the XDG conventions; None without a home folder."""
    try:
        return xdg_folder("XDG_CACHE_HOME", ".cache", environ) / "credentials"
    except RuntimeError:
        return None


class CertificateCache:
    """Keeps one certificate per installation, environment, life and person."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def find(self, *key: str) -> ClientCertificate | None:
        """Return the certificate of the key if it can still be used; ignore a file that is not ours."""
        try:
            content = json.loads(read_private(self._path(key), longest=_LONGEST_FILE))
            found = ClientCertificate(
                str(content["certificate"]), str(content["key"]), datetime.fromisoformat(content["use_until"])
            )
            # A longer time is of a clock that was wrong then, or is wrong now.
            left = (found.use_until - datetime.now(UTC)).total_seconds()
            return found if 0 < left <= LONGEST_SECONDS else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, certificate: ClientCertificate, *key: str) -> None:
        """Keep the certificate, and delete files of expired ones; do nothing if that is impossible."""
        content = {
            "certificate": certificate.certificate,
            "key": certificate.key,
            "use_until": certificate.use_until.isoformat(),
        }
        with suppress(OSError):
            path = self._path(key)
            ensure_private_folder(path.parent)
            write_private(path, json.dumps(content))
            for file in path.parent.glob(f"*{_SUFFIX}"):
                if time.time() - file.stat().st_mtime > LONGEST_SECONDS:
                    file.unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete all certificates."""
        with suppress(OSError):
            for file in self._folder.glob(f"*{_SUFFIX}") if self._folder else ():
                file.unlink(missing_ok=True)

    def _path(self, key: tuple[str, ...]) -> Path:
        if self._folder is None:
            raise OSError("there is no home folder")
        return self._folder / (hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32] + _SUFFIX)
