"""Parameters in the values of a template: whole scalars with their types, and nothing else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.templates.parameters import (
    Parameter,
    ParameterType,
    format_parameters,
    marker,
    misplaced_markers,
    substitute,
    unused_parameters,
)

REPLICAS = Parameter(type=ParameterType.INTEGER, description="d", default=1)
DOMAIN = Parameter(type=ParameterType.STRING, description="d", default="a.example.com")
STORE = Parameter(type=ParameterType.CHOICE, description="d", choices=("etcd", "sqlite"), default="etcd")


def test_values_keep_their_types() -> None:
    values = {
        "a": {"n": marker("n"), "list": [marker("n"), {"t": marker("t")}, 7]},
        "b": marker("b"),
        "f": marker("f"),
        "other": "${other}",
    }
    found = substitute(values, {"n": 3, "t": "x: y", "b": True, "f": 0.5})
    assert found == {"a": {"n": 3, "list": [3, {"t": "x: y"}, 7]}, "b": True, "f": 0.5, "other": "${other}"}
    assert type(found["b"]) is bool
    assert values["b"] == marker("b"), "the template itself must not change"


@given(st.text(max_size=60))
def test_a_text_stays_one_text(text: str) -> None:
    """Ensures that no text is read again: neither as a marker nor as YAML."""
    found = substitute({"a": marker("t"), "b": [marker("t")]}, {"t": text, "n": 1})
    assert found == {"a": text, "b": [text]}


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"a": "http://${parameters.domain}/"}, ("a",)),
        ({"a": "${parameters.missing}"}, ("a",)),
        ({"a": " ${parameters.replicas}"}, ("a",)),
        ({"a": ["x", "${parameters.replicas"]}, ("a", 1)),
        ({"${parameters.domain}": 1}, ("${parameters.domain}",)),
        ({"init": {"command": ["sh", "-c", "${parameters.domain}"]}}, ("init", "command", 2)),
        ({"manifests": "${parameters.domain}"}, ("manifests",)),
        ({"hostPath": {"path": "${parameters.domain}"}}, ("hostPath", "path")),
    ],
)
def test_where_no_parameter_can_be(values: dict[str, Any], path: tuple[str | int, ...]) -> None:
    """Ensures that a parameter is refused in a text, a key, a command, a path and a text of YAML."""
    parameters = {"replicas": REPLICAS, "domain": DOMAIN}
    assert [found for found, _ in misplaced_markers(values, parameters)] == [path]


def test_choices_and_numbers_may_be_in_a_command() -> None:
    """Ensures that what only the platform team has written may be anywhere."""
    values = {"command": ["run", "${parameters.store}", "${parameters.replicas}"]}
    assert not list(misplaced_markers(values, {"store": STORE, "replicas": REPLICAS}))


def test_what_is_not_used() -> None:
    assert unused_parameters({"a": [marker("n")]}, {"n": REPLICAS, "m": REPLICAS}) == ["m"]


def test_one_line() -> None:
    assert format_parameters({"n": 3, "b": True, "t": "x"}) == "n=3, b=true, t=x"
