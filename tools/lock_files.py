"""Reads the lock files: which package in which version, for which system, with which hashes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker, default_environment

ROOT = Path(__file__).resolve().parents[1]
#: Holds the packages of requirements.txt as well, in the same versions.
WHOLE_LOCK = ROOT / "requirements-dev.txt"

_PIN = re.compile(r"^([a-z0-9-]+)==([^ ;\\]+)(?: ; (.+?))? \\$")
_HASH = re.compile(r"^ {4}--hash=(sha256:[0-9a-f]{64})(?: \\)?$")


@dataclass(frozen=True)
class Pin:
    """One package in one version."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]

    def applies(self, environment: Mapping[str, str]) -> bool:
        """Whether it is installed there; `environment` overrides what is so on this machine."""
        here = {name: str(value) for name, value in default_environment().items()}
        return not self.marker or Marker(self.marker).evaluate(here | dict(environment))

    def line(self) -> str:
        """The line of a lock file without a marker."""
        return " \\\n    ".join([f"{self.name}=={self.version}", *(f"--hash={each}" for each in self.hashes)])


def read_lock(path: Path = WHOLE_LOCK) -> list[Pin]:
    """Return the pins of a lock file; ValueError for a line that is none."""
    pins: list[Pin] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if found := _PIN.match(line):
            pins.append(Pin(found[1], found[2], found[3] or "", ()))
        elif pins and (found := _HASH.match(line)):
            last = pins.pop()
            pins.append(Pin(last.name, last.version, last.marker, (*last.hashes, found[1])))
        elif line.strip() and not line.startswith("#"):
            raise ValueError(f"{path.name}:{number}: is neither a pin nor a hash: {line}")
    return pins


def locked(environment: Mapping[str, str] | None = None, path: Path = WHOLE_LOCK) -> dict[str, Pin]:
    """Return the pins that apply on this machine, or where `environment` says, by name."""
    return {pin.name: pin for pin in read_lock(path) if pin.applies(environment or {})}
