"""`moorage list`: what it asks for, and what it prints in each form; the API is a fake."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from clients.safe_yaml import read_yaml
from starter.cli.app import build
from starter.cli.client.api import Api
from starter.cli.commands import queries

ENV = {"MOORAGE_URL": "http://127.0.0.1:9", "MOORAGE_TOKEN": "t", "MOORAGE_STATE": None, "COLUMNS": "300"}


def row(name: str, **more: object) -> dict[str, Any]:
    """An environment as the API lists it."""
    return {
        "name": name, "life": "12345678e1234567", "owner": "bob@example.com", "team": "blue",
        "template": "small", "host": "one", "phase": "ready", "requested_at": "2030-01-01T00:00:00Z", **more,
    }  # fmt: skip


class Listing:
    """The API's list: each read gives the next page, and the last one for ever."""

    def __init__(self, *pages: Sequence[Mapping[str, Any]]) -> None:
        self.pages = pages
        self.asked: list[Mapping[str, Any]] = []

    def call(self, method: str, path: str, *, query: Mapping[str, Any], **_: object) -> dict[str, Any]:
        assert (method, path) == ("GET", "environments")
        self.asked.append(query)
        page = self.pages[min(len(self.asked), len(self.pages)) - 1]
        return {"environments": list(page), "next": None, "frozen": None}


def listed(monkeypatch: pytest.MonkeyPatch, listing: Listing, *arguments: str) -> Result:
    monkeypatch.setattr(Api, "call", lambda _, *args, **named: listing.call(*args, **named))
    return CliRunner(env=ENV).invoke(build(), ["list", *arguments])


@pytest.mark.parametrize("arguments", [[], ["--mine"]])
def test_mine_asks_for_ones_own(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """Ensures that the API chooses, which knows who asks."""
    listing = Listing([row("demo")])
    done = listed(monkeypatch, listing, *arguments)
    assert done.exit_code == 0, done.output
    assert [query["mine"] for query in listing.asked] == [bool(arguments)]


def test_names_are_one_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that a program can read the names, and that an empty list is no line."""
    assert listed(monkeypatch, Listing([row("a"), row("b")]), "-o", "name").stdout == "a\nb\n"
    assert listed(monkeypatch, Listing([]), "-o", "name").stdout == ""


def test_wide_has_life_and_labels_besides(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row("demo", labels={"course": "k8s"})]
    narrow, wide = (
        listed(monkeypatch, Listing(rows), "-o", form).stdout.splitlines() for form in ("table", "wide")
    )
    assert [len(lines) for lines in (narrow, wide)] == [2, 2]
    assert wide[0].split()[-3:] == ["REQUESTED", "LIFE", "LABELS"]
    assert wide[1].split()[-2:] == ["12345678e1234567", "course=k8s"]
    assert narrow[0].split() == wide[0].split()[:-3]
    assert "course=k8s" not in narrow[1]


def test_yaml_is_the_same_for_readers_of_every_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that the document has all that the API gives, and that text stays text."""
    odd = ["1e3", "0o17", "22:30", "yes", "2024-05-01", "=", "é\u2028\x1b[3J"]
    rows = [row("demo", labels={f"k{number}": text for number, text in enumerate(odd)})]
    printed = listed(monkeypatch, Listing(rows), "-o", "yaml").stdout
    assert read_yaml(printed) == yaml.safe_load(printed) == rows
    assert 'k0: "1e3"' in printed, "YAML 1.2 reads it as a number"
    assert 'k1: "0o17"' in printed, "YAML 1.2 reads it as a number"
    assert "\x1b" not in printed


def test_watch_shows_the_list_again_after_each_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that what has not changed is not shown again, and that Ctrl-C ends it."""
    listing = Listing([row("a")], [row("a")], [row("a"), row("b")])

    def wait(_: float) -> None:
        if len(listing.asked) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(queries, "time", SimpleNamespace(sleep=wait))
    done = listed(monkeypatch, listing, "--watch", "-o", "name")
    assert (done.stdout, len(listing.asked)) == ("a\na\nb\n", 5)
