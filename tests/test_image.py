"""Ensures that `make image` says what is in the image and of what it was built, and what it needs."""

import hashlib
import json
import sys
from pathlib import Path

import pytest

from tools.image import __main__ as command
from tools.image.base import SUITE, Base, base_name
from tools.image.build import ImageError
from tools.image.materials import bill_of_materials
from tools.image.provenance import definition, statement
from tools.lock_files import ROOT

DIGEST = "ab" * 32
DPKG = """Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u14
Description: GNU C Library
 of several lines

Package: removed
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""


def package(tree: Path, name: str, version: str, *more: str) -> None:
    folder = tree / "opt/moorage/lib/python3.11/site-packages" / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    fields = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *more]
    (folder / "METADATA").write_text("\n".join(fields) + "\n\nAbout it.\n")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What `bill_of_materials` reads of an image."""
    tree = tmp_path / "tree"
    (tree / "var/lib/dpkg").mkdir(parents=True)
    (tree / "var/lib/dpkg/status").write_text(DPKG)
    package(tree, "moorage", "0.1.0", "License-Expression: Apache-2.0")
    package(tree, "odd", "1.0", "License: All that is\n        in this text")
    package(tree, "without", "2.0+local")
    return tree


@pytest.mark.slow
def test_bill_names_every_package_that_is_installed(tree: Path) -> None:
    bill = json.loads(bill_of_materials(tree, "registry.example.com:5000/moorage-api:0.1.0", DIGEST))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["purl"] == f"pkg:oci/moorage-api@sha256:{DIGEST}"
    assert bill["metadata"]["component"]["version"] == "0.1.0"
    parts = {each["purl"]: each for each in bill["components"]}
    assert set(parts) == {
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64",
        "pkg:pypi/moorage@0.1.0",
        "pkg:pypi/odd@1.0",
        "pkg:pypi/without@2.0%2Blocal",
    }
    assert parts["pkg:pypi/moorage@0.1.0"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert "licenses" not in parts["pkg:pypi/odd@1.0"]
    [image] = [each for each in bill["dependencies"] if each["ref"] == "image"]
    assert set(image["dependsOn"]) == set(parts)


def test_bill_of_one_image_has_one_number(tree: Path) -> None:
    numbers = [
        json.loads(bill_of_materials(tree, "moorage:1", digest))["serialNumber"]
        for digest in (DIGEST, DIGEST, "cd" * 32)
    ]
    assert numbers[0] == numbers[1] != numbers[2]


def test_provenance_names_the_commit_the_locks_and_the_base(tmp_path: Path) -> None:
    bill = tmp_path / "moorage.cdx.json"
    bill.write_text("{}")
    base = Base("python:3.11-slim-bookworm", DIGEST, {"security_InRelease": "cd" * 32})
    image, built = "registry.example.com:5000/moorage:0.1.0", definition("api", base)
    proof = statement(image, DIGEST, built, bill, "urn:example:ci", 0)
    assert proof["_type"] == "https://in-toto.io/Statement/v1"
    assert proof["subject"] == [{"name": "registry.example.com:5000/moorage", "digest": {"sha256": DIGEST}}]
    assert proof["predicateType"] == "https://slsa.dev/provenance/v1"
    built, details = proof["predicate"]["buildDefinition"], proof["predicate"]["runDetails"]
    assert built["externalParameters"] == {"dockerfile": "Dockerfile", "target": "api"}
    commit, *files = built["resolvedDependencies"]
    assert len(commit["digest"]["gitCommit"]) == 40
    by_name = {each["name"]: each["digest"]["sha256"] for each in files}
    for lock in ("requirements.txt", "requirements-server.txt", "Dockerfile"):
        assert by_name[lock] == hashlib.sha256((ROOT / lock).read_bytes()).hexdigest()
    assert "requirements-dev.txt" not in by_name
    assert by_name["files of the base python:3.11-slim-bookworm"] == DIGEST
    assert by_name["security_InRelease"] == "cd" * 32
    assert details["builder"] == {"id": "urn:example:ci"}
    assert details["metadata"]["startedOn"] == "1970-01-01T00:00:00Z"
    assert details["byproducts"][0]["digest"]["sha256"] == hashlib.sha256(b"{}").hexdigest()


def test_base_is_the_one_image_that_the_dockerfile_starts_from() -> None:
    name = base_name((ROOT / "Dockerfile").read_text())
    assert SUITE.search(name), "a base needs a release of Debian in its name"
    assert base_name("FROM a:1 AS build\nFROM build AS more\nfrom a:1\n") == "a:1"
    pinned = "ARG PYTHON_IMAGE=a:1@sha256:0a\nFROM ${PYTHON_IMAGE} AS build\nFROM build\n"
    assert base_name(pinned) == "a:1"
    with pytest.raises(ImageError, match="must start from one image, and starts from a:1, b:2"):
        base_name("FROM a:1 AS build\nFROM b:2\n")


def test_machine_without_buildah(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["image"])
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "make image: buildah and mmdebstrap must be installed: apt-get install buildah mmdebstrap\n"
    )
