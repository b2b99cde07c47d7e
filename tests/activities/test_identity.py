"""The group in directories that keep names unique and in those that do not, as the RFC lets them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from activities.steps import identity_group
from activities.steps.identity_group import IdentityStep
from clients.identity.protocol import Group
from clients.identity.scim import Scim
from contracts.activities.steps import EnsureInput, InspectInput, InspectResult, RemoveInput
from contracts.environment.models import Environment, Receipt
from contracts.errors import ErrorType
from embedded.faults import Fault, FaultKind
from tests.activities.activity_runs import LIFE_START, Running, details, fail, succeed
from tests.activities.conftest import OTHER_INSTALLATION, TIMEOUT, TOKEN, an_environment, fresh
from tests.support.stand_ins import running_stand_ins, set_faults

pytestmark = pytest.mark.slow

#: Longer than any call takes on a busy machine, and short enough to be waited for twice.
IMPATIENCE = timedelta(seconds=5)


#: For what can come about only where names may be there twice.
allows_duplicates_only = pytest.mark.parametrize("directory", ["duplicate names"], indirect=True)


@pytest.fixture(scope="module", params=["unique names", "duplicate names"])
def directory(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, bool]]:
    database = Path(tmp_path_factory.mktemp("directory"), "directory.sqlite")
    loose = request.param == "duplicate names"
    options = {"database": database, "token": TOKEN, "allow_duplicate_groups": loose}
    with running_stand_ins(directory=options) as [url]:
        yield url, loose


@pytest.fixture
async def scim(directory: tuple[str, bool]) -> AsyncIterator[Scim]:
    url, _ = directory
    client = Scim(f"{url}/v2", TOKEN, timeout=TIMEOUT)
    yield client
    await client.close()
    set_faults(url)


@pytest.fixture
def environment() -> Environment:
    return an_environment(fresh())


async def ensure(scim: Scim, environment: Environment, attempt: int = 1) -> Receipt:
    result = await succeed(IdentityStep(scim).ensure, EnsureInput(environment=environment), attempt=attempt)
    assert isinstance(result, Receipt)
    return result


async def groups(scim: Scim, environment: Environment) -> list[Group]:
    return sorted(await scim.groups_by_name(environment.derived_name), key=lambda group: group.id)


async def test_ensure_and_remove_leave_one_and_then_none(scim: Scim, environment: Environment) -> None:
    first = await ensure(scim, environment)
    assert await ensure(scim, environment) == first
    [group] = await groups(scim, environment)
    assert group == Group(first.reference, environment.derived_name, environment.mark.text)
    assert len(await scim.members(group.id)) == 2
    await succeed(IdentityStep(scim).remove, RemoveInput(environment=environment, life_started_at=LIFE_START))
    assert await groups(scim, environment) == []


@pytest.fixture
def forgetful(directory: tuple[str, bool], monkeypatch: pytest.MonkeyPatch) -> "Forgetful":
    """A way to the directory past which its search by externalId does not find what is there."""
    monkeypatch.setattr(identity_group, "SEARCH_TIMEOUT", timedelta(seconds=1))
    return Forgetful(f"{directory[0]}/v2", TOKEN, timeout=TIMEOUT)


class Forgetful(Scim):
    blind = 10**6

    async def groups_by_external_id(self, external_id: str) -> list[Group]:
        self.blind -= 1
        return [] if self.blind >= 0 else await super().groups_by_external_id(external_id)


async def test_no_member_is_added_to_a_group_that_the_undo_would_not_find(
    scim: Scim, forgetful: Forgetful, environment: Environment
) -> None:
    failure = await fail(IdentityStep(forgetful).ensure, EnsureInput(environment=environment))
    assert "does not find it by its externalId" in failure.message
    assert details(failure).in_doubt, "nothing would look again for what the search may still find"
    assert await groups(scim, environment) == [], "it left a group that no undo would have found"
    await forgetful.close()


async def test_a_search_that_is_late_is_waited_for(
    scim: Scim, forgetful: Forgetful, environment: Environment
) -> None:
    forgetful.blind = 4
    running = Running(IdentityStep(forgetful).ensure, EnsureInput(environment=environment))
    await running.result()
    assert any("its search" in waits for waits in running.waits), f"it waited for {running.waits}"
    [group] = await groups(scim, environment)
    assert len(await scim.members(group.id)) == 2
    await succeed(IdentityStep(scim).remove, RemoveInput(environment=environment, life_started_at=LIFE_START))
    await forgetful.close()


async def test_a_cancellation_while_the_search_is_late_leaves_doubt(
    scim: Scim, forgetful: Forgetful, environment: Environment
) -> None:
    running = Running(IdentityStep(forgetful).ensure, EnsureInput(environment=environment))
    await running.says("its search")
    running.cancel()
    failure = await running.failure()
    assert details(failure).in_doubt, "the inspection would not be made again when the search finds the group"
    await succeed(IdentityStep(scim).remove, RemoveInput(environment=environment, life_started_at=LIFE_START))
    await forgetful.close()


async def test_a_create_that_comes_late_does_not_leave_a_second_group(
    scim: Scim, directory: tuple[str, bool], environment: Environment
) -> None:
    url, allows_duplicates = directory
    impatient = Scim(f"{url}/v2", TOKEN, timeout=IMPATIENCE)
    late = 2 * IMPATIENCE.total_seconds()
    set_faults(url, Fault(operation="group.create", kind=FaultKind.DELAY_BEFORE, seconds=late, times=1))
    failure = await fail(IdentityStep(impatient).ensure, EnsureInput(environment=environment))
    await impatient.close()
    assert "create group" in failure.message, f"another call was too slow: {failure.message}"
    await ensure(scim, environment, attempt=2)
    await asyncio.sleep(late)
    assert len(await groups(scim, environment)) == (2 if allows_duplicates else 1), "it did not come late"
    await ensure(scim, environment, attempt=3)
    assert len(await groups(scim, environment)) == 1


@allows_duplicates_only
async def test_of_two_groups_of_ours_ensure_keeps_the_first(scim: Scim, environment: Environment) -> None:
    for _ in range(2):
        await scim.create_group(environment.derived_name, environment.mark.text)
    first, _ = await groups(scim, environment)
    receipt = await ensure(scim, environment)
    assert await groups(scim, environment) == [first]
    assert receipt.reference == first.id


@allows_duplicates_only
async def test_remove_takes_all_groups_of_ours(scim: Scim, environment: Environment) -> None:
    await ensure(scim, environment)
    await scim.create_group(environment.derived_name, environment.mark.text)
    inspected = await succeed(
        IdentityStep(scim).inspect, InspectInput(environment=environment, life_started_at=LIFE_START)
    )
    assert inspected == InspectResult(left=(f"group {environment.derived_name}",) * 2)
    await succeed(IdentityStep(scim).remove, RemoveInput(environment=environment, life_started_at=LIFE_START))
    assert await groups(scim, environment) == []


@allows_duplicates_only
async def test_a_stranger_of_the_same_name_is_a_conflict_even_beside_ours(
    scim: Scim, environment: Environment
) -> None:
    await ensure(scim, environment)
    theirs = an_environment(environment.name, installation=OTHER_INSTALLATION)
    await scim.create_group(environment.derived_name, theirs.mark.text)
    failure = await fail(IdentityStep(scim).ensure, EnsureInput(environment=environment))
    assert failure.type == ErrorType.CONFLICT.value
    await succeed(IdentityStep(scim).remove, RemoveInput(environment=environment, life_started_at=LIFE_START))
    [left] = await groups(scim, environment)
    assert left.external_id == theirs.mark.text, "it has removed the stranger's"


async def test_a_cancellation_in_the_middle_of_a_call_still_gives_the_receipt(
    scim: Scim, directory: tuple[str, bool], environment: Environment
) -> None:
    set_faults(
        directory[0], Fault(operation="group.create", kind=FaultKind.DELAY_AFTER, seconds=0.5, times=1)
    )
    running = Running(IdentityStep(scim).ensure, EnsureInput(environment=environment))
    while not await groups(scim, environment):
        assert not running.done
    running.cancel()
    receipt = await running.result()
    [group] = await groups(scim, environment)
    assert receipt == Receipt(name=environment.derived_name, reference=group.id)


async def test_people_are_out_even_if_the_group_cannot_be_deleted(
    scim: Scim, directory: tuple[str, bool], environment: Environment
) -> None:
    receipt = await ensure(scim, environment)
    set_faults(directory[0], Fault(operation="group.delete", kind=FaultKind.STATUS, status=503))
    await fail(IdentityStep(scim).remove, RemoveInput(environment=environment, life_started_at=LIFE_START))
    assert await scim.members(receipt.reference) == [], "they would still be let in"
