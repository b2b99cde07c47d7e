"""The commands that watch over the pins read each of them, and go on where a registry cannot be reached."""

import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tools import outdated, wheel_check
from tools import pins as pins_module
from tools.lock_files import ROOT, Pin, locked, read_lock
from tools.outdated import Row, gather
from tools.pins import Pinned, SourceError, newest_of, pinned_images
from tools.wheel_check import Result, sentence

INTEL_MAC = {"sys_platform": "darwin", "platform_machine": "x86_64"}


def test_lock_pins_every_package_with_hashes() -> None:
    for name in ("requirements.txt", "requirements-server.txt", "requirements-dev.txt"):
        pins = read_lock(ROOT / name)
        assert len(pins) > 50
        assert all(pin.hashes for pin in pins), name


def test_lock_for_running_is_part_of_the_one_for_development() -> None:
    """Each package has one version on a system, whichever lock it comes from."""
    for environment in ({}, INTEL_MAC):
        development = locked(environment)
        for pin in locked(environment, ROOT / "requirements.txt").values():
            assert development[pin.name] == pin


def test_lock_has_other_versions_where_a_system_has_no_newer_wheels() -> None:
    assert locked(INTEL_MAC)["cryptography"].version.startswith("48.")
    assert not locked({"sys_platform": "linux"})["cryptography"].version.startswith("48.")
    assert "cffi" not in locked({"platform_python_implementation": "PyPy"})


def test_lock_refuses_a_line_that_it_does_not_know(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("one>=1 \\\n    --hash=sha256:" + "0" * 64 + "\n")
    with pytest.raises(ValueError, match=r"lock\.txt:1: is neither a pin nor a hash"):
        read_lock(lock)


@pytest.mark.parametrize(
    ("pinned", "others", "newest"),
    [
        ("16.10-alpine", ["17.2-alpine", "17.2", "18-alpine", "latest", "17.2-alpine3.22"], "17.2-alpine"),
        (
            "3.11.14-slim-bookworm",
            ["3.11.9-slim-bookworm", "3.15.0a1-slim-bookworm"],
            "3.11.14-slim-bookworm",
        ),
        ("1.32.0", ["1.4.9", "1.100.0", "1.33.0-rc.1", "2"], "1.100.0"),
        ("0.36.1", ["0.37.1", "0.38.0-beta.1", "0.37.0"], "0.37.1"),
        ("latest", ["1.0"], "latest"),
        ("1.0", [], "1.0"),
    ],
)
def test_newest_release_is_one_of_the_same_form(pinned: str, others: list[str], newest: str) -> None:
    assert newest_of(pinned, others) == newest


def test_images_are_those_of_compose_and_dockerfile() -> None:
    names = dict(pinned_images())
    assert {"docker.io/library/postgres", "docker.io/library/python", "temporalio/server"} <= set(names)
    assert all(tag and "@" not in tag for tag in names.values())
    assert not [name for name in names if "moorage" in name]


def test_every_image_of_compose_is_found() -> None:
    """Ensures that an image is found as it is and as the default of a variable."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].values()
    others = {one["image"] for one in services if not one["image"].startswith("moorage")}
    defaults = {image.partition(":-")[2].removesuffix("}") for image in others}
    assert "" not in defaults
    assert defaults <= set(pins_module.references())


def test_every_image_is_pinned_by_its_digest() -> None:
    """Ensures that a moved tag does not change what an installation runs."""
    pinned = re.compile(r":[^@]+@sha256:[0-9a-f]{64}$")
    assert [image for image in pins_module.references() if not pinned.search(image)] == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("    image: a/b:1.0-x", ["a/b:1.0-x"]),
        ("    image: ${A_IMAGE:-a/b:1.0}", ["a/b:1.0"]),
        ("    image: ${A_IMAGE:-a/b:1.0@sha256:0a}", ["a/b:1.0@sha256:0a"]),
        ("FROM python:3.11.14-slim AS build", ["python:3.11.14-slim"]),
        ("ARG PYTHON_IMAGE=python:3.11-slim@sha256:0a", ["python:3.11-slim@sha256:0a"]),
        ("FROM ${PYTHON_IMAGE} AS python", []),
        ("    image: moorage:${MOORAGE_VERSION:-0.1.0}", []),
    ],
)
def test_image_reference(line: str, found: list[str]) -> None:
    assert pins_module._REFERENCE.findall(line) == found


def test_images_are_reported_as_unknown_without_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    images = list(pins_module.images())
    assert images
    assert {one.problem for one in images} == {"neither skopeo nor crane is on the path"}


def test_go_documents_are_read_one_after_the_other() -> None:
    assert list(pins_module.documents('{"a": 1}\n{"b": {}}\n')) == [{"a": 1}, {"b": {}}]
    assert list(pins_module.documents("")) == []


def broken() -> Iterator[Pinned]:
    raise SourceError("go fails: no route")
    yield


def test_source_that_fails_does_not_hide_the_others() -> None:
    rows = gather(
        ["bad", "good"], {"bad": broken, "good": lambda: [Pinned("a", "1", "2"), Pinned("b", "1", "1")]}
    )
    assert rows == [
        Row("bad", "", "", "", "go fails: no route"),
        Row("good", "a", "1", "2"),
        Row("good", "b", "1", "1"),
    ]
    assert [row.outdated for row in rows] == [False, True, False]


def test_client_that_is_not_there_is_reported() -> None:
    with pytest.raises(SourceError, match="no-such-client is not on the path"):
        pins_module.run(["no-such-client"])


def test_outdated_prints_a_document_for_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(outdated.SOURCES, "python", lambda: [Pinned("a", "1", "2")])
    monkeypatch.setattr("sys.argv", ["outdated", "--json", "python"])
    assert outdated.main() == 0
    assert json.loads(capsys.readouterr().out) == [
        {"source": "python", "name": "a", "pinned": "1", "newest": "2", "problem": "", "outdated": True}
    ]


def test_wheels_are_looked_for_on_every_system_that_the_readme_names() -> None:
    machines = {(one.markers["sys_platform"], one.markers["platform_machine"]) for one in wheel_check.SYSTEMS}
    assert machines == {
        (s, m)
        for s, ms in {"linux": ("x86_64", "aarch64"), "darwin": ("arm64", "x86_64")}.items()
        for m in ms
    }


@pytest.mark.parametrize(
    ("name", "needs", "fitting"),
    [
        ("a_b-1.0-py3-none-any.whl", "", {"3.11 Linux x86_64", "3.14 Linux x86_64", "3.14 macOS 14 arm64"}),
        ("a_b-1.0-py3-none-any.whl", ">=3.9,<3.14", {"3.11 Linux x86_64"}),
        ("a_b-1.0-py2.py3-none-manylinux_2_17_x86_64.whl", "", {"3.11 Linux x86_64", "3.14 Linux x86_64"}),
        ("a_b-1.0-cp39-abi3-macosx_11_0_arm64.whl", "", {"3.14 macOS 14 arm64"}),
        ("a_b-1.0-cp39-abi3-macosx_10_9_universal2.whl", "", {"3.14 macOS 14 arm64"}),
        ("a_b-1.0-cp39-abi3-macosx_15_0_arm64.whl", "", set()),
        ("a_b-1.0-cp311-cp311-manylinux_2_28_x86_64.whl", "", {"3.11 Linux x86_64"}),
        ("a_b-1.0-cp314-cp314t-manylinux_2_28_x86_64.whl", "", set()),
        ("a_b-1.0-cp311-cp311-manylinux_2_34_x86_64.whl", "", set()),
        ("a_b-1.1-py3-none-any.whl", "", set()),
        ("a_c-1.0-py3-none-any.whl", "", set()),
    ],
)
def test_wheels_that_are_there_are_taken_only_where_pip_would(
    tmp_path: Path, name: str, needs: str, fitting: set[str]
) -> None:
    with zipfile.ZipFile(tmp_path / name, "w") as wheel:
        metadata = f"Metadata-Version: 2.1\nName: a-b\nRequires-Python: {needs}\n"
        wheel.writestr("a_b-1.0.dist-info/METADATA", metadata if needs else "Name: a-b\n")
    systems = {system.name: system for system in wheel_check.SYSTEMS}
    found = set()
    for place in ("3.11 Linux x86_64", "3.14 Linux x86_64", "3.14 macOS 14 arm64"):
        python, _, system = place.partition(" ")
        tags = wheel_check.tags_of(python, systems[system])
        if wheel_check.fits(tmp_path / name, Pin("a-b", "1.0", "", ()), python, tags):
            found.add(place)
    assert found == fitting


def test_wheels_that_are_missing_are_named() -> None:
    assert sentence(Result("3.14", "Linux x86_64", 3, ())) == "Python 3.14, Linux x86_64: 3 of 3 packages"
    assert sentence(Result("3.14", "L", 3, ("a 1",))) == "Python 3.14, L: 2 of 3 packages; no wheel of a 1"
    assert sentence(Result("3.14", "L", 3, (), "no route")) == "Python 3.14, L: unknown: no route"


def test_variables_of_tests_and_tools_are_never_taken_for_settings() -> None:
    """The product refuses unknown MOORAGE_* variables: none of its processes would start."""
    files = [path for folder in ("tests", "tools", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    read = re.compile(r"""os\.environ(?:\.get\(|\[)f?["'](MOORAGE_\w+)|\b(MOORAGE_(?:TEST|E2E)\w*)=""")
    found = {
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in [*files, ROOT / "Makefile", ROOT / ".ci" / "run"]
        if path != Path(__file__)
        for match in read.finditer(path.read_text(encoding="utf-8"))
    }
    assert not found, f"name them TEST_…: {sorted(found)}"
