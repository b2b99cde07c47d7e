"""The work of the leaver sweep: it asks the directory about people, and updates their environments.

It decides nothing: the workflow does, and each environment checks again what it gets.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from pydantic import ValidationError
from temporalio import activity
from temporalio.client import Client, WorkflowExecution

from activities import activity_context
from activities.environment_runs import CALL_TIMEOUT, UNREADABLE_ERRORS
from activities.sweeps.environment_updates import (
    FAILURES,
    OPEN,
    UPDATE_TIMEOUT,
    FailureKind,
    describe_failure,
)
from clients.errors import ClientError, Denied, Rejected, Throttled
from contracts.activities.fleet import LeaverActivities
from contracts.sweeps.leavers import (
    UPDATE_PERSON_LEFT,
    ApplyInput,
    ApplyResult,
    LeaverAction,
    LeaverInput,
    LeaverLine,
    LookInput,
    LookResult,
)
from contracts.temporal import search_attributes, workflow_memo
from contracts.types.models import Frozen
from contracts.types.naming import life_id, name_from_workflow_id

PAGE_SIZE = 200
#: People between two checkpoints, from which the next attempt continues.
PEOPLE_PER_CHECKPOINT = 20
#: After so many people in a row without an answer, the directory is out of order, and this attempt ends.
MAX_UNANSWERED = 10


class Directory(Protocol):
    """Where people are looked up."""

    async def find_user(self, email: str, /) -> object | None:
        """Return the active user with this address, or None."""


class _Progress(Frozen):
    """What the next attempt starts with: the last person asked for, and what was said of all until then."""

    last: str = ""
    missing: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Places:
    """Where people have access: `new` if their access has not ended there, `handled` if it has."""

    new: frozenset[str]
    handled: frozenset[str]

    @property
    def people(self) -> tuple[str, ...]:
        return tuple(sorted(self.new | self.handled))


class LeaverSweep(LeaverActivities):
    """Asks a directory, and environments through a Temporal client."""

    def __init__(self, temporal: Client, directory: Directory) -> None:
        self._temporal = temporal
        self._directory = directory

    @activity.defn(name="leavers.look")
    async def look(self, input: LookInput) -> LookResult:
        """Look up the people of a batch in order, paced; a retry continues where the last attempt stopped."""
        places = (
            await self._places() if input.people is None else _Places(frozenset(input.people), frozenset())
        )
        waiting = [person for person in places.people if person > input.after]
        people = waiting[: input.at_most]
        progress = _read_progress(activity_context.last_checkpoint())
        pause = 60 / input.lookups_per_minute
        unanswered = 0
        for number, person in enumerate(people, 1):
            if person <= progress.last:
                continue
            activity_context.raise_if_stopping()
            started = time.monotonic()
            missing, unclear = progress.missing, progress.unclear
            try:
                if await self._find(person) is None:
                    missing = (*missing, person)
                unanswered = 0
            except Denied:
                raise
            except Rejected:
                unclear = (*unclear, person)  # several people share the address
            except ClientError:
                unanswered += 1
                if unanswered >= MAX_UNANSWERED:
                    raise
                unclear = (*unclear, person)
            progress = _Progress(last=person, missing=missing, unclear=unclear)
            if number % PEOPLE_PER_CHECKPOINT == 0:
                activity_context.report_progress(f"{number} of {len(people)} people")
                activity_context.save_checkpoint(progress.model_dump_json())
            await activity_context.sleep(max(0.0, pause - (time.monotonic() - started)))
        gone = set(progress.missing)
        back = places.handled.intersection(people) - gone - set(progress.unclear)
        return LookResult(
            asked=len(people),
            missing=tuple(person for person in progress.missing if person in places.new),
            unclear=progress.unclear,
            back=tuple(sorted(back)),
            handled=len(gone - places.new),
            last=people[-1] if len(people) < len(waiting) else "",
        )

    async def _find(self, person: str) -> object | None:
        """Look the person up; wait once if the directory asks for that."""
        try:
            return await self._directory.find_user(person)
        except Throttled as error:
            await activity_context.sleep(error.retry_after.total_seconds() if error.retry_after else 1.0)
            return await self._directory.find_user(person)

    async def _places(self) -> _Places:
        new: set[str] = set()
        handled: set[str] = set()
        async for run in self._open(""):
            owner = run.typed_search_attributes.get(search_attributes.OWNER)
            new.update(run.typed_search_attributes.get(search_attributes.COLLABORATORS) or ())
            if owner:
                (handled if await _has_no_owner(run) else new).add(owner)
        return _Places(frozenset(new), frozenset(handled))

    async def _open(self, condition: str) -> AsyncIterator[WorkflowExecution]:
        runs = self._temporal.list_workflows(OPEN + condition, page_size=PAGE_SIZE, rpc_timeout=CALL_TIMEOUT)
        async for run in runs:
            activity_context.raise_if_stopping()
            yield run

    @activity.defn(name="leavers.apply")
    async def apply(self, input: ApplyInput) -> ApplyResult:
        """Update every environment of these people; a repeated update changes nothing."""
        lines: list[LeaverLine] = []
        for people, action in ((input.left, LeaverAction.LEFT), (input.returned, LeaverAction.RETURNED)):
            for person in people:
                lines += await self._update_all(person, action, input.actor)
                activity_context.report_progress(f"{len(lines)} environments updated")
        return ApplyResult(lines=tuple(lines))

    async def _update_all(self, person: str, action: LeaverAction, actor: str) -> Sequence[LeaverLine]:
        value = search_attributes.quoted(person)
        condition = (
            f" AND ({search_attributes.OWNER.name} = {value} "
            f"OR {search_attributes.COLLABORATORS.name} = {value})"
        )
        return [await self._update_one(run, person, action, actor) async for run in self._open(condition)]

    async def _update_one(
        self, run: WorkflowExecution, person: str, action: LeaverAction, actor: str
    ) -> LeaverLine:
        name = name_from_workflow_id(run.id)
        try:
            request_id = await run.memo_value(workflow_memo.REQUEST_ID, "", type_hint=str)
            update = LeaverInput(life=life_id(request_id), actor=actor, person=person, action=action)
            async with asyncio.timeout(UPDATE_TIMEOUT.total_seconds()):
                result = await self._temporal.get_workflow_handle(run.id).execute_update(
                    UPDATE_PERSON_LEFT, update, result_type=str
                )
        except FAILURES as error:
            failure = describe_failure(error)
            has_failed = failure.kind is not FailureKind.ENDED
            return LeaverLine(name=name, person=person, result=failure.reason, failed=has_failed)
        return LeaverLine(name=name, person=person, result=result)


async def _has_no_owner(run: WorkflowExecution) -> bool:
    """Return whether the access of the owner has ended before."""
    with suppress(*UNREADABLE_ERRORS):
        return bool(await run.memo_value(workflow_memo.OWNER_LEFT, "", type_hint=str))
    return False


def _read_progress(kept: str) -> _Progress:
    try:
        return _Progress.model_validate_json(kept) if kept else _Progress()
    except ValidationError:
        return _Progress()
