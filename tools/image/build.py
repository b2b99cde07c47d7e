"""Calls buildah, with separate storage and no access to any registry of images."""

import contextlib
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tools.lock_files import ROOT

#: The settings of this machine's pip that also hold in the build.
PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "cert")
AUTHORITIES = Path("/etc/ssl/certs")


class ImageError(Exception):
    """The image cannot be built; the text is one sentence."""


def output_of(*command: str) -> str:
    """Return the output of a command.

    Raises:
        ImageError: it fails; what it says is on standard error.
    """
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise ImageError(f"`{shlex.join(command[:2])}` failed with exit code {done.returncode}")
    return done.stdout


class Buildah:
    """Builds, exports and looks into images. `cache` keeps the layers for the next build."""

    def __init__(self, cache: Path, scratch: Path) -> None:
        self._scratch = scratch
        storage, registries = scratch / "storage.conf", scratch / "registries.conf"
        driver = os.environ.get("STORAGE_DRIVER", "overlay")
        lines = [
            "[storage]",
            f'driver = "{driver}"',
            f'graphroot = "{cache / "storage"}"',
            f'runroot = "{scratch / "run"}"',
        ]
        storage.write_text("\n".join(lines))
        registries.write_text("unqualified-search-registries = []\n")
        os.environ |= {"CONTAINERS_STORAGE_CONF": str(storage), "CONTAINERS_REGISTRIES_CONF": str(registries)}
        #: All files get the time of the commit, so that one commit gives one set of layers.
        self.timestamp = output_of("git", "-C", str(ROOT), "log", "-1", "--format=%ct").strip()

    def build(
        self, target: str, tag: str, folder: Path = ROOT, arguments: Mapping[str, str] | None = None
    ) -> None:
        """Build the Dockerfile of a folder, with these arguments of it."""
        chosen = ["--target", target] if target else []
        for name, value in (arguments or {}).items():
            chosen += ["--build-arg", f"{name}={value}"]
        output_of(
            "buildah", "bud",
            "--quiet", "--layers", "--pull-never", "--isolation", "chroot", "--network", "host",
            "--timestamp", self.timestamp, *chosen, *self._mounts(), "--tag", tag, str(folder),
        )  # fmt: skip

    def export(self, tag: str, archive: Path) -> str:
        """Write the image as an OCI archive, and return the digest of its manifest."""
        digest = self._scratch / "digest"
        archive.unlink(missing_ok=True)
        output_of(
            "buildah", "push", "--quiet", "--digestfile", str(digest), tag, f"oci-archive:{archive}:{tag}"
        )
        return digest.read_text().removeprefix("sha256:")

    @contextlib.contextmanager
    def mounted(self, tag: str) -> Iterator[Path]:
        """Give the file tree of an image."""
        container = output_of("buildah", "from", "--quiet", "--pull-never", tag).strip()
        try:
            yield Path(output_of("buildah", "mount", container).strip())
        finally:
            output_of("buildah", "rm", container)

    def _mounts(self) -> list[str]:
        """Return what the build sees of this machine, in no layer: its authorities and pip's settings."""
        listed = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
        ).stdout
        settings = {}
        for line in listed.splitlines():
            name, _, value = line.partition("=")
            settings[name.rpartition(".")[2]] = value.strip("'")
        lines = [f"{name} = {settings[name]}" for name in PIP_SETTINGS if name in settings]
        configuration = self._scratch / "pip.conf"
        configuration.touch(mode=0o600)
        configuration.write_text("\n".join(["[global]", *lines]))
        mounts = {AUTHORITIES: AUTHORITIES, **({configuration: Path("/etc/pip.conf")} if lines else {})}
        return [word for ours, theirs in mounts.items() for word in ("--volume", f"{ours}:{theirs}:ro")]
