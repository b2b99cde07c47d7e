"""The group in directories as products have them: one of it, ours, with its people; and then none."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from activities.steps import identity_group
from activities.steps.identity_group import IdentityStep
from clients.identity.scim import Scim
from contracts.activities.steps import EnsureInput, InspectInput, InspectResult, RemoveInput
from contracts.environment.models import Environment, Receipt
from contracts.errors import ErrorType
from tests.activities.activity_runs import LIFE_START, fail, succeed
from tests.activities.conftest import OTHER_INSTALLATION, TIMEOUT, TOKEN, an_environment
from tests.support.scim_dialects import USABLE, Dialect, Document, OwnOffset, Snowflake, serving
from tests.support.stand_ins import TLS

pytestmark = pytest.mark.usefixtures("_impatient")
OWNER, COLLABORATOR = "Alice@Example.com", "bob@example.com"


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity_group, "SEARCH_TIMEOUT", timedelta(0))


@pytest.fixture
def environment() -> Environment:
    return an_environment("demo", owner=OWNER.lower(), collaborators=(COLLABORATOR,))


@asynccontextmanager
async def client_of(dialect: Dialect) -> AsyncIterator[IdentityStep]:
    """The step, in a directory with people in it and groups of others before and after ours."""
    dialect.add_user(OWNER, "alice@example.com", OWNER)
    dialect.add_user("robert", "Bob@example.com", "robert@example.com")
    for number in range(5):
        dialect.add_user(f"p{number}@example.com", f"p{number}@example.com")
        dialect.add_group(f"team-{number}", f"team-{number}")
    async with serving(dialect) as url:
        scim = Scim(url, TOKEN, timeout=TIMEOUT, verify=TLS)
        try:
            yield IdentityStep(scim)
        finally:
            await scim.close()


@pytest.mark.parametrize("kind", [kind for kind in USABLE if kind is not Snowflake])
async def test_group_is_kept_and_removed_as_in_any_directory(
    kind: Callable[[], Dialect], environment: Environment
) -> None:
    dialect = kind()
    others = {f"g{number}" for number in range(1, 6)}
    async with client_of(dialect) as step:
        first = await succeed(step.ensure, EnsureInput(environment=environment))
        assert isinstance(first, Receipt)
        again = await succeed(step.ensure, EnsureInput(environment=environment), attempt=2)
        assert again.reference == first.reference
        assert dialect.deleted == [], "it has taken its own group for a double of itself"
        assert set(dialect.groups) - others == {first.reference}
        assert sorted(dialect.groups[first.reference]["members"]) == ["u1", "u2"]
        left = await succeed(step.inspect, InspectInput(environment=environment, life_started_at=LIFE_START))
        assert left == InspectResult(left=(f"group {environment.derived_name}",))
        await succeed(step.remove, RemoveInput(environment=environment, life_started_at=LIFE_START))
        assert (
            await succeed(step.inspect, InspectInput(environment=environment, life_started_at=LIFE_START))
            == InspectResult()
        )
    assert set(dialect.groups) == others
    assert dialect.deleted == [first.reference]


async def test_directory_whose_search_by_mark_finds_nothing_is_not_used(environment: Environment) -> None:
    dialect = Snowflake()
    async with client_of(dialect) as step:
        failure = await fail(step.ensure, EnsureInput(environment=environment))
        assert "does not find it by its externalId" in failure.message
    assert len(dialect.groups) == 5, "it has left its group"


async def test_doubles_go_and_the_first_stays_where_pages_overlap(environment: Environment) -> None:
    dialect = OwnOffset()
    for _ in range(3):
        dialect.add_group(environment.derived_name, environment.mark.text)
    async with client_of(dialect) as step:
        receipt = await succeed(step.ensure, EnsureInput(environment=environment))
    assert receipt.reference == "g1"
    assert sorted(dialect.deleted) == ["g2", "g3"]


class Adopting(Dialect):
    """A create answers with the group that has the name: Entra's `Prefer: create-if-missing`."""

    def create(self, document: Document) -> Response:
        """Make it, unless there is one."""
        for group in self.groups.values():
            if group["displayName"].lower() == document["displayName"].lower():
                return JSONResponse(self.shown(group, {}), status_code=200)
        return super().create(document)

    def matches(self, resource: Document, name: str, value: str) -> bool:
        """In any case, but for names of groups: so is the other one overlooked."""
        return (
            bool(resource.get(name) == value)
            if name == "displayName"
            else super().matches(resource, name, value)
        )


@pytest.mark.parametrize("theirs", ["another's", None])
async def test_group_of_others_that_a_create_gives_us_is_left_alone(
    theirs: str | None, environment: Environment
) -> None:
    dialect = Adopting()
    mark = theirs and an_environment("demo", installation=OTHER_INSTALLATION).mark.text
    id = dialect.add_group(environment.derived_name.upper(), mark, members=("u9",))
    async with client_of(dialect) as step:
        failure = await fail(step.ensure, EnsureInput(environment=environment))
    assert dialect.groups[id]["members"] == ["u9"]
    assert dialect.deleted == []
    assert failure.type == ErrorType.CONFLICT.value


class Odd(Dialect):
    """Answers every list with the given document."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer
        self.broken = False

    def listed(self, found: list[Document], start: int, count: int, query: Document) -> Response:
        """As the test says, once it is broken."""
        if not self.broken:
            return super().listed(found, start, count, query)
        answer = self.answer(found, start)
        return answer if isinstance(answer, Response) else JSONResponse(answer)


@pytest.mark.parametrize(
    "answer",
    [
        lambda _found, _start: {},
        lambda _found, _start: {"message": "ok"},
        lambda _found, _start: [],
        lambda _found, _start: {"totalResults": 1},
        lambda _found, _start: {"totalResults": 1, "Resources": []},
        lambda _found, _start: {"totalResults": 7, "Resources": [{"id": "g1", "displayName": "team-0"}]},
        lambda _found, _start: {"totalResults": 0, "totalresults": 1, "Resources": []},
        lambda _found, _start: {"Resources": [{"displayName": "without an id"}], "totalResults": 1},
        lambda _found, _start: {"Resources": [{"id": "..", "displayName": "x"}], "totalResults": 1},
        lambda _found, start: {
            "totalResults": 9 if start < 2 else 8,
            "Resources": [{"id": f"x{n}", "displayName": "n"} for n in range(start, min(start + 5, 10))],
        },
        lambda _found, _start: Response("<html>sign in</html>", status_code=200),
        lambda _found, _start: Response("<html>no such page</html>", status_code=404),
        lambda _found, _start: Response("", status_code=404),
        lambda _found, _start: Response("", status_code=200),
    ],
)
async def test_what_is_unintelligible_is_never_taken_for_none(
    answer: Callable[[list[Document], int], Any], environment: Environment
) -> None:
    dialect = Odd(answer)
    async with client_of(dialect) as step:
        receipt = await succeed(step.ensure, EnsureInput(environment=environment))
        dialect.broken = True
        for call in (
            (step.remove, RemoveInput(environment=environment, life_started_at=LIFE_START)),
            (step.inspect, InspectInput(environment=environment, life_started_at=LIFE_START)),
            (step.ensure, EnsureInput(environment=environment)),
        ):
            failure = await fail(*call)
            assert not failure.non_retryable, failure.message
    assert receipt.reference in dialect.groups
    assert dialect.deleted == []
