"""Where Keycloak comes from: its Maven package, verified by digest, built once into the cache."""

import hashlib
import os
import shutil
import subprocess
import tarfile
from contextlib import suppress
from pathlib import Path

from tools.build_cache import cache_folder, locked

VERSION = "26.7.3"
#: SHA-256 of the package, so that what runs is what was tried.
SHA256 = "77657f30b7e90d70f727712ce1c967f430fd6a5e9f458d32d8c6df0635345f47"
ARTIFACT = f"org.keycloak:keycloak-quarkus-dist:{VERSION}:tar.gz"
COPY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"
#: What is fixed when it is built: `start --optimized` accepts no other features or database.
BUILD_OPTIONS = (
    "--db=dev-file",
    "--health-enabled=true",
    "--cache=local",
    "--features=scim-api,admin-fine-grained-authz",
)
#: Java's fast compiler only: a server that lives for minutes starts in half the time with it.
JAVA_OPTIONS = "-XX:TieredStopAtLevel=1"


class KeycloakError(Exception):
    """Keycloak cannot be had or started; the text says why and what to do."""


def ensure_built() -> Path:
    """Return the home folder of a built Keycloak; download and build it if the cache has none (90 s).

    Raises:
        KeycloakError: Java, Maven or the package is missing, or the build fails.
    """
    options = hashlib.sha256(" ".join((SHA256, *BUILD_OPTIONS)).encode()).hexdigest()[:12]
    cache = cache_folder("keycloak")
    home = cache / f"{VERSION}-{options}"
    with locked(cache / "lock") as lock:
        if home.is_dir():
            return home
        for program in ("java", "mvn"):
            if shutil.which(program) is None:
                raise KeycloakError(f"{program} is missing; install openjdk-17-jre-headless and maven")
        scratch = cache / "building"
        _remove(scratch)  # of a run that was killed
        scratch.mkdir()
        try:
            _build(_download(scratch, lock), scratch, lock).rename(home)
        finally:
            _remove(scratch)
    return home


def _remove(folder: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


def _download(folder: Path, lock: int) -> Path:
    copy = ["mvn", "-q", "-B", f"{COPY_PLUGIN}:copy", f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={folder}"]
    _run(copy, lock)
    package = folder / f"keycloak-quarkus-dist-{VERSION}.tar.gz"
    with package.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        raise KeycloakError(f"{package.name} has the digest {digest} instead of {SHA256}")
    return package


def _build(package: Path, folder: Path, lock: int) -> Path:
    with tarfile.open(package) as archive:
        archive.extractall(folder, filter="data")
    home = folder / f"keycloak-{VERSION}"
    _run([str(home / "bin" / "kc.sh"), "build", *BUILD_OPTIONS], lock)
    return home


def _run(command: list[str], lock: int) -> None:
    """Run the command, which keeps the lock until it ends, also when this process is killed."""
    environment = {**os.environ, "JAVA_OPTS_APPEND": JAVA_OPTIONS}
    done = subprocess.run(
        command, env=environment, text=True, capture_output=True, check=False, pass_fds=[lock]
    )
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise KeycloakError(f"{Path(command[0]).name} failed with exit code {done.returncode}:\n{last}")
