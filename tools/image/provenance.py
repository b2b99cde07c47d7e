"""The provenance of an image: an in-toto statement with SLSA's predicate, of what it was built and how."""

import hashlib
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.image.base import Base
from tools.lock_files import ROOT

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
#: What `externalParameters` mean: this recipe, of which there is no page.
BUILD_TYPE = "urn:moorage:image:buildah:v1"


def definition(target: str, base: Base) -> dict[str, Any]:
    """Return what is built and of what. Ask before the build: the checkout may change meanwhile."""
    locks = sorted(
        path.name for path in ROOT.glob("requirements*.txt") if path.name != "requirements-dev.txt"
    )
    origin = _git("config", "--get", "remote.origin.url") or "file:."
    return {
        "buildType": BUILD_TYPE,
        "externalParameters": {"dockerfile": "Dockerfile", "target": target},
        # Of a tree with changes, the commit says only what it was before them.
        "internalParameters": {"uncommittedChanges": bool(_git("status", "--porcelain"))},
        "resolvedDependencies": [
            {"uri": f"git+{origin}", "digest": {"gitCommit": _git("rev-parse", "HEAD")}},
            *(_file(ROOT / each) for each in ("Dockerfile", *locks)),
            {"name": f"files of the base {base.name}", "digest": {"sha256": base.digest}},
            *({"name": file, "digest": {"sha256": text}} for file, text in base.releases.items()),
        ],
    }


def statement(
    name: str, digest: str, built: Mapping[str, Any], materials: Path, builder: str, started: float
) -> dict[str, Any]:
    """Return the statement, to be signed by the publisher of the image. `built` is its `definition`."""
    return {
        "_type": STATEMENT,
        "subject": [{"name": name.rpartition(":")[0], "digest": {"sha256": digest}}],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": built,
            "runDetails": {
                "builder": {"id": builder},
                "metadata": {
                    "startedOn": _time(started),
                    "finishedOn": _time(datetime.now(UTC).timestamp()),
                },
                "byproducts": [_file(materials)],
            },
        },
    }


def _file(path: Path) -> Mapping[str, Any]:
    return {"name": path.name, "digest": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
