"""What `pipx install` of our wheel gives: a virtual environment with it and the packages that it requires.

Nothing is downloaded: the packages are those of this environment, each file as a link.
"""

import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.deadline import HANG
from tests.support.stand_ins import CHECKOUT

#: What the wheel is made of.
SOURCES = ("contracts", "workflows", "activities", "clients", "worker", "starter", "embedded")
PROJECT_FILES = ("moorage.py", "pyproject.toml", "README.md", "LICENSE")


@dataclass(frozen=True)
class ClientPackage:
    """The virtual environment, and the packages in it beside ours."""

    folder: Path
    packages: Mapping[str, Distribution]

    @property
    def bin(self) -> Path:
        """The folder of its programs."""
        return self.folder / "bin"

    @property
    def python(self) -> str:
        return str(self.bin / "python")

    @property
    def site(self) -> Path:
        [site] = (self.folder / "lib").glob("python*/site-packages")
        return site

    def size(self, *, bytecode: bool = False) -> int:
        """Return the bytes of all files; those of bytecode only if it says so."""
        files = (file for file in self.site.rglob("*") if file.is_file())
        return sum(file.stat().st_size for file in files if bytecode or file.suffix != ".pyc")

    @classmethod
    def install(cls, folder: Path) -> "ClientPackage":
        """Build our wheel, and install it and what it requires into a new virtual environment."""
        source, venv = folder / "source", folder / "venv"
        for name in SOURCES:
            shutil.copytree(CHECKOUT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in PROJECT_FILES:
            shutil.copy(CHECKOUT / name, source / name)
        _run(sys.executable, "-m", "venv", "--without-pip", str(venv))
        pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
        _run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source))
        [wheel] = folder.glob("*.whl")
        python = str(venv / "bin" / "python")
        _run(*pip, "--python", python, "install", "--no-deps", "--no-index", "--no-compile", str(wheel))
        [site] = (venv / "lib").glob("python*/site-packages")
        [own] = importlib.metadata.distributions(name="moorage", path=[str(site)])
        packages = requirements_of(own)
        for package in packages.values():
            _link(package, site)
        return cls(venv, packages)


def requirements_of(distribution: Distribution) -> dict[str, Distribution]:
    """Return what it requires here, without its extras, and what those require, and so on."""
    found: dict[str, Distribution] = {}
    waiting = list(_needed(distribution, extra=""))
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        package = found.get(name) or importlib.metadata.distribution(name)
        extras = ["", *requirement.extras] if name not in found else requirement.extras
        found[name] = package
        waiting += [each for extra in extras for each in _needed(package, extra=extra)]
    return found


def _needed(distribution: Distribution, *, extra: str) -> Iterator[Requirement]:
    for text in distribution.requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement


def _link(package: Distribution, site: Path) -> None:
    """Put the files of an installed package into another folder of packages; not its programs."""
    for file in package.files or ():
        there, here = Path(str(package.locate_file(file))), site / file
        if ".." not in file.parts and there.is_file():
            here.parent.mkdir(parents=True, exist_ok=True)
            here.symlink_to(there)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 0, f"{command}: {done.stderr}"
