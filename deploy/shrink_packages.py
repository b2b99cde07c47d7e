"""Makes the packages of an image smaller, and changes nothing that they do.

`python shrink_packages.py VENV`, with Moorage importable: the Dockerfile runs it.

- Wheels cannot hold links, so Helm's library is in its wheel three times, under the three names of a shared
  library. Two of them become links, as in an installation of a system.
- Bytecode is compiled of all packages but Kubernetes' client, which has a module for each kind of object, and
  more bytecode than all others together. Of it, only what Moorage imports is compiled.

Bytecode is valid whatever the time of its source: builders of images change these times, and nothing else.
"""

import compileall
import importlib
import pkgutil
import re
import sys
from collections.abc import Iterator
from hashlib import file_digest
from pathlib import Path
from py_compile import PycInvalidationMode

#: Smaller files are not worth a link.
LEAST_BYTES = 1_000_000
#: The package of which only what is imported has bytecode.
LARGE_PACKAGE = "kubernetes"
_BYTECODE = PycInvalidationMode.UNCHECKED_HASH
#: What the processes of an image import.
PACKAGES = ("activities", "clients", "contracts", "starter", "worker", "workflows")


def main() -> None:
    """Shrink the packages of the virtual environment that the argument names."""
    [site] = Path(sys.argv[1]).glob("lib/python*/site-packages")
    for copy, original in link_copies(site):
        print(f"{copy.relative_to(site)} -> {original.name}")
    large = re.compile(rf"/site-packages/{LARGE_PACKAGE}/")
    compileall.compile_dir(site, quiet=1, rx=large, invalidation_mode=_BYTECODE)
    import_all(PACKAGES)
    for module in list(sys.modules.values()):
        if large.search(file := getattr(module, "__file__", None) or ""):
            compileall.compile_file(file, quiet=1, force=True, invalidation_mode=_BYTECODE)


def link_copies(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Replace the copies of a large file in one folder by links to it, and yield each with the file.

    Of equal files the one with the longest name stays: that of a shared library with its whole version.
    """
    kept: dict[tuple[Path, str], Path] = {}
    large = [file for file in folder.rglob("*") if not file.is_symlink() and file.is_file()]
    for file in sorted(large, key=lambda file: (-len(file.name), file)):
        if file.stat().st_size < LEAST_BYTES:
            continue
        with file.open("rb") as content:
            digest = file_digest(content, "sha256").hexdigest()
        original = kept.setdefault((file.parent, digest), file)
        if original is not file:
            file.unlink()
            file.symlink_to(original.name)
            yield file, original


def import_all(packages: tuple[str, ...]) -> None:
    """Import every module of these packages, and write no bytecode."""
    sys.dont_write_bytecode = True
    for package in map(importlib.import_module, packages):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


if __name__ == "__main__":
    main()
