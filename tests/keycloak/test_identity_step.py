"""The step of the identity provider's group, as the worker runs it, on a real Keycloak, by both adapters."""

from datetime import UTC, datetime
from uuid import uuid4

import httpx
import pytest

from activities.steps.identity_group import IdentityStep
from clients.identity.keycloak import OWNER_ATTRIBUTE
from clients.identity.protocol import IdentityProvider
from contracts.activities.steps import EnsureInput, InspectInput, InspectResult, RemoveInput
from contracts.environment.models import Environment, Receipt
from contracts.errors import ErrorType
from tests.activities.activity_runs import fail, succeed
from tests.activities.conftest import an_environment


@pytest.fixture
def environment() -> Environment:
    return an_environment(f"demo-{uuid4().hex[:8]}", collaborators=("carol@example.com",))


@pytest.fixture(params=["keycloak", "scim"])
def identity(request: pytest.FixtureRequest) -> IdentityProvider:
    client: IdentityProvider = request.getfixturevalue(request.param)
    return client


STARTED = datetime(2026, 1, 1, tzinfo=UTC)


async def left(identity: IdentityProvider, environment: Environment) -> tuple[str, ...]:
    result = await succeed(
        IdentityStep(identity).inspect, InspectInput(environment=environment, life_started_at=STARTED)
    )
    assert isinstance(result, InspectResult)
    return result.left


async def test_ensure_twice_makes_one_group_and_remove_leaves_none(
    identity: IdentityProvider, environment: Environment
) -> None:
    first = await succeed(IdentityStep(identity).ensure, EnsureInput(environment=environment))
    again = await succeed(IdentityStep(identity).ensure, EnsureInput(environment=environment), attempt=2)
    assert isinstance(first, Receipt)
    assert isinstance(again, Receipt)
    assert (first.name, first.reference) == (again.name, again.reference)
    assert len(await identity.members(first.reference)) == 2
    assert await left(identity, environment) == (f"group {environment.derived_name}",)
    for _ in range(2):
        await succeed(
            IdentityStep(identity).remove, RemoveInput(environment=environment, life_started_at=STARTED)
        )
    assert await left(identity, environment) == ()


@pytest.mark.parametrize("attributes", [{}, {OWNER_ATTRIBUTE: ["k3x9q0vb/demo/" + "0" * 20]}])
async def test_a_group_of_another_owner_is_a_conflict_and_stays(
    identity: IdentityProvider,
    admin: httpx.AsyncClient,
    environment: Environment,
    attributes: dict[str, list[str]],
) -> None:
    name = environment.derived_name
    (await admin.post("/groups", json={"name": name, "attributes": attributes})).raise_for_status()
    failure = await fail(IdentityStep(identity).ensure, EnsureInput(environment=environment))
    assert failure.type == ErrorType.CONFLICT
    await succeed(
        IdentityStep(identity).remove, RemoveInput(environment=environment, life_started_at=STARTED)
    )
    [strangers] = await identity.groups_by_name(name)
    await identity.delete_group(strangers.id)


async def test_an_unknown_person_is_named(identity: IdentityProvider, environment: Environment) -> None:
    spec = environment.spec.model_copy(update={"collaborators": ("no-one@example.com",)})
    stranger = environment.model_copy(update={"spec": spec})
    failure = await fail(IdentityStep(identity).ensure, EnsureInput(environment=stranger))
    assert "no-one@example.com" in failure.message.lower()
    assert await left(identity, stranger) == ()
