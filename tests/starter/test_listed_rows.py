"""Ensures that the row of a listed run is made once, and again after each change of the run."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.converter import DataConverter, encode_search_attributes

from contracts.environment.models import Outcome, Phase
from contracts.temporal import search_attributes, workflow_memo
from contracts.types.naming import life_id, workflow_id
from starter.environments.lists import rows as rows_module
from starter.environments.lists.rows import ListedRows
from starter.environments.reader import EnvironmentReader
from worker.codec import DecodeError

CONVERTER = DataConverter.default


class Bare:
    """What the rows need of a client."""

    namespace = "default"
    data_converter = CONVERTER


class Ends:
    """A reader that knows the end of every run, unless its retention has just ended."""

    def __init__(self) -> None:
        self.is_known = True

    async def end_of(self, run: Any) -> Any:
        return SimpleNamespace(outcome=Outcome.DELETED) if self.is_known else None


async def info(
    name: str = "demo", phase: Phase = Phase.READY, left: datetime | None = None
) -> WorkflowExecutionInfo:
    """What visibility says of a running environment."""
    found = WorkflowExecutionInfo(status=WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING)
    found.execution.workflow_id, found.execution.run_id = workflow_id(name), f"run of {name}"
    found.start_time.FromDatetime(datetime(2026, 1, 1, tzinfo=UTC))
    pairs = [
        SearchAttributePair(search_attributes.OWNER, "alice@example.com"),
        SearchAttributePair(search_attributes.PHASE, phase.value),
    ]
    encode_search_attributes(TypedSearchAttributes(pairs), found.search_attributes)
    memo = {workflow_memo.REQUEST_ID: f"request of {name}"}
    if left:
        memo[workflow_memo.OWNER_LEFT] = left.isoformat()
    for key, value in memo.items():
        await add_to_memo(found, key, value)
    return found


async def add_to_memo(found: WorkflowExecutionInfo, key: str, value: str) -> None:
    [payload] = await CONVERTER.encode([value])
    found.memo.fields[key].CopyFrom(payload)


def listed(ends: Ends | None = None) -> ListedRows:
    return ListedRows(cast("Client", Bare()), cast("EnvironmentReader", ends or Ends()))


async def test_row_is_kept_while_nothing_has_changed() -> None:
    rows = listed()
    row = await rows.row(await info())
    assert (row.name, row.owner, row.phase) == ("demo", "alice@example.com", Phase.READY)
    assert row.life == life_id("request of demo")
    assert await rows.row(await info()) is row
    assert (await rows.row(await info("other"))).name == "other"
    assert await rows.row(await info()) is row


async def test_row_is_kept_whatever_the_order_of_the_memo() -> None:
    """Ensures that the order, which is arbitrary in Temporal's answers, is no change."""
    rows, keys = listed(), [f"key {number}" for number in range(20)]
    forth, back = await info(), await info()
    for one, other in zip(keys, reversed(keys), strict=True):
        await add_to_memo(forth, one, "x")
        await add_to_memo(back, other, "x")
    row = await rows.row(forth)
    assert await rows.row(back) is row


async def test_row_knows_the_standby_that_was_taken_over() -> None:
    found = await info()
    await add_to_memo(found, workflow_memo.STANDBY, "standby-1")
    assert (await listed().row(found)).standby == "standby-1"


async def test_row_that_could_not_be_decoded_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that a run is shown in full as soon as its encryption key is there again."""

    async def without_key(*_: Any) -> str:
        raise DecodeError("the key is missing")

    rows = listed()
    with monkeypatch.context() as patched:
        patched.setattr(rows_module, "memo_value", without_key)
        row = await rows.row(await info())
        assert (row.name, row.life) == ("demo", "")
    assert (await rows.row(await info())).life == life_id("request of demo")


async def test_row_is_made_again_after_a_change_of_attributes_or_memo() -> None:
    rows = listed()
    assert (await rows.row(await info(phase=Phase.PROVISIONING))).phase is Phase.PROVISIONING
    assert (await rows.row(await info())).phase is Phase.READY
    left = datetime(2026, 1, 2, tzinfo=UTC)
    assert (await rows.row(await info(left=left))).owner_left_at == left
    assert (await rows.row(await info())).owner_left_at is None


async def test_row_of_an_end_that_could_not_be_read_is_not_kept() -> None:
    """Ensures that an outcome is shown as soon as Temporal gives it."""
    ends, ended = Ends(), await info(phase=Phase.GONE)
    ended.status = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED
    ended.close_time.FromDatetime(datetime(2026, 1, 3, tzinfo=UTC))
    rows = listed(ends)
    ends.is_known = False
    assert (await rows.row(ended)).outcome is None
    ends.is_known = True
    row = await rows.row(ended)
    assert row.outcome is Outcome.DELETED
    assert await rows.row(ended) is row


async def test_cache_of_rows_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "MAX_ROWS", 3)
    rows = listed()
    for number in range(5):
        await rows.row(await info(f"demo-{number}"))
    assert len(rows._kept) == 3
    first = await rows.row(await info("demo-2"))
    await rows.row(await info("demo-5"))
    assert await rows.row(await info("demo-2")) is first, "one that was just listed is dropped"
