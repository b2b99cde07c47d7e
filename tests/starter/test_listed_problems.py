"""Ensures that lists with problems read each working environment once in a while, and not for each list."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
from temporalio.client import Client

from contracts.environment.models import Phase, StepName, StepState
from contracts.types.naming import life_id
from starter.auth.policy import Principal, Role
from starter.environments.lists import listing
from starter.environments.lists.cursors import Cursors
from starter.environments.lists.listing import EnvironmentList, Filters
from starter.environments.reader import EnvironmentReader
from starter.environments.schemas import Progress, StepView
from tests.api.test_sign_in import STANDING
from tests.starter.test_listed_rows import CONVERTER, info

OPS = Principal(person="Ops", email="ops@example.com", teams=(), role=Role.PLATFORM)


class Server:
    """A Temporal server with one environment that is being made, and one that is ready."""

    namespace = "default"
    data_converter = CONVERTER

    @property
    def workflow_service(self) -> "Server":
        return self

    async def list_workflow_executions(self, request: Any, **_: Any) -> Any:
        found = [await info("made", Phase.PROVISIONING), await info("done")]
        return SimpleNamespace(executions=found, next_page_token=b"")


class Reader:
    """Reads environments whose step fails, and counts that."""

    def __init__(self) -> None:
        self.failure, self.life = "no room", life_id("request of made")
        self.names: list[str] = []
        self.asked, self.answers = asyncio.Event(), asyncio.Event()
        self.answers.set()

    async def read(self, name: str) -> Any:
        self.names.append(name)
        self.asked.set()
        await self.answers.wait()
        failing = StepView(
            step=StepName.NAMESPACE,
            system="host cluster",
            state=StepState.RUNNING,
            progress=Progress(last_failure=self.failure),
        )
        view = STANDING.view.model_copy(update={"phase": Phase.PROVISIONING, "steps": (failing,)})
        return SimpleNamespace(view=view, life=self.life)


class Clock:
    """The time, which passes only when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def listed(reader: Reader) -> EnvironmentList:
    client, records = cast("Client", Server()), cast("Any", None)
    return EnvironmentList(client, cast("EnvironmentReader", reader), records, Cursors((b"k" * 32,)))


async def problem(listed: EnvironmentList) -> str:
    page = await listed.page(OPS, Filters(troubles=True), limit=10, cursor=None)
    [made] = [row for row in page.environments if row.name == "made"]
    assert [row.problem for row in page.environments if row.name == "done"] == [""]
    return made.problem.partition(": ")[2]


async def test_problem_is_read_once_while_it_is_fresh(
    listed: EnvironmentList, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    for _ in range(3):
        assert await problem(listed) == "no room"
        clock.now += listing.CACHED_SECONDS
    assert reader.names == ["made"], "each read of the page reads its environments"
    clock.now += listing.PROBLEM_USABLE_SECONDS
    reader.failure = "no answer"
    assert await problem(listed) == "no answer"
    assert reader.names == ["made", "made"]


async def test_list_does_not_wait_for_a_problem_that_is_known(
    listed: EnvironmentList, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensures that a busy worker delays the first list only."""
    clock = Clock(monkeypatch)
    await problem(listed)
    reader.answers.clear()
    reader.asked.clear()
    clock.now += listing.PROBLEM_FRESH_SECONDS
    reading = asyncio.create_task(problem(listed))
    await reader.asked.wait()
    clock.now += listing.MAX_WAIT_SECONDS
    assert await reading == "no room"
    reader.failure = "no answer"
    reader.answers.set()
    clock.now += listing.CACHED_SECONDS
    while await problem(listed) != "no answer":
        clock.now += 0.1


async def test_problem_of_another_life_is_not_shown(listed: EnvironmentList, reader: Reader) -> None:
    reader.life = "another"
    assert await problem(listed) == ""
