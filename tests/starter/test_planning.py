"""What is refused at the door, before anything is started."""

from typing import Any, cast

import pytest

from contracts.environment_workflow import EnvironmentStart, LifecycleTimeouts
from contracts.templates.template import Template
from starter.auth.policy import Principal
from starter.catalogue.loader import Catalogue
from starter.environments.requests.planning import RequestedEnvironment, plan
from starter.installation_settings import InstallationConfig
from starter.request_errors import InvalidRequest
from tests.starter.test_chart_check import environment

OWNER = "ada@example.com"
HOUSE = InstallationConfig(
    installation="k3x9q0vb",
    prefix="mrg",
    hosts={"main": {}},
    default_host=None,
    has_identity_provider=False,
    timeouts=LifecycleTimeouts(),
)


class OneTemplate:
    def offered_to(self, _teams: Any, *, everything: bool) -> list[Template]:
        return [environment().template]


def asked(*collaborators: str) -> EnvironmentStart:
    principal = Principal(person="Ada", email=OWNER, teams=("blue",))
    wish = RequestedEnvironment(name="demo", template="small", collaborators=collaborators)
    return plan(wish, principal, "r", cast(Catalogue, OneTemplate()), HOUSE)


def addresses(count: int, length: int) -> list[str]:
    domain = f"@{'d' * 50}.example.com"
    return [f"{number:0{length - len(domain)}}{domain}" for number in range(count)]


@pytest.mark.parametrize(
    "collaborators",
    [
        addresses(20, 99),  # 20 * 102 + 1 = 2041 bytes
        # Each counts once, whatever its case, and the owner not at all.
        [*addresses(10, 104), *map(str.upper, addresses(10, 104))],
        [*addresses(19, 104), OWNER],
    ],
)
def test_people_who_fit(collaborators: list[str]) -> None:
    assert asked(*collaborators).environment.spec.collaborators


@pytest.mark.parametrize("collaborators", [addresses(20, 104), addresses(20, 100)])
def test_people_whose_addresses_are_too_long_together(collaborators: list[str]) -> None:
    """Ensures that the error names the limit, and does not ask for a retry."""
    with pytest.raises(InvalidRequest) as refused:
        asked(*collaborators)
    [problem] = refused.value.problems
    assert problem.field == "collaborators"
    assert "at most 2048" in problem.message


def test_the_error_for_too_many_people_has_only_the_number() -> None:
    with pytest.raises(InvalidRequest, match="at most 20") as refused:
        asked(*addresses(21, 104))
    assert len(refused.value.problems) == 1
