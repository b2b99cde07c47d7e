"""`make wheels`: checks that every locked package has a wheel for every supported Python and system.

pip downloads each with its hash into a temporary folder: 1 GB in all. A wheel that also fits another Python
or system is downloaded once. The exit code is 1 if one is missing.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from email import message_from_bytes
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import canonicalize_name, parse_wheel_filename

from tools.lock_files import Pin, locked

PYTHONS = ("3.11", "3.12", "3.13", "3.14")


@dataclass(frozen=True)
class System:
    """A system: pip's names of its platforms, and its values of markers."""

    name: str
    platforms: tuple[str, ...]
    markers: Mapping[str, str]


def _linux(machine: str) -> System:
    # Debian 10, RHEL 8 and everything later have glibc 2.28.
    names = [*(f"manylinux_2_{minor}_{machine}" for minor in range(28, 4, -1)), f"manylinux2014_{machine}"]
    if machine == "x86_64":
        names += ["manylinux2010_x86_64", "manylinux1_x86_64"]
    markers = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
    return System(f"Linux {machine}", tuple(names), markers | {"platform_machine": machine})


def _macos(machine: str, version: str) -> System:
    markers = {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix"}
    # pip adds the older versions itself.
    return System(
        f"macOS {version} {machine}",
        (f"macosx_{version}_0_{machine}", f"macosx_{version}_0_universal2"),
        markers | {"platform_machine": machine},
    )


#: On Intel the packaged Helm needs macOS 15; on Apple's own processors everything runs from macOS 14 on.
SYSTEMS = (_linux("x86_64"), _linux("aarch64"), _macos("arm64", "14"), _macos("x86_64", "15"))


@dataclass(frozen=True)
class Result:
    """The result for one Python on one system. `problem` is why it is unknown."""

    python: str
    system: str
    packages: int
    missing: tuple[str, ...]
    problem: str = ""


def tags_of(python: str, system: System) -> frozenset[Tag]:
    """Return the tags of the wheels that this Python takes on this system, as pip has them."""
    major, minor = map(int, python.split("."))
    platforms = list[str]()
    for name in system.platforms:
        if mac := re.fullmatch(r"macosx_(\d+)_(\d+)_(\w+)", name):
            platforms += mac_platforms((int(mac[1]), int(mac[2])), mac[3])
        else:
            platforms.append(name)
    interpreter = f"cp{major}{minor}"
    return frozenset(
        [
            *cpython_tags((major, minor), abis=[interpreter], platforms=platforms),
            *compatible_tags((major, minor), interpreter=interpreter, platforms=platforms),
        ]
    )


def fits(wheel: Path, pin: Pin, python: str, tags: frozenset[Tag]) -> bool:
    """Return whether a wheel that was downloaded is of this pin, and for these tags and this Python."""
    name, version, _, has = parse_wheel_filename(wheel.name)
    if name != canonicalize_name(pin.name) or str(version) != pin.version or tags.isdisjoint(has):
        return False
    with zipfile.ZipFile(wheel) as content:
        metadata = next(each for each in content.namelist() if each.endswith(".dist-info/METADATA"))
        needs = message_from_bytes(content.read(metadata)).get("Requires-Python", "")
    return f"{python}.0" in SpecifierSet(needs)


def check(python: str, system: System, folder: Path) -> Result:
    """Download every wheel for this Python on this system; return the missing ones."""
    version = {"python_version": python, "python_full_version": f"{python}.0"}
    wanted = locked({**system.markers, **version})
    count, missing = len(wanted), list[str]()
    tags, wheels = tags_of(python, system), list((folder / "wheels").glob("*.whl"))
    wanted = {
        name: pin
        for name, pin in wanted.items()
        if not any(fits(wheel, pin, python, tags) for wheel in wheels)
    }
    while wanted:
        lock = folder / "wanted.txt"
        lock.write_text("\n".join(pin.line() for pin in wanted.values()) + "\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--only-binary=:all:", "--require-hashes", "--implementation", "cp"]
        command += ["--python-version", python, *(f"--platform={each}" for each in system.platforms)]
        done = subprocess.run(
            [*command, "-r", str(lock), "-d", str(folder / "wheels")], capture_output=True, text=True
        )
        if done.returncode == 0:
            break
        absent = re.search(r"No matching distribution found for ([A-Za-z0-9._-]+)==", done.stderr)
        if absent is None or absent[1] not in wanted:
            problem = (done.stderr.strip().splitlines() or ["pip fails without a message"])[-1]
            return Result(python, system.name, count, tuple(missing), problem)
        missing.append(f"{absent[1]} {wanted.pop(absent[1]).version}")
    return Result(python, system.name, count, tuple(missing))


def main() -> int:
    """Check all of them and print a line for each; return the exit code."""
    parser = argparse.ArgumentParser(prog="make wheels", description=__doc__)
    parser.add_argument(
        "--python", action="append", choices=PYTHONS, help="only for this one; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    chosen = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory(prefix="moorage-wheels-") as folder:
        for python in chosen.python or PYTHONS:
            for system in SYSTEMS:
                result = check(python, system, Path(folder))
                results.append(result)
                if not chosen.json:
                    print(sentence(result), flush=True)
    if chosen.json:
        print(json.dumps([asdict(result) for result in results], indent=2))
    return 1 if any(result.missing or result.problem for result in results) else 0


def sentence(result: Result) -> str:
    """Return the result in one line."""
    where = f"Python {result.python}, {result.system}:"
    if result.problem:
        return f"{where} unknown: {result.problem}"
    there = result.packages - len(result.missing)
    missing = f"; no wheel of {', '.join(result.missing)}" if result.missing else ""
    return f"{where} {there} of {result.packages} packages{missing}"


if __name__ == "__main__":
    sys.exit(main())
