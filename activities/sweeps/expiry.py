"""The expiry sweep: it reads the environments that may be due, page by page, and updates each of them.

It decides nothing itself. Visibility lists the candidates, and may be late. The environment decides what is
due, and checks again, by Temporal's time, when it gets the update. The sweep never reads this machine's wall
clock.
"""

import asyncio
import base64
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError
from temporalio import activity
from temporalio.client import Client, WorkflowExecution, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from activities import activity_context
from activities.environment_runs import CALL_TIMEOUT
from activities.sweeps.environment_updates import (
    FAILURES,
    OPEN,
    UPDATE_TIMEOUT,
    FailureKind,
    describe_failure,
)
from activities.sweeps.expiry_freeze import freeze_reason
from contracts.activities.fleet import ExpirySweepActivities
from contracts.environment_workflow import (
    QUERY_DUE,
    UPDATE_EXPIRE,
    UPDATE_WARN,
    DueInput,
    SweepUpdateAnswer,
    SweepUpdateInput,
)
from contracts.errors import ErrorType
from contracts.expiry import Due, DueKind
from contracts.sweeps.expiry import (
    SWEEP_ACTOR,
    SweepLine,
    SweepOutcome,
    SweepPassInput,
    SweepResult,
)
from contracts.temporal import search_attributes, workflow_memo
from contracts.types.models import Frozen
from contracts.types.naming import life_id, name_from_workflow_id


class _Checkpoint(Frozen):
    """What the next attempt starts with: the next page, and the result of the pages before."""

    token: str
    result: SweepResult


@dataclass(frozen=True)
class _Clock:
    """Temporal's time: the start of this attempt by Temporal, plus the monotonic time since then."""

    began: datetime
    counted: float

    def now(self) -> datetime:
        return self.began + timedelta(seconds=time.monotonic() - self.counted)


class ExpirySweep(ExpirySweepActivities):
    """Queries, warns and ends environments through a Temporal client."""

    def __init__(self, temporal: Client) -> None:
        self._temporal = temporal

    @activity.defn(name="expiry_sweep.run")
    async def run(self, input: SweepPassInput) -> SweepResult:
        """Process all pages in order, the environments of a page concurrently.

        A retry continues with the page that the previous attempt had reached.
        """
        clock = _Clock(activity.info().started_time, time.monotonic())
        kept = _read_checkpoint(activity_context.last_checkpoint())
        if kept is None:
            count = await self._temporal.count_workflows(OPEN, rpc_timeout=CALL_TIMEOUT)
            kept = _Checkpoint(
                token="", result=SweepResult(now=input.now, dry_run=input.sweep.dry_run, open=count.count)
            )
        token, result = base64.b64decode(kept.token), kept.result
        # Use the start time of the sweep on every page, because a page token is valid for its own query only.
        due_by = (input.now + input.sweep.lookahead).isoformat()
        due_at = search_attributes.DUE_AT.name
        query = f"{OPEN} AND ({due_at} <= '{due_by}' OR {due_at} IS NULL)"
        turns = itertools.count(result.ended.count)
        while True:
            activity_context.raise_if_stopping()
            frozen = await freeze_reason(self._temporal)
            pages = self._temporal.list_workflows(
                query, page_size=input.sweep.page_size, next_page_token=token, rpc_timeout=CALL_TIMEOUT
            )
            await pages.fetch_next_page()
            page = _Page(self._temporal, input, clock, frozen, turns)
            for outcome, line in await page.all(pages.current_page or ()):
                result = result.plus(outcome, line)
            activity_context.raise_if_stopping()
            result = result.model_copy(
                update={
                    "frozen": frozen,
                    "pages": result.pages + 1,
                    "seconds": round((clock.now() - input.now).total_seconds(), 3),
                }
            )
            if not pages.next_page_token:
                return result
            token = pages.next_page_token
            activity_context.report_progress(f"page {result.pages + 1}; {result.sentence}")
            activity_context.save_checkpoint(
                _Checkpoint(token=base64.b64encode(token).decode(), result=result).model_dump_json()
            )


class _Page:
    """The environments of one page."""

    def __init__(
        self,
        temporal: Client,
        input: SweepPassInput,
        clock: _Clock,
        frozen: str,
        turns: Iterator[int],
    ) -> None:
        self._temporal = temporal
        self._sweep = input.sweep
        self._clock = clock
        self._frozen = frozen
        self._turns = turns
        self._gate = asyncio.Semaphore(input.sweep.concurrency)

    async def all(self, runs: Sequence[WorkflowExecution]) -> list[tuple[SweepOutcome, SweepLine]]:
        """Return the outcome of each environment.

        When the activity must stop, this ends early and returns the outcomes so far.
        """
        found = await asyncio.gather(*map(self._one, runs))
        return [(outcome, SweepLine(name=name, reason=why)) for name, outcome, why in filter(None, found)]

    async def _one(self, run: WorkflowExecution) -> tuple[str, SweepOutcome, str] | None:
        name = name_from_workflow_id(run.id)
        async with self._gate:
            if activity_context.is_stopping():
                return None
            try:
                return (name, *await self._ask(run))
            except FAILURES as error:
                failure = describe_failure(error)
                has_failed = failure.kind is FailureKind.FAILED
                # The environment may refuse because it has changed since the query.
                return name, SweepOutcome.FAILED if has_failed else SweepOutcome.KEPT, failure.reason

    async def _ask(self, run: WorkflowExecution) -> tuple[SweepOutcome, str]:
        # Address the workflow by its id alone: a life may be in a later run now. Another life refuses.
        environment = self._temporal.get_workflow_handle(run.id)
        guess = None
        if not self._sweep.dry_run and not self._frozen:
            # Send the likely update at once, without a query. The environment checks itself before it acts,
            # so this saves a query to each of thousands. A rejected update leaves nothing in the history.
            ends_at = run.typed_search_attributes.get(search_attributes.EXPIRES_AT)
            guess = DueKind.END if ends_at and ends_at <= self._clock.now() else DueKind.WARN
            try:
                return await self._send_update(run, guess)
            except WorkflowUpdateFailedError as error:
                if not _is_not_due(error):
                    raise
        question = DueInput(now=self._clock.now(), lookahead=self._sweep.lookahead)
        due: Due = await environment.query(QUERY_DUE, question, result_type=Due, rpc_timeout=CALL_TIMEOUT)
        if due.kind in (DueKind.KEEP, guess):
            return SweepOutcome.KEPT, due.reason
        if self._sweep.dry_run:
            return _OUTCOMES[due.kind], due.reason
        if self._frozen:
            return SweepOutcome.KEPT, f"{due.reason}, and all ends are frozen: {self._frozen}"
        return await self._send_update(run, due.kind)

    async def _send_update(self, run: WorkflowExecution, kind: DueKind) -> tuple[SweepOutcome, str]:
        """Send the update for what is due.

        The environment checks again, by Temporal's time, and may refuse.
        """
        if activity_context.is_stopping():
            return SweepOutcome.KEPT, "the sweep was stopped"
        request_id = await run.memo_value(workflow_memo.REQUEST_ID, "", type_hint=str)
        swept = SweepUpdateInput(
            life=life_id(request_id),
            actor=SWEEP_ACTOR
            if not self._sweep.requested_by
            else f"{SWEEP_ACTOR}, asked for by {self._sweep.requested_by}",
            # No longer than the update's timeout: an update from before a freeze has no effect after it.
            valid_until=self._clock.now() + UPDATE_TIMEOUT,
            lookahead=self._sweep.lookahead,
            teardown_delay=self._pause() if kind is DueKind.END else timedelta(0),
        )
        async with asyncio.timeout(UPDATE_TIMEOUT.total_seconds()):
            answer: SweepUpdateAnswer = await self._temporal.get_workflow_handle(run.id).execute_update(
                UPDATE_WARN if kind is DueKind.WARN else UPDATE_EXPIRE, swept, result_type=SweepUpdateAnswer
            )
        return _OUTCOMES[kind], answer.result

    def _pause(self) -> timedelta:
        return timedelta(seconds=next(self._turns) / self._sweep.ends_per_second)


_OUTCOMES = {DueKind.WARN: SweepOutcome.WARNED, DueKind.END: SweepOutcome.ENDED}


def _is_not_due(error: WorkflowUpdateFailedError) -> bool:
    cause = error.cause
    return isinstance(cause, ApplicationError) and cause.type == ErrorType.REQUEST_REFUSED


def _read_checkpoint(kept: str) -> _Checkpoint | None:
    try:
        return _Checkpoint.model_validate_json(kept) if kept else None
    except ValidationError:
        return None
