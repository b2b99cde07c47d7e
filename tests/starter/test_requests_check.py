"""Several requests that are checked together."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from clients.errors import Unreachable
from starter.api.requests_check import RequestsCheck, cost_of
from starter.auth.policy import Principal
from starter.catalogue.loader import Catalogue
from starter.environments.requests.planning import RequestedEnvironment, plan
from starter.environments.requests.service import EnvironmentService
from starter.environments.schemas import RequestsChecked
from starter.request_errors import InvalidRequest
from tests.starter.test_planning import HOUSE, OWNER, OneTemplate

ADA = Principal(person="Ada", email=OWNER, teams=("blue",))


class Directory:
    """Knows Ada and Grace, or does not answer."""

    def __init__(self, *, answers: bool = True) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def find_user(self, email: str) -> object | None:
        self.asked.append(email)
        if not self.answers:
            raise Unreachable("directory", "find_user", "does not answer")
        return email if email in (OWNER, "grace@example.com") else None


def checker(directory: Directory) -> RequestsCheck:
    def planned(requested: RequestedEnvironment, principal: Principal, key: str) -> Any:
        return plan(requested, principal, key, cast(Catalogue, OneTemplate()), HOUSE)

    return RequestsCheck(cast(EnvironmentService, SimpleNamespace(plan=planned)), directory)


async def check(bodies: list[Any], directory: Directory | None = None) -> RequestsChecked:
    return await checker(directory or Directory()).check(bodies, ADA)


async def test_all_are_valid() -> None:
    """Ensures that each person is looked up once, however many requests name them."""
    directory = Directory()
    bodies = [
        {"name": f"lab-{number}", "template": "small", "collaborators": ["grace@example.com"]}
        for number in range(20)
    ]
    found = await check(bodies, directory)
    assert found == RequestsChecked(message="All 20 requests are valid.")
    assert sorted(directory.asked) == [OWNER, "grace@example.com"]


async def test_every_problem_at_once() -> None:
    """Ensures that problems of form, of the rules and of people are shown together, in their order."""
    with pytest.raises(InvalidRequest) as refused:
        await check(
            [
                {"name": "a", "template": "small", "collaborators": ["grace@example.com", "x@example.com"]},
                {"name": "B", "template": "smal", "ttl": "3h", "team": "green"},
                {"name": "c", "templat": "small"},
                "text",
                {"name": "a", "template": "small", "labels": {"-": "x", "y": "ü"}},
                {"name": 3, "template": None},
            ]
        )
    assert [(one.field, one.message.partition(":")[0]) for one in refused.value.problems] == [
        ("environments.0.collaborators.1", "the directory does not know x@example.com"),
        ("environments.1.name", '"B" cannot be a name'),
        ("environments.1.team", 'you are not in a team "green"'),
        ("environments.1.template", 'there is no template "smal"'),
        ("environments.2.template", "is missing"),
        ("environments.2.templat", "there is no such field"),
        ("environments.3", '"text" is not a group of fields'),
        ("environments.4.name", '"a" is also the name of environments.0'),
        ("environments.4.labels.-", '"-" cannot be the key of a label'),
        ("environments.4.labels.y", '"ü" cannot be the value of a label'),
        ("environments.5.name", '"3" is not text'),
        ("environments.5.template", "what is there is not text"),
    ]


async def test_a_directory_that_does_not_answer() -> None:
    found = await check([{"name": "a", "template": "small"}], Directory(answers=False))
    assert not found.people_are_checked
    assert "could not be checked now" in found.message


def test_a_check_counts_as_many_dry_runs_as_would_ask_for_its_people() -> None:
    """Ensures that no person has a directory asked a hundred times as often as by single requests."""

    def bodies(requests: int, people: int) -> list[Any]:
        return [
            {"name": f"lab-{one}", "collaborators": [f"p{one}-{each}@example.com" for each in range(people)]}
            for one in range(requests)
        ]

    assert cost_of(bodies(100, 0)) == 1
    assert cost_of(bodies(100, 1)) == 5
    assert cost_of(bodies(100, 20)) == 100
    assert cost_of([{"collaborators": ["a@example.com", "A@example.com"]}] * 100) == 1
    assert cost_of([None, "x", {"collaborators": "x"}, {"collaborators": [[1], None]}]) == 1
