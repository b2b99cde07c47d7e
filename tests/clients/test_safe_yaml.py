"""YAML from outside: read as Kubernetes reads it, fast, and harmless however it is nested."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from clients.host.kubeconfig import Kubeconfig
from clients.safe_yaml import MAX_ALIAS_EXPANSION, MAX_DEPTH, read_all_yaml, read_yaml, write_yaml

#: What sigs.k8s.io/yaml 1.6.0 (`YAMLToJSON`, by which kubectl and Helm read) makes of each document; run, not
#: read. "refused" is an error of it.
TABLE = [
    json.loads(line)
    for line in (Path(__file__).parent / "kubernetes_yaml.jsonl").read_text(encoding="utf-8").splitlines()
]
#: Where libyaml itself differs from its translation into Go, and none of it changes what is applied.
KNOWN: dict[str, Any] = {
    # A name that is given twice: refused, where Go takes the nearest before the alias.
    "a: &x 1\nb: *x\nc: &x 2\nd: *x": None,
    # What declares itself as YAML 1.2, and JSON's escape: read, where Go refuses.
    "%YAML 1.2\n---\na: yes": {"a": True},
    'a: "\\/"': {"a": "/"},
    # "This is no tag" makes text of a number in Go alone.
    "a: ! 12": {"a": 12},
    "-0.0: a": {"0": "a"},
}


#: Texts of which at least one of YAML 1.1, 1.2 and Kubernetes makes something else.
WORDS = [
    "y",
    "N",
    "on",
    "0o17",
    "017",
    "08",
    "1_000",
    "1e3",
    "123e4567",
    ".5",
    "5.",
    "~",
    "",
    "22:30",
    "<<",
    "=",
]
WORDS += [
    "2024-05-01",
    "0x1F",
    "0b1",
    "+1",
    ".inf",
    "1e400",
    "0o17777777777777777777777777",
    "0xFFFFFFFFFFFFFFFFFFFFF",
    "190:20:30.15",
    "2001-12-14t21:59:43.10-05:00",
    "0000-00-00",
    "True",
    "null",
    "- a",
    "a: b",
    "# a",
    "@",
    "%a",
    "!a",
    "&a",
]


#: The plain scalars that are no text in YAML 1.2: section 10.3.2, core schema.
CORE = re.compile(
    r"null|Null|NULL|~|true|True|TRUE|false|False|FALSE|[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"
    r"|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)|"
)


def nested(levels: int) -> str:
    """Lists in lists, of so many levels with what is in the innermost."""
    return "[" * (levels - 1) + "x" + "]" * (levels - 1)


def bomb(levels: int, *, merged: bool = False) -> str:
    """Nine aliases to nine aliases to nine …"""
    names = [f"n{number}" for number in range(levels)]
    first = f"{names[0]}: &{names[0]} {{x: 1}}\n"
    nine = (", ".join([f"*{name}"] * 9) for name in names)
    rest = (
        f"{name}: &{name} {{<<: [{aliases}]}}\n" if merged else f"{name}: &{name} [{aliases}]\n"
        for name, aliases in zip(names[1:], nine, strict=False)
    )
    return first + "".join(rest)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: json.dumps(row["yaml"])[:40])
def test_yaml_is_read_as_kubernetes_reads_it(row: dict[str, Any]) -> None:
    wanted = KNOWN.get(row["yaml"], row.get("json"))
    if row.get("refused", wanted is None and row["yaml"] in KNOWN) and wanted is None:
        with pytest.raises(yaml.YAMLError):
            read_yaml(row["yaml"])
        return
    got = read_yaml(row["yaml"])
    # As it will be sent: 1 is not the same as 1.0 or true there.
    assert json.dumps(got, sort_keys=True) == json.dumps(wanted, sort_keys=True)


@given(
    st.recursive(
        st.text() | st.sampled_from(WORDS) | st.booleans() | st.integers(-(2**63), 2**64 - 1),
        st.lists,
        max_leaves=5,
    )
)
def test_what_is_written_is_read_as_it_was(content: Any) -> None:
    """Ensures that no text becomes a number, a truth or nothing: neither here nor in kubectl."""
    assert read_yaml(write_yaml({"a": content})) == {"a": content}


@pytest.mark.parametrize("text", WORDS)
def test_text_that_kubernetes_would_take_for_more_is_quoted(text: str) -> None:
    assert read_yaml(write_yaml({"a": text, text: "b"})) == {"a": text, text: "b"}


@given(
    st.from_regex(CORE, fullmatch=True) | st.sampled_from(WORDS) | st.text(alphabet="0123456789eE.+-_:oxb")
)
def test_text_is_text_for_readers_of_every_version(text: str) -> None:
    """Ensures that what YAML 1.1 (PyYAML) or YAML 1.2 (its core schema) would take for more is quoted."""
    for ascii_only in (True, False):
        written = write_yaml({"a": text}, ascii_only=ascii_only)
        assert yaml.safe_load(written) == {"a": text}
        if CORE.fullmatch(text):
            node = yaml.compose(written)
            assert isinstance(node, yaml.MappingNode)
            assert node.value[0][1].style in ("'", '"')


def test_what_is_written_for_terminals_has_no_control_character() -> None:
    """Ensures that a text stays on its line, half a character is no fault, and nothing is an alias."""
    shared = {"a": "é\u2028\x1b[3J\x7f\x85"}
    written = write_yaml([shared, shared, "\ud800"], ascii_only=True)
    assert written.isascii()
    assert written.replace("\n", "").isprintable()
    assert "&" not in written
    assert read_yaml(written) == [shared, shared, "?"]


def test_all_documents_are_read() -> None:
    assert read_yaml("a: 1") == {"a": 1}
    assert read_all_yaml("a: 1\n---\n---\n- b\n") == [{"a": 1}, None, ["b"]]


@pytest.mark.skipif(not hasattr(yaml, "CSafeLoader"), reason="PyYAML was built without its loader in C")
def test_the_slow_loader_is_not_used_where_the_fast_one_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: object) -> None:
        pytest.fail("it is read with the loader in Python, which takes ten times as long")

    monkeypatch.setattr(yaml.scanner.Scanner, "__init__", slow)
    assert read_all_yaml("a: 1") == [{"a": 1}]


def test_what_is_nested_deeply_is_read() -> None:
    found = read_yaml(nested(MAX_DEPTH))
    for _ in range(MAX_DEPTH - 1):
        [found] = found
    assert found == "x"


@pytest.mark.parametrize(
    "text",
    [nested(MAX_DEPTH + 1), "[" * 200_000, "- " * 200_000, "{a: " * 200_000],
    ids=["one too many", "lists in brackets", "lists in lines", "mappings"],
)
def test_what_is_nested_without_an_end_is_refused(text: str) -> None:
    """Ensures that it does not end the process, as the loader in C does by itself."""
    with pytest.raises(yaml.YAMLError):
        read_yaml(text)
    with pytest.raises(ValueError, match="holds no kubeconfig"):
        Kubeconfig(text, secret_name="s")


@pytest.mark.parametrize(
    "text",
    [
        bomb(14),
        bomb(80),
        bomb(40, merged=True),
        f"a: &a {'x' * 2000}\nb: [{', '.join(['*a'] * 600)}]",
    ],
    ids=["of 9**13 nodes", "of 9**79 nodes", "of merges", "of a long text"],
)
def test_aliases_that_expand_without_an_end_are_refused(text: str) -> None:
    """Ensures that a text of some hundred characters does not become gigabytes."""
    for read in (read_yaml, read_all_yaml):
        with pytest.raises(yaml.YAMLError, match=f"aliases that add more than {MAX_ALIAS_EXPANSION}"):
            read(text)


def test_aliases_that_people_write_are_read() -> None:
    labels = "labels: &l {app: a}\n" + "".join(f"c{number}: {{labels: *l}}\n" for number in range(2000))
    assert read_yaml(labels)["c1999"] == {"labels": {"app": "a"}}


def test_each_alias_is_a_copy() -> None:
    found = read_yaml("a: &a {x: 1}\nb: *a")
    found["a"]["x"] = 2
    assert found["b"] == {"x": 1}
