"""The step of the group with a fault in one of its calls; a test class per kind gives it a `directory`."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from itertools import product
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities.steps.identity_group import IdentityStep
from clients.errors import NotFound
from clients.identity.protocol import Group, IdentityProvider
from contracts.activities.steps import EnsureInput, InspectInput, InspectResult, RemoveInput
from contracts.environment.models import Environment, Receipt
from embedded.faults import Fault, FaultKind
from tests.activities.activity_runs import LIFE_START, Running
from tests.activities.conftest import an_environment
from tests.support.identity_directories import (
    PAUSE,
    SHORT_TIMEOUT,
    Directory,
    bearer_tokens,
    becomes,
    fresh,
    fresh_mark,
    is_known,
)

#: Attempts at a step before the test fails: the faults strike once, the rest is for a machine that is busy.
ATTEMPTS = 8

_TOO_LATE = SHORT_TIMEOUT.total_seconds() + 1
EXPIRED = "credential that has just expired"
#: What can befall one call.
FAULTS = {
    "refused before it was done": Fault(kind=FaultKind.CUT_BEFORE, times=1),
    "cut after it was done": Fault(kind=FaultKind.CUT_AFTER, times=1),
    "503": Fault(kind=FaultKind.STATUS, status=503, times=1),
    "502 after it was done": Fault(kind=FaultKind.STATUS_AFTER, status=502, times=1),
    "page of a proxy": Fault(kind=FaultKind.HTML, status=502, times=1),
    "half a body": Fault(kind=FaultKind.TRUNCATE, times=1),
    "too many requests": Fault(kind=FaultKind.STATUS, status=429, retry_after=0, times=1),
    EXPIRED: Fault(kind=FaultKind.STATUS, status=401, times=1),
    "answered after the client gave up": Fault(kind=FaultKind.DELAY_AFTER, seconds=_TOO_LATE, times=1),
    "done after the client gave up": Fault(kind=FaultKind.DELAY_BEFORE, seconds=_TOO_LATE, times=1),
}
#: Those that take seconds; they strike only what is in doubt afterwards.
SLOW = ("answered after the client gave up", "done after the client gave up")
#: Those that a call can meet which changes nothing; the others differ only in what was done.
OF_READS = ("503", "half a body", EXPIRED)
OF_WRITES = tuple(fault for fault in FAULTS if fault not in SLOW)
#: Those that `clients.transport.http` makes the same error of as of another fault that has done as much; the
#: client of a kind sees no more of them than that. One kind has them all.
SAME_TO_A_CLIENT = (
    "refused before it was done",
    "page of a proxy",
    "too many requests",
    "502 after it was done",
)


def calls_and_faults(*, writes: Iterable[str], reads: Iterable[str]) -> list[tuple[str, str]]:
    """Each call with each fault that makes a difference to it."""
    return [*product(writes, OF_WRITES), *product(reads, OF_READS)]


def strike(directory: Directory, fault: str, call: str) -> None:
    """Let the fault strike the next such call."""
    directory.faults(FAULTS[fault].model_copy(update={"operation": getattr(directory, call)}))


def reason_to_skip(directory: Directory, fault: str | None, call: str | None) -> str | None:
    """Why the fault cannot befall the call, or is not tried on this kind."""
    if not directory.renews_credential and (fault == EXPIRED or call == "token"):
        return "a token in the settings does not expire by itself"
    if fault == EXPIRED and call == "token":
        return "a refusal of the client itself is final"
    if fault in directory.faults_left_out:
        return "to the client of this kind it is one of the others; another kind has it"
    return None


class IdentityFaultMatrix:
    """The step of the group: one group with its people, and then none, whatever befalls one of its calls.

    Whatever a step sends to Temporal in these tests, no secret of the directory is in it.
    """

    #: All that the steps of one test have sent to Temporal.
    _sent: list[str]

    @pytest.fixture(autouse=True)
    def _applies(self, directory: Directory, request: pytest.FixtureRequest) -> None:
        """Skip before anything is made."""
        callspec = getattr(request.node, "callspec", None)
        given = callspec.params if callspec else {}
        if why := reason_to_skip(directory, given.get("fault"), given.get("call")):
            pytest.skip(why)

    @pytest.fixture
    async def client(self, directory: Directory) -> Any:
        self._sent = []
        client = directory.connect()
        yield client
        directory.faults()
        await client.close()
        secrets = [*directory.secrets, *bearer_tokens(client)]
        assert secrets
        for text in self._sent:
            assert not [secret for secret in secrets if secret in text], "a secret is in a history"

    @pytest.fixture
    async def environment(self, directory: Directory) -> Environment:
        """One whose people all tests of the directory share; its group is its own."""
        people = directory.people = directory.people or await self._two_people(directory)
        return an_environment(fresh("demo"), owner=people[0], collaborators=(people[1],))

    @pytest.mark.parametrize(
        ("call", "fault"),
        calls_and_faults(writes=("create", "add"), reads=("find_group", "find_user", "token")),
    )
    async def test_ensure_ends_with_one_group_and_its_people(
        self, directory: Directory, client: IdentityProvider, environment: Environment, call: str, fault: str
    ) -> None:
        strike(directory, fault, call)
        await self._ensure(client, environment)
        assert directory.remaining_faults() == [], "the fault has struck no call"
        await self._one_with_its_people(directory, environment)

    @pytest.mark.parametrize("fault", SLOW)
    async def test_ensure_ends_with_one_group_although_the_creation_was_late(
        self, directory: Directory, client: IdentityProvider, environment: Environment, fault: str
    ) -> None:
        strike(directory, fault, "create")
        hasty = directory.connect(SHORT_TIMEOUT)
        with pytest.raises(ApplicationError):
            await self._run(IdentityStep(hasty).ensure, EnsureInput(environment=environment))
        await hasty.close()
        await self._ensure(client, environment)
        await asyncio.sleep(_TOO_LATE)
        await self._ensure(client, environment)
        await self._one_with_its_people(directory, environment)

    @pytest.mark.parametrize(
        ("call", "fault"), calls_and_faults(writes=("remove", "delete"), reads=("find_group",))
    )
    async def test_remove_ends_with_nothing(
        self, directory: Directory, client: IdentityProvider, environment: Environment, call: str, fault: str
    ) -> None:
        receipt = await self._ensure(client, environment)
        # Else the step may find no member yet, and has nothing to remove.
        directory.settle()
        strike(directory, fault, call)
        await self._remove(client, environment)
        assert directory.remaining_faults() == [], "the fault has struck no call"
        await self._nothing_left(directory, environment, receipt)

    async def test_group_of_another_owner_is_a_conflict_and_stays(
        self, directory: Directory, client: IdentityProvider, environment: Environment
    ) -> None:
        name = environment.derived_name
        theirs = await client.create_group(name, fresh_mark())
        await becomes(lambda: client.groups_by_name(name), [theirs])
        failure = await self._failure(IdentityStep(client).ensure, EnsureInput(environment=environment))
        assert "belongs to" in failure.message
        await self._remove(client, environment)
        assert await client.groups_by_name(name) == [theirs]

    async def test_doubles_of_ours_are_removed(
        self, directory: Directory, client: IdentityProvider, environment: Environment
    ) -> None:
        if directory.has_unique_marks:
            pytest.skip("this kind cannot have them")
        first = await self._ensure(client, environment)
        double = await client.create_group(fresh("double"), environment.mark.text)
        await becomes(lambda: client.groups_by_name(double.display_name), [double])
        again = await self._ensure(client, environment)
        assert again.reference == first.reference
        await self._one_with_its_people(directory, environment)
        await becomes(lambda: client.groups_by_name(double.display_name), [])

    async def _two_people(self, directory: Directory) -> list[str]:
        """Make two accounts, and return once they are known."""
        people = [f"{fresh(name)}@example.com" for name in ("ann", "ben")]
        for each in people:
            await directory.add_person(each, each)
        directory.settle()
        client = directory.connect()
        for each in people:
            await becomes(partial(is_known, client, each), True)
        await client.close()
        return people

    async def _ensure(self, client: IdentityProvider, environment: Environment) -> Receipt:
        receipt = await self._at_last(IdentityStep(client).ensure, EnsureInput(environment=environment))
        assert isinstance(receipt, Receipt)
        return receipt

    async def _remove(self, client: IdentityProvider, environment: Environment) -> None:
        step = RemoveInput(environment=environment, life_started_at=LIFE_START)
        await self._at_last(IdentityStep(client).remove, step)

    async def _at_last(self, activity: Callable[..., Awaitable[Any]], argument: object) -> Any:
        """Run the activity as its workflow does: again after each failure that may be retried."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._run(activity, argument, attempt)
            except ApplicationError as error:
                if error.non_retryable:
                    pytest.fail(f"given up after a {error.type}: {error.message}")
                failure = error
                await asyncio.sleep(PAUSE)
        raise AssertionError(f"it still fails after {ATTEMPTS} attempts: {failure.message}")

    async def _run(self, activity: Callable[..., Awaitable[Any]], argument: object, attempt: int = 1) -> Any:
        """Run the activity once, and note what it sends to Temporal."""
        running = Running(activity, argument, attempt=attempt)
        try:
            result = await running.result()
        except ApplicationError as error:
            self._sent.append(json.dumps([str(error), repr(error.__cause__), repr(error.details)]))
            raise
        else:
            self._sent.append(result.model_dump_json() if result else "nothing")
            return result
        finally:
            self._sent += [beat.model_dump_json() for beat in running.beats]

    async def _failure(self, activity: Callable[..., Awaitable[Any]], argument: object) -> ApplicationError:
        """Return the failure that ends the step; those before it may be retried."""
        for attempt in range(1, ATTEMPTS + 1):
            with pytest.raises(ApplicationError) as failed:
                await self._run(activity, argument, attempt)
            error = failed.value
            if error.non_retryable:
                return error
            await asyncio.sleep(PAUSE)
        raise AssertionError(f"it still retries after {ATTEMPTS} attempts: {error.message}")

    async def _one_with_its_people(self, directory: Directory, environment: Environment) -> None:
        assert self._sent, "nothing is searched for secrets"
        directory.faults()
        directory.settle()
        client = directory.connect()
        people = [await client.find_user(each) for each in environment.people]
        ids = sorted(user.id for user in people if user)
        assert len(ids) == 2

        async def found() -> tuple[list[str | None], list[list[str]]]:
            groups = await client.groups_by_name(environment.derived_name)
            return (
                [group.external_id for group in groups],
                [sorted(await _members(client, group)) for group in groups],
            )

        await becomes(found, ([environment.mark.text], [ids]))
        inspection = InspectInput(environment=environment, life_started_at=LIFE_START)

        async def left() -> InspectResult:
            result: InspectResult = await self._run(IdentityStep(client).inspect, inspection)
            return result

        # A search may still find a group for a while after its deletion.
        await becomes(left, InspectResult(left=(f"group {environment.derived_name}",)))
        await client.close()

    async def _nothing_left(self, directory: Directory, environment: Environment, receipt: Receipt) -> None:
        directory.settle()
        client = directory.connect()
        step = InspectInput(environment=environment, life_started_at=LIFE_START)

        async def left() -> Any:
            return await self._run(IdentityStep(client).inspect, step)

        await becomes(left, InspectResult())
        with pytest.raises(NotFound):
            await client.group(receipt.reference)
        await client.close()


async def _members(client: IdentityProvider, group: Group) -> list[str]:
    try:
        return await client.members(group.id)
    except NotFound:
        return []
