"""The API's commands to Temporal: start a life with its first update, and send updates for callers."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.service import RPCError, RPCStatusCode

from contracts import search_attributes
from contracts.capacity.models import ReservationRequest
from contracts.durations import format_duration
from contracts.environment import EnvironmentStatus, Phase
from contracts.environment_workflow import (
    TASK_QUEUE,
    ActorInput,
    Answer,
    AnswerKind,
    EnvironmentStart,
    ExtendInput,
    RequestInput,
)
from contracts.naming import life_of, workflow_id
from contracts.workflow_memo import memo_of
from starter.environments.reader import EnvironmentReader, EnvironmentSnapshot, Latest
from starter.placement.reservations import Reservations
from starter.temporal.errors import NO_WORKER, SHORT_PATIENCE, UPDATE_PATIENCE, NoWorker, TemporalUnavailable
from starter.temporal.updates import NoCapacity, WorkflowClosed, map_update_errors, update_with_start
from workflows.environment import EnvironmentWorkflow

#: Attempts when the run closes during the call: at the second attempt the next run exists, or there is none.
_TRIES = 2
#: Status codes with which Temporal rejects a start, so no run exists.
_START_REJECTED = frozenset(
    {RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED}
)
#: Typed as Any because mypy rejects an `async def` update with a validator against the SDK's types.
_REQUEST: Any = EnvironmentWorkflow.request


@dataclass(frozen=True)
class RequestOutcome:
    """The answer of the environment. `again` is True if the same request was sent before."""

    answer: Answer
    again: bool


class KeyReused(Exception):
    """The same person has used this idempotency key for a different request for the same name."""


@dataclass(frozen=True)
class Finished:
    """The same request was completed before, and its life has ended."""

    standing: EnvironmentSnapshot


class EnvironmentCommands:
    """Starts and changes environments. A repeated request gets an answer and is never executed twice."""

    def __init__(self, client: Client, reader: EnvironmentReader, reservations: Reservations) -> None:
        self._client = client
        self._reader = reader
        self._reservations = reservations

    async def request(self, start: EnvironmentStart, ask: ReservationRequest) -> RequestOutcome | Finished:
        """Reserve capacity and start the environment, or join the running one with the same spec.

        A repeat of the same request never starts a second life: neither while the first one runs, nor after
        it has ended.

        Raises:
            Refused: The name belongs to a different environment.
            NoCapacity: No host has capacity for it.
            KeyReused: The key was used before, for a request with a different spec.
        """
        for attempt in range(_TRIES):
            latest = await self._reader.latest(start.environment.name)
            again = latest is not None and latest.request_id == start.request_id
            over = latest is not None and latest.ended
            if again and over and (end := await self._reader.read(start.environment.name)):
                _check_same(start, end)
                return Finished(end)
            try:
                if latest and not over:
                    if again and (before := await self._reader.read(start.environment.name)):
                        _check_same(start, before)
                    # Send the update without a start: the run may end at this moment, and a start would
                    # then create another life.
                    return RequestOutcome(await self._ask(start, latest, again=again), again)
                return RequestOutcome(
                    await self._start_or_join(await self._reserved(start, ask, latest)), again=False
                )
            except WorkflowClosed:
                if attempt + 1 == _TRIES:
                    raise
        raise AssertionError("unreachable")

    async def _ask(self, start: EnvironmentStart, latest: Latest, *, again: bool) -> Answer:
        handle = self._client.get_workflow_handle_for(
            EnvironmentWorkflow.run,
            workflow_id(start.environment.name),
            first_execution_run_id=latest.first_run_id,
        )
        try:
            async with map_update_errors(SHORT_PATIENCE if again else UPDATE_PATIENCE):
                answer: Answer = await handle.execute_update(_REQUEST, _request(start), id=start.request_id)
                return answer
        except NoWorker:
            if again:
                return _accepted_without_worker(start)
            raise

    async def _reserved(
        self, start: EnvironmentStart, ask: ReservationRequest, latest: Latest | None
    ) -> EnvironmentStart:
        """Return the start with its reserved host; raise NoCapacity if no host has room."""
        if latest and latest.request_id:
            ask = ask.model_copy(update={"over": life_of(latest.request_id)})
        verdict = await self._reservations.reserve(ask)
        if verdict.refusal:
            raise NoCapacity(verdict.refusal, verdict.next_end)
        environment = start.environment.model_copy(update={"host": verdict.host})
        return start.model_copy(update={"environment": environment})

    async def _start_or_join(self, start: EnvironmentStart) -> Answer:
        """Start the environment, or join the run that a faster caller has started.

        The reservation belongs to the name, so in the second case it is also that run's reservation.
        """
        try:
            return await self._update_with_start(start)
        except TemporalUnavailable as error:
            # After any other error the run may have started, so keep the reservation; the audit releases it
            # if there is no run.
            if isinstance(error.__cause__, RPCError) and error.__cause__.status in _START_REJECTED:
                await self._reservations.withdraw(start.environment.name, start.environment.mark.life)
            raise

    async def _update_with_start(self, start: EnvironmentStart) -> Answer:
        try:
            return await self._start(start, SHORT_PATIENCE)
        except NoWorker:
            # The server accepts the start without a worker, so this life may have started although no worker
            # has answered the update.
            latest = await self._reader.latest(start.environment.name)
            if latest and latest.request_id == start.request_id and not latest.ended:
                return _accepted_without_worker(start)
            return await self._start(start, UPDATE_PATIENCE)

    async def _start(self, start: EnvironmentStart, patience: timedelta) -> Answer:
        async with map_update_errors(patience):
            answer: Answer = await update_with_start(
                self._client, _REQUEST, _request(start), _start_operation(start), id=start.request_id
            )
            return answer

    async def delete(self, standing: EnvironmentSnapshot, who: str, key: str | None) -> Answer:
        """Request the teardown of the environment, in any phase."""
        return await self._change(EnvironmentWorkflow.delete, "delete", standing, who, key or "")

    async def cancel(self, standing: EnvironmentSnapshot, who: str, key: str | None) -> Answer:
        """Request that the workflow stops provisioning and undoes it."""
        return await self._change(EnvironmentWorkflow.cancel, "cancel", standing, who, key or "")

    async def resume_teardown(self, standing: EnvironmentSnapshot, who: str, key: str | None) -> Answer:
        """Request another attempt of a teardown that has given up; each call without a key is new."""
        key = key or secrets.token_hex(8)
        return await self._change(EnvironmentWorkflow.resume_teardown, "resume-teardown", standing, who, key)

    async def extend(self, standing: EnvironmentSnapshot, ask: ExtendInput, key: str) -> Answer:
        """Request a later end of the environment."""
        return await self._update(EnvironmentWorkflow.extend, "extend", standing, ask, key)

    async def _change(
        self, update: Any, verb: str, standing: EnvironmentSnapshot, who: str, key: str
    ) -> Answer:
        return await self._update(update, verb, standing, ActorInput(who=who), key)

    async def _update(
        self, update: Any, verb: str, standing: EnvironmentSnapshot, ask: ActorInput | ExtendInput, key: str
    ) -> Answer:
        # Address the first run of this life, because the name may now belong to the next life, which may
        # have another owner.
        ask = ask.model_copy(update={"life": standing.life})
        handle = self._client.get_workflow_handle_for(
            EnvironmentWorkflow.run,
            workflow_id(standing.name),
            first_execution_run_id=standing.first_run_id,
        )
        patience = UPDATE_PATIENCE if standing.status else SHORT_PATIENCE
        async with map_update_errors(patience):
            answer: Answer = await handle.execute_update(
                update,
                ask,
                # The id contains the life, so that the same request for a later life is not a repeat.
                id="/".join(filter(None, (standing.life, verb, key and _repeat_key(ask, key)))),
            )
            return answer


def _check_same(start: EnvironmentStart, before: EnvironmentSnapshot) -> None:
    known = before.status if before.life == start.environment.mark.life else None
    if known and known.environment.spec != start.environment.spec:
        raise KeyReused


def _request(start: EnvironmentStart) -> RequestInput:
    environment = start.environment
    return RequestInput(owner=environment.owner, spec=environment.spec, request_id=start.request_id)


def _repeat_key(ask: ActorInput | ExtendInput, key: str) -> str:
    """Return the hash that identifies a repeat: the same person, input and key."""
    content = f"{key} {ask.model_dump_json()}"
    return hashlib.sha256(content.encode()).hexdigest()[:20]


def _accepted_without_worker(start: EnvironmentStart) -> Answer:
    name, life = start.environment.name, start.environment.mark.life
    message = f"{name} is asked for. {NO_WORKER} yet: it begins when one does."
    return Answer(kind=AnswerKind.CREATED, message=message, life=life)


def _start_operation(start: EnvironmentStart) -> WithStartWorkflowOperation[Any, EnvironmentStatus]:
    environment = start.environment
    template = environment.template
    return WithStartWorkflowOperation(
        EnvironmentWorkflow.run,
        start,
        id=workflow_id(environment.name),
        task_queue=TASK_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        memo=memo_of(start),
        search_attributes=TypedSearchAttributes(
            [
                SearchAttributePair(search_attributes.OWNER, environment.owner),
                SearchAttributePair(search_attributes.COLLABORATORS, environment.spec.collaborators),
                SearchAttributePair(search_attributes.TEAM, environment.spec.team),
                SearchAttributePair(search_attributes.PHASE, Phase.PROVISIONING.value),
                SearchAttributePair(search_attributes.TEMPLATE, template.name),
                SearchAttributePair(search_attributes.HOST, environment.host),
            ]
        ),
        static_summary=f"{environment.name}: {template.name} of {environment.owner}"[:200],
        static_details=(
            f"- owner: {environment.owner} ({environment.spec.team})\n"
            f"- template: {template.name}, version {template.version}\n"
            f"- host cluster: {environment.host}\n"
            f"- everything of it is named: {environment.derived_name}\n"
            f"- owner mark: {environment.mark.text}\n"
            f"- time to live: {format_duration(environment.ttl)}\n\n"
            "To end it: `moorage delete`, or Cancel here. Never Terminate: nothing would be taken down."
        ),
    )
