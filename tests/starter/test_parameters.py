"""Parameters of a template, from its file to the request."""

import time
from pathlib import Path
from typing import Any, cast

import pytest

from contracts.environment.chart_values import compose_values
from contracts.environment_workflow import EnvironmentStart
from contracts.templates.parameters import Parameter, ParameterType, ParameterValue
from contracts.templates.template import Template
from starter.auth.policy import Principal
from starter.catalogue.lint import check_catalogue
from starter.catalogue.loader import Catalogue, load_catalogue
from starter.catalogue.parameters import read_value
from starter.catalogue.schemas import view_of_template
from starter.environments.requests.planning import RequestedEnvironment, plan
from starter.environments.schemas import view_of_status
from starter.placement.host_check import check_templates
from starter.request_errors import InvalidRequest
from tests.starter.test_catalogue import GOOD, problems_in
from tests.starter.test_planning import HOUSE, OWNER

WITH_PARAMETERS = f"""{GOOD}\
parameters:
  replicas:
    type: integer
    description: Control planes.
    default: 1
    minimum: 1
    maximum: 3
  store:
    type: choice
    description: Where the state is.
    choices: [etcd, sqlite]
    default: sqlite
  domain:
    type: string
    description: Its domain.
    pattern: '[a-z0-9-]+\\.example\\.com'
    example: a.example.com
  audit:
    type: boolean
    description: Whether calls are logged.
    default: false
  load:
    type: number
    description: A share.
    default: 0.5
values:
  controlPlane:
    statefulSet:
      highAvailability: {{replicas: "${{parameters.replicas}}"}}
  x: ["${{parameters.store}}", "${{parameters.domain}}", "${{parameters.audit}}", "${{parameters.load}}"]
"""


def catalogue(folder: Path, text: str = WITH_PARAMETERS) -> Catalogue:
    (folder / "small.yaml").write_text(text)
    return load_catalogue(folder)


def asked(folder: Path, **parameters: ParameterValue) -> EnvironmentStart:
    wish = RequestedEnvironment(name="demo", template="small", parameters=parameters)
    principal = Principal(person="Ada", email=OWNER, teams=("blue",))
    return plan(wish, principal, "r", catalogue(folder), HOUSE)


def test_a_request_with_parameters(tmp_path: Path) -> None:
    """Ensures that texts become the types of the parameters, and defaults take their places."""
    environment = asked(tmp_path, domain="x.example.com", replicas="3", audit="true").environment
    assert environment.spec.parameters == {"replicas": 3, "domain": "x.example.com", "audit": True}
    assert environment.parameters == {
        "replicas": 3, "store": "sqlite", "domain": "x.example.com", "audit": True, "load": 0.5,
    }  # fmt: skip
    values = compose_values(environment)
    assert values["x"] == ["sqlite", "x.example.com", True, 0.5]
    assert values["controlPlane"]["statefulSet"]["highAvailability"] == {"replicas": 3}
    again = type(environment).model_validate_json(environment.model_dump_json())
    assert again == environment
    assert [type(value) for value in again.spec.parameters.values()] == [int, str, bool]


def test_the_same_values_are_the_same_request(tmp_path: Path) -> None:
    """Ensures that text and number, in any order, make the same spec, so that a repeat joins."""
    first = asked(tmp_path, domain="x.example.com", replicas="2").environment.spec
    assert asked(tmp_path, replicas=2, domain="x.example.com").environment.spec == first


@pytest.mark.parametrize(
    ("parameters", "field", "words"),
    [
        ({}, "domain", "is missing: Its domain."),
        ({"domain": "x.example.com", "replica": "3"}, "replica", 'did you mean "replicas"?'),
        ({"domain": "x.example.com", "replicas": "4"}, "replicas", '"4" is not a whole number from 1 to 3'),
        ({"domain": "x.example.com", "replicas": "2.5"}, "replicas", "is not a whole number"),
        ({"domain": "x.example.com", "replicas": True}, "replicas", "is not a whole number"),
        ({"domain": "x.example.com", "replicas": ""}, "replicas", "is not a whole number"),
        ({"domain": "x.example.com", "replicas": "1_0"}, "replicas", "is not a whole number"),
        ({"domain": "x.example.com", "replicas": "9" * 5000}, "replicas", "is not a whole number"),
        ({"domain": "x.example.com", "load": "nan"}, "load", "is not a number"),
        ({"domain": "x.example.com", "load": "1e999"}, "load", "is not a number"),
        ({"domain": "x.example.com", "store": "etc"}, "store", 'is not one of etcd, sqlite: did you mean'),
        ({"domain": "x.example.com", "store": 1}, "store", "is not text"),
        ({"domain": "x.example.com", "audit": "yes"}, "audit", '"yes" is not true or false'),
        ({"domain": "x.example.org"}, "domain", "is not a text that matches"),
        ({"domain": "x.example.com\n"}, "domain", ""),
        ({"domain": "x.example.com; rm -rf /"}, "domain", "is not a text that matches"),
        ({"domain": "\u202ex.example.com"}, "domain", ""),
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_refused(
    tmp_path: Path, parameters: dict[str, ParameterValue], field: str, words: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asked(tmp_path, **parameters)
    [problem] = [one for one in refused.value.problems if one.field == f"parameters.{field}"]
    assert words in problem.message


@pytest.mark.parametrize(
    "text", ["a b", "a;b", "$(id)", "`id`", "../x", "a/b", "a: b", "{a}", "a\nb", "'", "-x", ""]
)
def test_a_text_without_a_pattern(text: str) -> None:
    """Ensures that a template without a pattern accepts nothing that means something elsewhere."""
    parameter = Parameter(type=ParameterType.STRING, description="d")
    with pytest.raises(ValueError, match=r"."):
        read_value(parameter, text)
    assert read_value(parameter, "v1.36.0+build_1") == "v1.36.0+build_1"


def test_a_pattern_takes_linear_time() -> None:
    """Ensures that no text of a user makes the API compute for long."""
    parameter = Parameter(type=ParameterType.STRING, description="d", pattern="(a+)+b")
    started = time.process_time()
    with pytest.raises(ValueError, match="matches"):
        read_value(parameter, "a" * 250)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("change", "to", "expected"),
    [
        ("default: 1\n", "default: 7\n", 'replicas.default: "7" is not a whole number from 1 to 3'),
        ("default: 1\n", 'default: "1"\n', "replicas.default: 1 is not a whole number from 1 to 3: leave"),
        ("default: false", "default: 1", 'parameters.audit.default: "1" is not true or false'),
        ("type: integer", "type: int", 'parameters.replicas.type: "int" is not one of'),
        ("choices: [etcd, sqlite]\n", "minimum: 1\n", "parameters.store.choices: is missing"),
        ("choices: [etcd, sqlite]\n", "choices: [1.36]\n", 'parameters.store.choices.0: "1.36" is not text'),
        ("default: sqlite", "default: redis", 'parameters.store.default: "redis" is not one of etcd, sqlite'),
        ("    minimum: 1\n", "    minimum: 5\n", "replicas.minimum: 5 is more than the maximum, 3"),
        ("    example: a.example.com\n", "", "parameters.domain.example: is missing"),
        ("'[a-z0-9-]+", "'[a-z", "parameters.domain.pattern: is not a regular expression"),
        ("  load:\n", "  Load:\n", "parameters.Load"),
        ("description: A share.", "descriptio: A share.", "parameters.load.description: is missing"),
        ('"${parameters.load}"', '"x${parameters.load}"', "values.x.3: "),
        ('"${parameters.load}"', '"${parameters.loud}"', "values.x.3: "),
    ],
    ids=range(14),
)  # fmt: skip
def test_declarations_that_cannot_be_used(tmp_path: Path, change: str, to: str, expected: str) -> None:
    """Ensures that a mistake in a file is reported with its field and line."""
    found = problems_in(tmp_path, WITH_PARAMETERS.replace(change, to, 1))
    assert any(expected in problem for problem in found), found
    assert all(int(problem.split(":")[1]) > 13 for problem in found), found


def test_a_parameter_that_changes_nothing(tmp_path: Path) -> None:
    catalogue(tmp_path, WITH_PARAMETERS.replace(', "${parameters.load}"', ""))
    found = check_catalogue(tmp_path, {})
    assert [one.field for one in found.warnings if one.field.startswith("parameters")] == ["parameters.load"]


async def test_the_chart_is_checked_with_values(tmp_path: Path) -> None:
    """Ensures that a host checks defaults and examples, not the markers."""
    seen: list[Any] = []

    class Host:
        name = "main"

        def planned_overlay(self, *_: str) -> dict[str, Any]:
            return {}

        async def check_release(self, _chart: Any, values: Any) -> None:
            seen.append(values["x"])

    [template] = catalogue(tmp_path).offered_to([])
    assert not await check_templates([template], cast(Any, Host()), "k3x9q0vb", "mrg")
    assert seen == [["sqlite", "a.example.com", False, 0.5]]


def test_views_have_them(tmp_path: Path) -> None:
    """Ensures that a template shows what can be chosen, and an environment what was."""
    [template] = catalogue(tmp_path).offered_to([])
    view = view_of_template(template)
    assert list(view.parameters) == ["replicas", "store", "domain", "audit", "load"]
    assert view.parameters["store"].choices == ("etcd", "sqlite")
    from starter.environments.requests.planning import status_at_start

    start = asked(tmp_path, domain="x.example.com")
    assert view_of_status(status_at_start(start)).parameters["domain"] == "x.example.com"


def test_a_template_without_parameters_is_as_before() -> None:
    template = Template.model_validate(
        {"name": "t", "version": 1, "description": "d", "chart": {"version": "1"}, "kubernetes": "v1.36.0",
         "size": {"cpu": "1", "memory": "1Gi", "storage": "1Gi", "pods": 5},
         "ttl": {"default": "1h", "maximum": "2h"}, "values": {"a": "${parameters.b}"}}
    )  # fmt: skip
    assert template.with_parameters({"b": 1}) is template
