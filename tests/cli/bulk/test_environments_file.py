"""The file of `moorage request --file`, as people, editors and programs write it."""

import json
from pathlib import Path
from typing import Any

import pytest

from clients import yaml_places
from starter.cli.bulk import environments_file
from starter.cli.bulk.environments_file import read_requests
from starter.cli.bulk.requests import MAX_ENVIRONMENTS, BulkRequest, common_labels
from starter.cli.errors import CliError, Code

TWO = """\
environments:
  - name: one
    template: small
  - name: two
    template: medium
    ttl: 1d 12h
"""
TWO_BODIES = [
    {"name": "one", "template": "small"},
    {"name": "two", "template": "medium", "ttl": "1d 12h"},
]


def bodies(tmp_path: Path, content: str | bytes) -> list[dict[str, Any]]:
    file = tmp_path / "environments.yaml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return [dict(request.body) for request in read_requests(file)]


def read_requests_of(tmp_path: Path, content: str) -> list[BulkRequest]:
    file = tmp_path / "environments.yaml"
    file.write_text(content)
    return read_requests(file)


def problems(tmp_path: Path, content: str | bytes) -> list[str]:
    with pytest.raises(CliError) as refused:
        bodies(tmp_path, content)
    assert refused.value.code is Code.BAD_INPUT
    return [line.removeprefix(f"{tmp_path}/environments.yaml:") for line in refused.value.lines]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(TWO.encode(), id="utf-8"),
        pytest.param(b"\xef\xbb\xbf" + TWO.encode(), id="with a byte order mark"),
        pytest.param(TWO.replace("\n", "\r\n").encode(), id="crlf"),
        pytest.param(TWO.encode("utf-16"), id="utf-16"),
        pytest.param(TWO.encode("utf-16-le"), id="utf-16-le without a mark"),
        pytest.param(TWO.encode("utf-16-be"), id="utf-16-be without a mark"),
        pytest.param(TWO.encode("utf-32"), id="utf-32"),
        pytest.param(json.dumps({"environments": TWO_BODIES}).encode(), id="json"),
        pytest.param(json.dumps({"environments": TWO_BODIES}, indent="\t").encode(), id="json with tabs"),
        pytest.param(json.dumps(TWO_BODIES).encode(), id="a list"),
        pytest.param(
            b"---\nname: one\ntemplate: small\n---\n---\n- {name: two, template: medium, ttl: 1d 12h}\n...\n",
            id="several documents, one of them empty",
        ),
        pytest.param(b"%YAML 1.2\n---\n" + TWO.encode(), id="declared as YAML 1.2"),
        pytest.param(
            b"x-base: &base\n  template: medium\n  name: none\nenvironments:\n"
            b"  - name: one\n    <<: *base\n    template: small\n"
            b"  - <<: *base\n    name: two\n    ttl: 1d 12h\n",
            id="anchors and merges",
        ),
    ],
)
def test_every_way_to_write_it(tmp_path: Path, content: bytes) -> None:
    """Ensures that the same environments are read, however the file is encoded and laid out."""
    assert bodies(tmp_path, content) == TWO_BODIES


def test_scalars_are_as_written(tmp_path: Path) -> None:
    """Ensures that a value needs no quotes: YAML's numbers, booleans and dates are text here."""
    content = "name: no\ntemplate: 1.10\nttl: ~\nlabels: {pr: 0512, on: off, day: 2026-11-27, q: '1e3'}\n"
    assert bodies(tmp_path, content) == [
        {
            "name": "no",
            "template": "1.10",
            "ttl": None,
            "labels": {"pr": "0512", "on": "off", "day": "2026-11-27", "q": "1e3"},
        }
    ]


def test_an_entry_with_a_count(tmp_path: Path) -> None:
    """Ensures that one entry makes several environments, numbered from 1."""
    found = bodies(tmp_path, "- {name: lab, template: small, count: 3}\n- {name: one, template: small}\n")
    assert [body["name"] for body in found] == ["lab-1", "lab-2", "lab-3", "one"]
    assert all("count" not in body for body in found)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param("- name: a\n- b\n- [c]\n", ["2:3:", "3:3:"], id="entries that are none"),
        pytest.param("environments:\n  name: a\n", ["1:1: is not a list"], id="no list"),
        pytest.param("text\n", ["1:1: is neither"], id="text"),
        pytest.param("environments: []\nname: a\n", ["2:1: name: there is no such field"], id="beside it"),
        pytest.param("- name: a\n  name: b\n", ["2:3: name: stands here twice"], id="a key twice"),
        pytest.param(
            "- name: a\n  count: 0\n- name: b\n  count: many\n", ["2:3: count:", "4:3: count:"], id="counts"
        ),
        pytest.param(f"- name: a\n  count: {MAX_ENVIRONMENTS + 1}\n", ["2:3: count:"], id="too many"),
        pytest.param("- name: a\n- name: b\n- name: a\n", ["3:3: name: a is requested twice"], id="a name"),
        pytest.param("a: [\n", ["2:1: is not valid YAML or JSON"], id="not closed"),
        pytest.param('{"a": 1,}}\n', ["1:10: is not valid YAML or JSON"], id="not JSON"),
        pytest.param("a: &a [*a]\n", ["1:4: holds an anchor that contains itself"], id="a circle"),
        pytest.param("[" * 200, ["1:1: is nested"], id="nested"),
        pytest.param(b"name: \xff\n", ["1:1: is not text in UTF-8"], id="latin-1"),
        pytest.param(b"a: b\nc: \xe9\n", ["2:1: is not text in UTF-8"], id="latin-1 on the second line"),
        pytest.param("? [a]\n: b\n", ["1:3: holds a key that is a list"], id="a key that is a list"),
        pytest.param('- name: "\\ud800"\n', ["1:12: is not valid YAML or JSON"], id="half a character"),
    ],
)  # fmt: skip
def test_problems_have_their_places(tmp_path: Path, content: str | bytes, expected: list[str]) -> None:
    """Ensures that every problem is shown, each with line and column."""
    found = problems(tmp_path, content)
    assert len(found) == len(expected), found
    for line, beginning in zip(found, expected, strict=True):
        assert line.startswith(beginning), (line, beginning)


@pytest.mark.parametrize("content", ["", "# nothing\n", "environments: []\n", "---\n---\n", "[]"])
def test_a_file_without_environments(tmp_path: Path, content: str) -> None:
    with pytest.raises(CliError, match="no environment in it"):
        bodies(tmp_path, content)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="No such file"):
        read_requests(tmp_path / "missing.yaml")


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    [problem] = problems(tmp_path, "\n".join(lines))
    assert "aliases that add more than" in problem


def test_places_of_fields(tmp_path: Path) -> None:
    """Ensures that a field of a request is found in the file, and what is merged at its entry."""
    file = tmp_path / "f.yaml"
    file.write_text(
        "x-base: &base {ttl: 1h}\nenvironments:\n- <<: *base\n  name: a\n  collaborators:\n  - b@x.de\n"
    )
    [request] = read_requests(file)
    assert request.place.describe("name") == f"{file}:4:3: "
    assert request.place.describe("collaborators.0") == f"{file}:6:5: "
    assert request.place.describe("ttl") == f"{file}:3:3: "
    assert request.place.describe("template") == f"{file}:3:3: "


def test_labels_of_the_command_line(tmp_path: Path) -> None:
    """Ensures that labels are added to each, and that those in common are known."""
    file = tmp_path / "f.yaml"
    file.write_text("- {name: a, labels: {x: 1, y: 2}}\n- {name: b, labels: {x: 1}}\n")
    requests = [one.with_labels({"y": "3"}) for one in read_requests(file)]
    assert common_labels(requests) == {"x": "1", "y": "3"}


def test_a_file_with_too_many_counts_is_refused_before_all_of_them_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensures that a small file does not fill the memory: each entry may stand for five hundred."""
    made: list[int] = []
    times = BulkRequest.times

    def counted(self: BulkRequest, count: int) -> list[BulkRequest]:
        made.append(count)
        return times(self, count)

    monkeypatch.setattr(BulkRequest, "times", counted)
    content = "".join(f"- {{name: e{number}, template: small, count: 400}}\n" for number in range(100))
    with pytest.raises(CliError, match=f"more than {MAX_ENVIRONMENTS} environments"):
        bodies(tmp_path, content)
    assert len(made) == 2


def test_many_unknown_fields_take_little_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that the place of each is not searched for from the start of the file."""
    searched: list[object] = []
    place_of = yaml_places.place_of

    def counted(root: Any, path: Any) -> tuple[int, int]:
        searched.append(path)
        return place_of(root, path)

    monkeypatch.setattr(environments_file, "place_of", counted)
    fields = "".join(f"  x{number}: 1\n" for number in range(2000))
    [request] = read_requests_of(tmp_path, f"- name: one\n  template: small\n{fields}")
    assert request.place.describe("x1999").endswith(":2002:3: ")
    assert request.place.describe("labels.none").endswith(":1:3: ")
    assert len(searched) < 5


def test_a_field_has_its_place_also_where_it_is_merged_or_deeper(tmp_path: Path) -> None:
    content = (
        "x-base: &base\n  template: small\n  labels: {a: b}\nenvironments:\n  - name: one\n    <<: *base\n"
        "    collaborators: [a@example.com,\n      b@example.com]\n"
    )
    [request] = read_requests_of(tmp_path, content)
    assert request.place.describe("collaborators.1").endswith(":8:7: ")
    assert request.place.describe("collaborators.1.x").endswith(":8:7: ")
    assert request.place.describe("template").endswith(":5:5: ")
