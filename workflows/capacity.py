"""The workflow of the capacity: it alone knows who holds what, so it alone promises places on hosts.

It runs for ever, and serves one question after the other. What it decides is in
`contracts.capacity.admission`; what it takes for true is compared with what is open every few minutes, so it
may even be ended and begun afresh.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from contracts.activities import CapacityActivities
    from contracts.capacity.admission import admit, decide
    from contracts.capacity.ledger import CapacityLedger, in_seconds, pack, unpack
    from contracts.capacity.models import (
        CAPACITY_WORKFLOW,
        AuditInput,
        CapacityStart,
        CapacityState,
        Carried,
        Holdings,
        HostState,
        PlacementDecision,
        ReleaseInput,
        ReserveInput,
        ReserveResult,
        StateInput,
        said_cpu,
        said_memory,
    )
    from contracts.capacity.reconciliation import correct
    from contracts.environment_workflow import undo_queue
    from contracts.errors import ErrorType

from workflows.activity_failures import genuine

#: One try of an audit: pages of a list, and a look at each of those that differ.
ATTEMPT = timedelta(minutes=5)
#: All tries of one; the next one begins afresh, with what is held by then.
LIMIT = timedelta(minutes=10)
#: A worker that is silent for so long is taken for dead, and another begins anew.
HEARTBEAT_TIMEOUT = timedelta(seconds=10)
FIRST_RETRY = timedelta(milliseconds=500)
LONGEST_RETRY = timedelta(seconds=20)
#: Until the next audit, after one that has failed.
AFTER_FAILURE = timedelta(seconds=20)
#: What is over may still be listed as open for so long: an audit does not take it up again. Lists are late by
#: seconds, and its run closes once its account is handed over, which takes two minutes at most.
LATEST_LISTED = timedelta(minutes=3)
#: How long a run whose history is long enough still waits for the audit that is under way.
LAST_AUDIT = timedelta(seconds=15)


@workflow.defn(name=CAPACITY_WORKFLOW)
class CapacityWorkflow:
    """Promises places, and takes them back. A fresh one promises nothing before it has looked around."""

    @workflow.init
    def __init__(self, start: CapacityStart) -> None:
        # All state is made here: an update may be handled before the first line of `run`.
        carried = start.carried
        self._book = CapacityLedger(carried.hosts, unpack(carried.holdings)) if carried else CapacityLedger()
        self._audited_at: datetime | None = carried.audited_at if carried else None
        self._next_audit = carried.next_audit if carried else workflow.now() + start.settle
        self._ended: dict[str, datetime] = dict(carried.ended) if carried else {}
        self._is_to_renew = False

    @workflow.run
    async def run(self, start: CapacityStart) -> None:  # noqa: ARG002  (it is read where state is made)
        """Serve until the history is long enough, or its key a former one, and go on in a new run."""
        while not self._is_long():
            await self._rest()
            await self._look()
        await workflow.wait_condition(workflow.all_handlers_finished)
        assert self._audited_at  # noqa: S101  (it is not long before it knows)
        workflow.continue_as_new(
            CapacityStart(
                carried=Carried(
                    holdings=pack(self._book),
                    hosts=tuple(self._book.hosts.values()),
                    audited_at=self._audited_at,
                    next_audit=self._next_audit,
                    ended=self._ended,
                )
            )
        )

    def _is_long(self) -> bool:
        # Before it knows who holds what, those who ask wait here, and nothing could be carried.
        is_long = workflow.info().is_continue_as_new_suggested() or self._is_to_renew
        return self._audited_at is not None and is_long

    async def _rest(self) -> None:
        """Until the next audit is due."""
        left = self._next_audit - workflow.now()
        if left > timedelta(0) and not self._is_long():
            with suppress(TimeoutError):
                await workflow.wait_condition(
                    self._is_long, timeout=left, timeout_summary="until the next audit"
                )

    async def _look(self) -> None:
        """Audit; given up when the history is long enough, since a run takes a limited number of updates."""
        if self._is_long():
            return
        audit = asyncio.create_task(self._audit())
        await workflow.wait_condition(lambda: audit.done() or self._is_long())
        if not audit.done():
            with suppress(TimeoutError):
                await workflow.wait_condition(audit.done, timeout=LAST_AUDIT)
        if audit.done():
            audit.result()
        audit.cancel()

    async def _audit(self) -> None:
        listed_late = workflow.now() - LATEST_LISTED
        self._ended = {life: ended for life, ended in self._ended.items() if ended > listed_late}
        try:
            found = genuine(
                await workflow.execute_activity_method(
                    CapacityActivities.audit,
                    AuditInput(now=workflow.now()),
                    task_queue=undo_queue(workflow.info().task_queue),
                    start_to_close_timeout=ATTEMPT,
                    schedule_to_close_timeout=LIMIT,
                    heartbeat_timeout=HEARTBEAT_TIMEOUT,
                    retry_policy=RetryPolicy(initial_interval=FIRST_RETRY, maximum_interval=LONGEST_RETRY),
                    summary="compare what is held with what is open",
                )
            )
        except ActivityError as error:
            workflow.logger.warning("the capacity could not be audited: %s", error.cause)
            self._next_audit = workflow.now() + AFTER_FAILURE
            return
        correct(self._book, found, self._ended.keys())
        if not found.more:
            self._audited_at = workflow.now()
            self._next_audit = self._audited_at + found.next_in
        # In a new run all that it carries is encrypted with the key of now.
        self._is_to_renew = found.renew
        workflow.set_current_details(self._page(found.sentence))

    # --- what is asked and said -----------------------------------------------------------------------

    @workflow.update(description="Ask for places on hosts, for lives that shall begin")
    async def reserve(self, input: ReserveInput) -> ReserveResult:
        """Give a place to each for which there is one. By the life: asked again, it has the same place."""
        if self._audited_at is None:
            await workflow.wait_condition(lambda: self._audited_at is not None)
        # From here on nothing is awaited: what is decided is in the book before anybody else is served.
        verdicts = tuple(admit(self._book, ask, workflow.now()) for ask in input.asks)
        if not any(verdict.host for verdict in verdicts):
            raise _refused(verdicts)
        return ReserveResult(verdicts=verdicts)

    @reserve.validator
    def _check_reserve(self, input: ReserveInput) -> None:
        """Refuse here when nobody has a place, so that it leaves nothing in the history.

        The SDK runs a validator and the first stretch of its handler as one task, without giving way between
        them (`_apply_do_update`); but the handler decides anew all the same, and does not rely on it.
        """
        if self._audited_at is None:
            return
        verdicts = []
        for ask in input.asks:
            verdict = decide(self._book, ask, workflow.now())
            if verdict.host:
                return
            verdicts.append(verdict)
        raise _refused(tuple(verdicts))

    @workflow.signal(description="A life needs its place no more")
    def release(self, input: ReleaseInput | None = None) -> None:
        """Take its place back. What is not held is left as it is.

        Nothing of ours sends it without its argument; what others send must not fail the task, for ever.
        """
        if input is None:
            return
        if input.ran:
            self._ended[input.life] = workflow.now()
        held = self._book.of(input.name)
        if held is None or input.life not in held.lives:
            return
        left = held.after(input.life, in_seconds(workflow.now())) if input.ran else held.less(input.life)
        self._book.set_or_remove(input.name, left)

    @workflow.query(description="What would be answered to those who ask; nothing before it knows")
    def would(self, input: ReserveInput) -> ReserveResult:
        """What each would be answered if nobody else asked; nothing at all before it knows who holds what."""
        if self._audited_at is None:
            return ReserveResult(verdicts=())
        return ReserveResult(verdicts=tuple(decide(self._book, ask, self._audited_at) for ask in input.asks))

    @workflow.query(description="All that is held")
    def holdings(self) -> Holdings:
        """All that is held."""
        return pack(self._book)

    @workflow.query(description="How the capacity stands")
    def state(self, ask: StateInput) -> CapacityState:
        """How much of each host is held, and how much somebody and their teams hold."""
        book = self._book
        return CapacityState(
            audited_at=self._audited_at,
            hosts=tuple(
                HostState(room=room, held=book.held("host", name)) for name, room in book.hosts.items()
            ),
            person=book.held("person", ask.person),
            teams={team: book.held("team", team) for team in ask.teams},
            holdings=len(book),
        )

    def _page(self, sentence: str) -> str:
        lines = [
            f"**{len(self._book)} held**; the last audit: {sentence}",
            "",
            "| host | environments | CPU | memory | |",
            "| --- | --- | --- | --- | --- |",
        ]
        for name, room in self._book.hosts.items():
            held, total = self._book.held("host", name), room.total
            cells = (
                _of(held.environments, total.environments, str),
                _of(held.cpu, total.cpu, said_cpu),
                _of(held.memory, total.memory, said_memory),
                room.remark,
            )
            lines.append(f"| {name} | {' | '.join(cells)} |")
        return "\n".join(lines)


def _of(held: int, total: int | None, said: Callable[[int], str]) -> str:
    return said(held) if total is None else f"{said(held)} of {said(total)}"


def _refused(verdicts: tuple[PlacementDecision, ...]) -> ApplicationError:
    message = verdicts[0].refusal.message if verdicts and verdicts[0].refusal else "Nothing was asked for."
    return ApplicationError(
        message, ReserveResult(verdicts=verdicts), type=ErrorType.REQUEST_REFUSED, non_retryable=True
    )
