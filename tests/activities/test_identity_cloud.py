"""The group in Okta and in Entra ID: one, ours, with its people, whatever is lost on the way; then none.

The adapters are chosen by the settings and call the vendors' stand-ins, whose databases say what exists. The
faults are those that `tests.activities.test_identity_kinds` does not try on these two.
"""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities.steps.identity_group import IdentityStep
from contracts.activities.steps import EnsureInput, InspectInput, InspectResult, RemoveInput
from contracts.environment.models import Environment, Receipt
from contracts.errors import ErrorType
from embedded.cloud_directories.controls import EXPIRE_PATH, SETTLE_PATH
from embedded.faults import CONTROL_PATH, Fault, FaultKind
from tests.activities.activity_runs import LIFE_START, Running, fail, succeed
from tests.activities.conftest import OTHER_INSTALLATION, an_environment, fresh
from tests.support.cloud_directories import behave
from tests.support.deadline import soon
from tests.support.stand_ins import control, set_faults
from tests.worker.test_identity_stand_ins import Directories, opened, running_directories

pytestmark = pytest.mark.slow

VENDORS = ["okta-key", "entra-secret"]
#: What an activity is tried again after; all else ends its step.
RETRIED = (ErrorType.NOT_YET, ErrorType.THROTTLED, ErrorType.UNAVAILABLE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("directories")


@pytest.fixture(scope="module")
def directories(folder: Path) -> Iterator[Directories]:
    with running_directories(folder) as directories:
        yield directories


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(directories: Directories, vendor: str) -> Iterator[str]:
    url = directories.url(vendor)
    behave(url, lag=0)
    yield url
    set_faults(url)
    behave(url, lag=0)
    control(url, "POST", SETTLE_PATH)


@pytest.fixture
async def step(directories: Directories, vendor: str, url: str) -> AsyncIterator[IdentityStep]:
    async with opened(directories, vendor) as directory:
        await directory.check()
        yield IdentityStep(directory)


@pytest.fixture
def environment() -> Environment:
    return an_environment(fresh())


def held(folder: Path, vendor: str, environment: Environment) -> list[int]:
    """How many members each group of this name has, past the API."""
    with closing(sqlite3.connect(folder / f"{vendor.partition('-')[0]}.sqlite")) as rows:
        groups = [
            json.loads(row) for (row,) in rows.execute("SELECT document FROM documents WHERE kind = 'groups'")
        ]
        members = [
            key.split("/")[0] for (key,) in rows.execute("SELECT key FROM documents WHERE kind = 'members'")
        ]
    names = [(group["id"], group.get("displayName") or group["profile"]["name"]) for group in groups]
    return [members.count(key) for key, name in names if name == environment.derived_name]


async def until_done(activity: Any, given: Any) -> Any:
    """The result of the activity, tried again after each failure that its workflow tries again."""
    attempt = 1
    async with soon("it has not come through"):
        while True:
            try:
                return await Running(activity, given, attempt=attempt).result()
            except ApplicationError as error:
                if error.type not in RETRIED:
                    raise
                attempt += 1
                await asyncio.sleep(0.05)


async def left(step: IdentityStep, environment: Environment) -> tuple[str, ...]:
    given = InspectInput(environment=environment, life_started_at=LIFE_START)
    result = await succeed(step.inspect, given)
    assert isinstance(result, InspectResult)
    return result.left


def removal(environment: Environment) -> RemoveInput:
    return RemoveInput(environment=environment, life_started_at=LIFE_START)


async def test_ensure_twice_makes_one_group_and_remove_leaves_none(
    step: IdentityStep, environment: Environment, folder: Path, vendor: str
) -> None:
    first = await succeed(step.ensure, EnsureInput(environment=environment))
    again = await succeed(step.ensure, EnsureInput(environment=environment), attempt=2)
    assert isinstance(first, Receipt)
    assert (first.name, first.reference) == (again.name, again.reference)
    assert held(folder, vendor, environment) == [2]
    assert await left(step, environment) == (f"group {environment.derived_name}",)
    for _ in range(2):
        await succeed(step.remove, removal(environment))
    assert held(folder, vendor, environment) == []
    assert await left(step, environment) == ()


async def test_group_of_another_owner_is_a_conflict_and_stays(
    step: IdentityStep, environment: Environment, folder: Path, vendor: str
) -> None:
    theirs = an_environment(environment.mark.name, installation=OTHER_INSTALLATION)
    await succeed(step.ensure, EnsureInput(environment=theirs))
    failure = await fail(step.ensure, EnsureInput(environment=environment))
    assert failure.type == ErrorType.CONFLICT
    await succeed(step.remove, removal(environment))
    assert held(folder, vendor, theirs) == [2]
    await succeed(step.remove, removal(theirs))


CUT_BEFORE, CUT_AFTER = {"kind": FaultKind.CUT_BEFORE}, {"kind": FaultKind.CUT_AFTER}
BUSY = {"kind": FaultKind.STATUS, "status": 503, "retry_after": 0}
TRUNCATED = {"kind": FaultKind.TRUNCATE}
LATE, PAGE = {"kind": FaultKind.STATUS_AFTER, "status": 504}, {"kind": FaultKind.HTML, "status": 502}


def fault_id(given: object) -> str:
    return str(given["kind"] if isinstance(given, dict) else given)


@pytest.mark.parametrize(
    ("vendor", "operation", "fault"),
    [
        *product(VENDORS, ("token", "user.*", "group.find"), (CUT_BEFORE, CUT_AFTER)),
        *product(["entra-secret"], ["group.get"], (CUT_BEFORE, CUT_AFTER, BUSY, TRUNCATED)),
    ],
    indirect=["vendor"],
    ids=fault_id,
)
async def test_ensure_comes_through_a_fault_with_one_group(
    step: IdentityStep,
    environment: Environment,
    folder: Path,
    vendor: str,
    url: str,
    operation: str,
    fault: dict[str, Any],
) -> None:
    if operation == "token":
        control(url, "POST", EXPIRE_PATH)
    set_faults(url, Fault(operation=operation, times=1, **fault))
    await until_done(step.ensure, EnsureInput(environment=environment))
    assert control(url, "GET", CONTROL_PATH) == [], "the fault has struck no call"
    assert held(folder, vendor, environment) == [2]
    await succeed(step.remove, removal(environment))
    assert held(folder, vendor, environment) == []


@pytest.mark.parametrize(
    ("operation", "fault"),
    [
        *product(["group.find"], (CUT_AFTER, LATE, PAGE)),
        *product(["member.list"], (CUT_AFTER, BUSY, LATE, PAGE)),
    ],
    ids=fault_id,
)
async def test_remove_comes_through_a_fault_with_nothing_left(
    step: IdentityStep,
    environment: Environment,
    folder: Path,
    vendor: str,
    url: str,
    operation: str,
    fault: dict[str, Any],
) -> None:
    await succeed(step.ensure, EnsureInput(environment=environment))
    set_faults(url, Fault(operation=operation, times=1, **fault))
    await until_done(step.remove, removal(environment))
    assert control(url, "GET", CONTROL_PATH) == [], "the fault has struck no call"
    assert held(folder, vendor, environment) == []


@pytest.mark.parametrize("share", [1.0, 0.5])
async def test_group_that_is_shown_late_is_made_once_and_used_when_it_is_there(
    step: IdentityStep, environment: Environment, folder: Path, vendor: str, url: str, share: float
) -> None:
    """Ensures it with replicas that all lag, and with some that do and some that do not."""
    behave(url, lag=0.5, **({"stale_share": share} if vendor.startswith("entra") else {}))
    await until_done(step.ensure, EnsureInput(environment=environment))
    assert held(folder, vendor, environment) == [2]
    control(url, "POST", SETTLE_PATH)
    await until_done(step.remove, removal(environment))
    assert held(folder, vendor, environment) == []


async def test_too_many_calls_are_waited_for(
    step: IdentityStep, environment: Environment, folder: Path, vendor: str, url: str
) -> None:
    behave(url, throttled_calls=3, throttled_seconds=0)
    await until_done(step.ensure, EnsureInput(environment=environment))
    assert held(folder, vendor, environment) == [2]
    await succeed(step.remove, removal(environment))
