"""The base of the image, from Debian's packages: it stands in for Docker Hub's image of Python.

It has the same Debian and Python's minor version, and bears the name that the Dockerfile gives.
"""

import hashlib
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tools.image.build import Buildah, ImageError, output_of
from tools.lock_files import ROOT

PACKAGES = ("python3", "python3-venv", "ca-certificates", "usr-is-merged")
#: apt's first choice for what `usr-is-merged` is as well; it needs the whole of Perl.
UNNEEDED = ("usrmerge", "perl", "perl-modules-*", "libperl5*")
#: No process in a container reads them. dpkg knows no braces, so each is a pattern.
LEFT_OUT = tuple(f"/usr/share/{name}/*" for name in ("doc", "man", "locale", "info"))
LISTS = Path("/var/lib/apt/lists")
_FROM = re.compile(r"^FROM\s+(\S+)(?:\s+AS\s+(\S+))?$", re.MULTILINE | re.IGNORECASE)
#: The argument of the Dockerfile that names the base, with the digest of the one that this stands in for.
ARGUMENT = "PYTHON_IMAGE"
_DEFAULT = re.compile(rf"^ARG\s+{ARGUMENT}=([^\s@]+)(?:@\S+)?$", re.MULTILINE)
SUITE = re.compile(r"-slim-([a-z]+)$")


@dataclass(frozen=True)
class Base:
    """The base by its name in the Dockerfile, and the digests of its files and of Debian's signed lists."""

    name: str
    digest: str
    releases: dict[str, str]


def base_name(dockerfile: str) -> str:
    """Return the one image that the Dockerfile starts from, without its digest."""
    for name in _DEFAULT.findall(dockerfile):
        dockerfile = dockerfile.replace(f"${{{ARGUMENT}}}", name)
    stages = {stage for _, stage in _FROM.findall(dockerfile) if stage}
    names = {str(name) for name, _ in _FROM.findall(dockerfile)} - stages
    if len(names) != 1:
        raise ImageError(
            f"the Dockerfile must start from one image, and starts from {', '.join(sorted(names))}"
        )
    return names.pop()


def sources(suite: str) -> list[str]:
    """Return the lines of apt's own configuration for a suite of Debian, updates and security included."""
    listed = output_of(
        "apt-get", "indextargets", "--format", "deb $(REPO_URI) $(CODENAME) $(COMPONENT)",
        "Identifier: Packages", "Origin: Debian", "Component: main",
    )  # fmt: skip
    lines = sorted(
        {line for line in listed.splitlines() if re.search(rf" {suite}(-updates|-security)? main$", line)}
    )
    if not lines:
        raise ImageError(
            f"apt knows no packages of Debian {suite}: add them to its sources and run apt-get update"
        )
    return lines


def base_image(buildah: Buildah, cache: Path) -> Base:
    """Return the base, made if Debian's lists or the recipe are newer than the one that is there."""
    name = base_name((ROOT / "Dockerfile").read_text())
    found = SUITE.search(name)
    if not found:
        raise ImageError(f"the base {name} names no release of Debian, as python:3.11-slim-bookworm does")
    suite = found[1]
    lines = sources(suite)
    releases = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(LISTS.glob(f"*_dists_{suite}*_InRelease"))
    }
    recipe = "\n".join([*PACKAGES, *UNNEEDED, *LEFT_OUT, *lines, *releases.values()])
    folder = cache / "base" / hashlib.sha256(recipe.encode()).hexdigest()[:12]
    archive = folder / "base.tar"
    if not archive.exists():
        folder.mkdir(parents=True, exist_ok=True)
        listed = folder / "sources.list"
        listed.write_text("\n".join(lines) + "\n")
        unfinished = folder / "unfinished.tar"
        left_out = [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
        purge = f"apt-get -qq -y purge --autoremove {' '.join(map(shlex.quote, UNNEEDED))}"
        hooks = (f'chroot "$1" {purge} >/dev/null', 'ln -s python3 "$1/usr/bin/python"')
        output_of(
            "mmdebstrap", "--quiet", "--variant=minbase", "--format=tar", f"--include={','.join(PACKAGES)}",
            *left_out, *(f"--customize-hook={hook}" for hook in hooks), suite, str(unfinished), str(listed),
        )  # fmt: skip
        (folder / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
        unfinished.rename(archive)
    # Each time, and out of the cache unless it is new: the name may still be that of an older base.
    buildah.build("", f"docker.io/library/{name}", folder)
    with archive.open("rb") as content:
        return Base(name, hashlib.file_digest(content, "sha256").hexdigest(), releases)
