"""The pins of all files, and the registries with their newest releases."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from packaging.version import InvalidVersion, Version

from clients.safe_yaml import read_yaml
from starter.catalogue.loader import STARTER_TEMPLATES, load_catalogue
from tools.lock_files import ROOT, locked

#: What is compiled from the module proxy; each folder has its pinned Go beside `go`.
COMPILED = (ROOT / "tests" / "cluster", ROOT / "tools" / "temporal_postgres")
IMAGE_FILES = ("docker-compose.yml", "Dockerfile")
#: One registry; pip asks for a hundred packages, and go may fetch descriptions first.
LONGEST = 300.0
#: The index of a chart repository.
INDEX_SECONDS = 30.0


class SourceError(Exception):
    """A registry cannot be asked; the text is one sentence."""


@dataclass(frozen=True)
class Pinned:
    """A pin, and the newest release that its registry has. `problem` if that is unknown."""

    name: str
    version: str
    newest: str = ""
    problem: str = ""


def run(command: Sequence[str], cwd: Path = ROOT) -> str:
    """Return the output of a client.

    Raises:
        SourceError: it fails; the text has its last line.
    """
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=LONGEST)
    except FileNotFoundError:
        raise SourceError(f"{command[0]} is not on the path") from None
    except subprocess.TimeoutExpired:
        raise SourceError(f"{command[0]} does not answer within {LONGEST:.0f} s") from None
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise SourceError(f"{command[0]} fails: {lines[-1] if lines else f'exit code {done.returncode}'}")
    return done.stdout


def python_packages() -> Iterator[Pinned]:
    """The lock, of which this virtual environment holds every package."""
    command = [sys.executable, "-m", "pip", "list", "--outdated", "--format", "json"]
    found = json.loads(run([*command, "--disable-pip-version-check"]))
    newest = {one["name"].lower().replace("_", "-"): one["latest_version"] for one in found}
    for pin in locked().values():
        yield Pinned(pin.name, pin.version, newest.get(pin.name, pin.version))


def go_modules() -> Iterator[Pinned]:
    """The modules that each go.mod requires itself, and those of its tools."""
    for folder in COMPILED:
        yield from _modules_of(folder / "go")


def _modules_of(folder: Path) -> Iterator[Pinned]:
    described = json.loads(run(["go", "mod", "edit", "-json"], folder))
    required = {one["Path"]: one["Version"] for one in described["Require"]}
    direct = {one["Path"] for one in described["Require"] if not one.get("Indirect")}
    for tool in described.get("Tool") or ():
        owners = [path for path in required if tool["Path"] == path or tool["Path"].startswith(f"{path}/")]
        direct.add(max(owners, key=len))
    text = run(["go", "list", "-mod=readonly", "-m", "-u", "-e", "-json", *sorted(direct)], folder)
    for module in documents(text):
        if problem := (module.get("Error") or {}).get("Err", ""):
            yield Pinned(module["Path"], module["Version"], problem=problem)
        else:
            newest = (module.get("Update") or {}).get("Version", module["Version"])
            yield Pinned(module["Path"], module["Version"], newest)


def documents(text: str) -> Iterator[dict[str, Any]]:
    """Return the JSON documents that stand one after the other."""
    decoder, at = json.JSONDecoder(), 0
    while (at := len(text) - len(text[at:].lstrip())) < len(text):
        document, at = decoder.raw_decode(text, at)
        yield document


def go_toolchain() -> Iterator[Pinned]:
    """The Go of each, as a package of Python's registry."""
    for folder in COMPILED:
        yield _toolchain_of(folder / "go-toolchain.txt")


def _toolchain_of(file: Path) -> Pinned:
    found = re.search(r"^([a-z-]+)==([^ ]+)", file.read_text(), re.MULTILINE)
    if found is None:
        raise SourceError(f"{file} pins nothing")
    text = run([sys.executable, "-m", "pip", "index", "versions", found[1], "--disable-pip-version-check"])
    newest = re.match(rf"{re.escape(found[1])} \(([^)]+)\)", text)
    if newest is None:
        raise SourceError("pip names no version")
    return Pinned(found[1], found[2], newest[1])


def charts() -> Iterator[Pinned]:
    """The charts of the templates that Moorage ships, as the index of their repository has them."""
    seen = {
        (one.chart.repository, one.chart.name, one.chart.version)
        for one in load_catalogue(STARTER_TEMPLATES).offered_to([], everything=True)
    }
    for repository, name, version in sorted(seen):
        try:
            answer = httpx.get(f"{repository}/index.yaml", timeout=INDEX_SECONDS, follow_redirects=True)
            answer.raise_for_status()
            entries = read_yaml(answer.text)["entries"]
            newest = newest_of(version, [str(one["version"]) for one in entries[name]])
        except httpx.HTTPError as error:
            yield Pinned(name, version, problem=f"{repository} cannot be reached: {error}")
        except (yaml.YAMLError, KeyError, TypeError) as error:
            yield Pinned(name, version, problem=f"{repository} has no index as Helm reads it: {error!r}")
        else:
            yield Pinned(name, version, newest)


def images() -> Iterator[Pinned]:
    """The images of docker-compose.yml and Dockerfile; of each the newest tag of the same form."""
    client = next((one for one in ("skopeo", "crane") if shutil.which(one)), None)
    for name, tag in pinned_images():
        if client is None:
            yield Pinned(name, tag, problem="neither skopeo nor crane is on the path")
            continue
        command = ["skopeo", "list-tags", f"docker://{name}"] if client == "skopeo" else ["crane", "ls", name]
        try:
            text = run(command)
        except SourceError as error:
            yield Pinned(name, tag, problem=str(error))
            continue
        tags = json.loads(text)["Tags"] if client == "skopeo" else text.split()
        yield Pinned(name, tag, newest_of(tag, tags))


def pinned_images() -> list[tuple[str, str]]:
    """Return each image that is not our own, with its tag; a digest beside it is left out."""
    found = set()
    for image in references():
        name, _, tag = image.partition("@")[0].rpartition(":")
        found.add((name if "/" in name else f"docker.io/library/{name}", tag))
    return sorted(found)


#: An image is the default of a variable, in the Dockerfile of an argument. Our own are `moorage:${…}`.
_REFERENCE = re.compile(
    r"^(?:\s+image: (?:\$\{\w+:-)?|FROM |ARG \w+_IMAGE=)([^\s${}]+:[^\s${}]+)\}?(?:\s|$)", re.MULTILINE
)


def references() -> list[str]:
    """Return each image that is not our own as it is written: name, tag and digest."""
    return [image for file in IMAGE_FILES for image in _REFERENCE.findall((ROOT / file).read_text())]


_NUMBER = re.compile(r"\d+(?:\.\d+)*")


def newest_of(pinned: str, versions: Sequence[str]) -> str:
    """Return the newest of `versions` that is written like `pinned`: "16.10-alpine" and "17.1-alpine"."""
    number = _NUMBER.search(pinned)
    if number is None:
        return pinned
    before, after = pinned[: number.start()], pinned[number.end() :]
    depth = number[0].count(".")
    form = re.compile(rf"{re.escape(before)}(\d+(?:\.\d+){{{depth}}}){re.escape(after)}")
    alike = [version for version in [pinned, *versions] if form.fullmatch(version)]
    return max(alike, key=lambda version: _key(form.sub(r"\1", version)))


def _key(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        return Version("0")
