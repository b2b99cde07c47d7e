"""Ensures that `make` installs what is locked, whichever pip does it and whatever has come out since.

The commands are those of the Makefile. The index is on loopback, with empty wheels: of each locked package
the locked version, with its real requirements, and a newer one.
"""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.version import Version

import tools.lock_files
from tests.support.package_index import EmptyWheel, PackageIndex, environment_of, lock_of
from tests.support.stand_ins import CHECKOUT

pytestmark = pytest.mark.slow

LOCKS = ("requirements.txt", "requirements-dev.txt")
#: The hashes of those that Python 3.11.0 and 3.12.0 bring, and of a current one.
PIPS = {
    "22.3": "1daab4b8d3b97d1d763caeb01a4640a2250a0ea899e257b1e44b9eded91e15ab",
    "23.2.1": "7ccf472345f20d35bdc9d1841ff5f313260c2c33fe417f48c30ac46cccabf5be",
    "26.3": "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13",
}
CURRENT = "26.3"
#: The oldest that a Python like this one can bring: 22.3 does not run on Python 3.12.
OLDEST = "22.3" if sys.version_info < (3, 12) else "23.2.1"
#: An end for what hangs.
LONGEST = 240.0


def locked(lock: str) -> dict[str, str]:
    """Return the packages of one of our lock files that are for this machine, with their versions."""
    return {pin.name: pin.version for pin in tools.lock_files.locked(path=CHECKOUT / lock).values()}


def newer(version: str) -> str:
    """Return the next release after this one."""
    *head, last = Version(version).release
    return ".".join(map(str, (*head, last + 1)))


def wheel_of(name: str, version: str) -> EmptyWheel:
    """Return an empty wheel that requires what the installed package does."""
    metadata = importlib.metadata.metadata(name)
    return EmptyWheel(
        name,
        version,
        requires=tuple(metadata.get_all("Requires-Dist") or ()),
        extras=tuple(metadata.get_all("Provides-Extra") or ()),
    )


@pytest.fixture(scope="module")
def packages() -> dict[str, list[EmptyWheel]]:
    """The wheels that each of our lock files pins, made empty."""
    return {lock: [wheel_of(name, version) for name, version in locked(lock).items()] for lock in LOCKS}


@pytest.fixture(scope="module")
def index(packages: dict[str, list[EmptyWheel]]) -> Iterator[PackageIndex]:
    """An index of all of them, with a newer release of each."""
    pinned = {wheel.name: wheel for wheels in packages.values() for wheel in wheels}
    later = [wheel_of(wheel.name, newer(wheel.version)) for wheel in pinned.values()]
    with PackageIndex([*pinned.values(), *later]) as index:
        yield index


def pip_wheel(version: str) -> Path:
    """Return the wheel of this pip from the cache, fetched before if it is not there."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "moorage" / "pip"
    wheel = folder / f"pip-{version}-py3-none-any.whl"
    if not wheel.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pins = folder / f"pip-{version}-{os.getpid()}.txt"
        pins.write_text(f"pip=={version} --hash=sha256:{PIPS[version]}\n")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
        done = subprocess.run(
            [*command, "-r", str(pins), "-d", str(folder)], capture_output=True, text=True, timeout=LONGEST
        )
        pins.unlink()
        if done.returncode:
            pytest.skip(f"pip {version} cannot be had here: {done.stderr.strip().splitlines()[-1]}")
    return wheel


def new_venv(folder: Path, version: str) -> None:
    """Make a virtual environment that has this pip and nothing else."""
    wheel = pip_wheel(version)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=LONGEST)
    [site] = (folder / "lib").glob("python*/site-packages")
    # The same as an install of the wheel, for which pip itself would take five seconds of processor.
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    pip = folder / "bin" / "pip"
    pip.write_text('#!/bin/sh\nexec "${0%/*}/python" -m pip "$@"\n')
    pip.chmod(0o755)


def commands(venv: Path, *having: str) -> list[str]:
    """Return the commands of `make venv` for a new virtual environment that have all of these words."""
    planned = subprocess.run(
        ["make", "-n", "-C", CHECKOUT, f"{venv}/.dev", f"VENV={venv}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=LONGEST,
    )
    found = [line for line in planned.stdout.splitlines() if all(word in line.split() for word in having)]
    assert found, f"the Makefile has no command with {having}: {planned.stdout}"
    return found


def run(command: str, folder: Path, index: PackageIndex) -> subprocess.CompletedProcess[str]:
    """Run a command of the Makefile in `folder`, with our index."""
    return subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=environment_of(index, os.environ),
        capture_output=True,
        text=True,
        timeout=LONGEST,
    )


@pytest.fixture
def folder(tmp_path: Path, packages: dict[str, list[EmptyWheel]]) -> Path:
    """A folder with lock files of the empty wheels."""
    for lock, wheels in packages.items():
        (tmp_path / lock).write_text(lock_of(wheels))
    return tmp_path


def installed_in(venv: Path) -> dict[str, str]:
    """Return what a virtual environment has, but pip."""
    [site] = (venv / "lib").glob("python*/site-packages")
    found = importlib.metadata.distributions(path=[str(site)])
    return {one.metadata["Name"]: one.version for one in found if one.metadata["Name"] != "pip"}


@pytest.mark.parametrize("version", [OLDEST, CURRENT])
def test_install_takes_the_locked_versions_when_newer_ones_are_out(
    version: str, folder: Path, index: PackageIndex
) -> None:
    """Each locked version is fetched and nothing else; `pip check` finds all of it in order."""
    venv = folder / "venv"
    new_venv(venv, version)
    index.served.clear()
    for command in commands(venv, "install", "-r"):
        done = run(command, folder, index)
        assert done.returncode == 0, f"{command}: {done.stderr}"
    wanted = locked(LOCKS[0]) | locked(LOCKS[1])
    assert installed_in(venv) == wanted
    expected = {EmptyWheel(name, version).filename for name, version in wanted.items()}
    assert set(index.served) == expected, "the install has fetched something that is not locked"
    for command in commands(venv, "check"):
        done = run(command, folder, index)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def test_old_pip_fails_when_it_may_resolve(folder: Path, index: PackageIndex) -> None:
    """Ensures that the index shows the fault: without `--no-deps` the test above would be red."""
    venv = folder / "venv"
    new_venv(venv, OLDEST)
    [command, *_] = commands(venv, "install", "-r")
    done = run(command.replace(" --no-deps", ""), folder, index)
    assert done.returncode != 0, "the index does not show what --no-deps is for"
    assert "all requirements must have their versions pinned" in done.stderr


def test_install_commands_resolve_nothing() -> None:
    """Ensures that each install of Makefile and Dockerfile is without dependencies, and checked."""
    for page in ("Makefile", "Dockerfile"):
        text = (CHECKOUT / page).read_text()
        installs = re.findall(r"pip install[^\n&]*", text)
        assert len(installs) >= 2, page
        assert all("--no-deps" in install for install in installs), installs
        assert re.search(r"pip check", text), f"{page} does not check what it has installed"


def test_targets_leave_out_what_needs_more_than_this_machine() -> None:
    """Ensures that they start no cluster and no browser, and that two of them are all the rest."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    options = project["tool"]["pytest"]["ini_options"]["addopts"]
    makefile = (CHECKOUT / "Makefile").read_text()
    [elsewhere] = re.findall(r"^ELSEWHERE := (.+)$", makefile, re.MULTILINE)
    assert elsewhere == options[options.index("-m") + 1]
    chosen = dict(re.findall(r'^(test|slow|quick):.*\n.* -m "([^"]+)"', makefile, re.MULTILINE))
    assert chosen == {
        "test": "not slow and $(ELSEWHERE)",
        "slow": "slow and $(ELSEWHERE)",
        "quick": "not slow and not stack and $(ELSEWHERE)",
    }
