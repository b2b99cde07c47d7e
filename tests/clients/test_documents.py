"""YAML from outside: read fast, and harmless however it is nested."""

import pytest
import yaml

from clients.documents import MAX_LEVELS, read_all_yaml, read_yaml
from clients.host import Kubeconfig


def nested(levels: int) -> str:
    """Lists in lists, of so many levels with what is in the innermost."""
    return "[" * (levels - 1) + "x" + "]" * (levels - 1)


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
    found = read_yaml(nested(MAX_LEVELS))
    for _ in range(MAX_LEVELS - 1):
        [found] = found
    assert found == "x"


@pytest.mark.parametrize(
    "text",
    [nested(MAX_LEVELS + 1), "[" * 200_000, "- " * 200_000, "{a: " * 200_000],
    ids=["one too many", "lists in brackets", "lists in lines", "mappings"],
)
def test_what_is_nested_without_an_end_is_refused(text: str) -> None:
    """Ensures that it does not end the process, as the loader in C does by itself."""
    with pytest.raises(yaml.YAMLError):
        read_yaml(text)
    with pytest.raises(ValueError, match="not a kubeconfig"):
        Kubeconfig(text, secret_name="s")
