"""Builds the image of the Dockerfile without Docker, into an OCI archive, with its bill of materials.

python -m tools.image                   # build/image/moorage.tar, .cdx.json, .provenance.json
python -m tools.image --target worker   # one of the Dockerfile's targets: build/image/moorage-worker.tar, ...
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import tomllib
from pathlib import Path

from tools.build_cache import cache_folder
from tools.image.base import ARGUMENT, base_image
from tools.image.build import Buildah, ImageError
from tools.image.materials import bill_of_materials
from tools.image.provenance import definition, statement
from tools.lock_files import ROOT

#: The builder in the provenance, unless the caller names a CI.
BUILDER = "urn:moorage:make-image"
NEEDED = ("buildah", "mmdebstrap")


def main() -> None:
    """Build one image; exit 2 with one sentence if this machine cannot."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.image", description="Build the image without Docker."
    )
    parser.add_argument("--target", default="", help="a target of the Dockerfile. Default: its last stage.")
    parser.add_argument(
        "--name", default="moorage.test/moorage", help="name of the image. Default: %(default)s."
    )
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "image", help="folder to write to.")
    parser.add_argument("--builder", default=BUILDER, help="URI of the builder, for the provenance.")
    options = parser.parse_args()
    if missing := [name for name in NEEDED if not shutil.which(name)]:
        refuse(f"{' and '.join(missing)} must be installed: apt-get install {' '.join(missing)}")
    if os.geteuid() != 0:
        refuse("the image is built as root: its files belong to several users")
    try:
        build(options.target, options.name, options.output, options.builder)
    except ImageError as error:
        sys.exit(f"make image: {error}")


#: Bytes of all files of the servers' image; nodes pull it whenever the worker moves.
MAX_SIZE = 450_000_000


def build(target: str, name: str, folder: Path, builder: str) -> None:
    """Write the archive, the bill of materials and the provenance of one target."""
    started = time.time()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    role = f"-{target}" if target else ""
    tag = f"{name}{role}:{version}"
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"moorage{role}.tar"
    cache = cache_folder("image")
    with tempfile.TemporaryDirectory(prefix="moorage-image-") as scratch:
        buildah = Buildah(cache, Path(scratch))
        base = base_image(buildah, cache)
        built = definition(target, base)
        buildah.build(target, tag, arguments={ARGUMENT: base.name})
        digest = buildah.export(tag, archive)
        with buildah.mounted(tag) as tree:
            bill = bill_of_materials(tree, tag, digest)
            size = sum(path.lstat().st_size for path in tree.rglob("*") if not path.is_dir())
    materials = archive.with_suffix(".cdx.json")
    materials.write_text(bill)
    provenance = statement(tag, digest, built, materials, builder, started)
    archive.with_suffix(".provenance.json").write_text(json.dumps(provenance, indent=2) + "\n")
    unpacked = f"{size / 1e6:.0f} MB unpacked"
    print(f"{tag} (sha256:{digest}, {unpacked}) is in {os.path.relpath(archive)}")
    if not role and size > MAX_SIZE:
        raise ImageError(f"the image has {unpacked}, and may have {MAX_SIZE / 1e6:.0f}: see what has grown")


def refuse(sentence: str) -> None:
    """End with the exit code for a machine that cannot build."""
    print(f"make image: {sentence}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
