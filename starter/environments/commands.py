"""What the API has Temporal do: start a life with its first update, and hand on what people decide."""

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
from starter.environments.reader import EnvironmentSnapshot, Latest, Reader
from starter.placement.reservations import Reservations
from starter.temporal.errors import NO_WORKER, SHORT_PATIENCE, UPDATE_PATIENCE, NoWorker, TemporalUnavailable
from starter.temporal.updates import NoCapacity, WorkflowClosed, answered, update_with_start
from workflows.environment import EnvironmentWorkflow

#: A run that is just closing is met again at most so often: then the next one has been started, or none.
_TRIES = 2
#: What Temporal answers to a start that it will not have.
_NOT_BEGUN = frozenset(
    {RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED}
)
#: The SDK's types of an update do not admit an `async def` with a validator to mypy.
_REQUEST: Any = EnvironmentWorkflow.request


@dataclass(frozen=True)
class Asked:
    """What the environment answers; `again`: this very request had been asked before."""

    answer: Answer
    again: bool


class KeyReused(Exception):
    """The key of the request is that of another request of the same person, for the same name."""


@dataclass(frozen=True)
class Finished:
    """The very request was carried out before; its life is over."""

    standing: EnvironmentSnapshot


class EnvironmentCommands:
    """Starts and changes environments. What it repeats is answered, never done twice."""

    def __init__(self, client: Client, reader: Reader, reservations: Reservations) -> None:
        self._client = client
        self._reader = reader
        self._reservations = reservations

    async def request(self, start: EnvironmentStart, ask: ReservationRequest) -> Asked | Finished:
        """Have the environment made where it is given a place, or join it if it is there as asked for.

        `Refused` if it is another, `NoCapacity` if there is no room for it. A repeat of the same request
        never
        starts a second life: not while the first is there, and not after it has ended. `KeyReused` if it
        asks for something else than the first time.
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
                    # Only asked: it may end at this very moment, and a start would begin another life.
                    return Asked(await self._ask(start, latest, again=again), again)
                return Asked(await self._begin(await self._placed(start, ask, latest)), again=False)
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
            async with answered(SHORT_PATIENCE if again else UPDATE_PATIENCE):
                answer: Answer = await handle.execute_update(_REQUEST, _request(start), id=start.request_id)
                return answer
        except NoWorker:
            if again:
                return _not_begun(start)
            raise

    async def _placed(
        self, start: EnvironmentStart, ask: ReservationRequest, latest: Latest | None
    ) -> EnvironmentStart:
        """The start, on the host that it is given; `NoCapacity` if there is none."""
        if latest and latest.request_id:
            ask = ask.model_copy(update={"over": life_of(latest.request_id)})
        verdict = await self._reservations.reserve(ask)
        if verdict.refusal:
            raise NoCapacity(verdict.refusal, verdict.next_end)
        environment = start.environment.model_copy(update={"host": verdict.host})
        return start.model_copy(update={"environment": environment})

    async def _begin(self, start: EnvironmentStart) -> Answer:
        """Start it, or join whoever was quicker: then the place is theirs too, as it is the name's."""
        try:
            return await self._update_with_start(start)
        except TemporalUnavailable as error:
            # Whatever else went wrong, it may have begun: then the place is kept, and the audit sees to it.
            if isinstance(error.__cause__, RPCError) and error.__cause__.status in _NOT_BEGUN:
                await self._reservations.withdraw(start.environment.name, start.environment.mark.life)
            raise

    async def _update_with_start(self, start: EnvironmentStart) -> Answer:
        try:
            return await self._start(start, SHORT_PATIENCE)
        except NoWorker:
            # The start is taken by the server, so this life may be begun although nobody has said so.
            latest = await self._reader.latest(start.environment.name)
            if latest and latest.request_id == start.request_id and not latest.ended:
                return _not_begun(start)
            return await self._start(start, UPDATE_PATIENCE)

    async def _start(self, start: EnvironmentStart, patience: timedelta) -> Answer:
        async with answered(patience):
            answer: Answer = await update_with_start(
                self._client, _REQUEST, _request(start), _start_operation(start), id=start.request_id
            )
            return answer

    async def delete(self, standing: EnvironmentSnapshot, who: str, key: str | None) -> Answer:
        """Have it torn down, whatever phase it is in."""
        return await self._change(EnvironmentWorkflow.delete, "delete", standing, who, key or "")

    async def cancel(self, standing: EnvironmentSnapshot, who: str, key: str | None) -> Answer:
        """Have its provisioning stopped and undone."""
        return await self._change(EnvironmentWorkflow.cancel, "cancel", standing, who, key or "")

    async def resume_teardown(self, standing: EnvironmentSnapshot, who: str, key: str | None) -> Answer:
        """Have a teardown that has given up tried again. Without a key each call is a new one."""
        key = key or secrets.token_hex(8)
        return await self._change(EnvironmentWorkflow.resume_teardown, "resume-teardown", standing, who, key)

    async def extend(self, standing: EnvironmentSnapshot, ask: ExtendInput, key: str) -> Answer:
        """Have its end moved."""
        return await self._update(EnvironmentWorkflow.extend, "extend", standing, ask, key)

    async def _change(
        self, update: Any, verb: str, standing: EnvironmentSnapshot, who: str, key: str
    ) -> Answer:
        return await self._update(update, verb, standing, ActorInput(who=who), key)

    async def _update(
        self, update: Any, verb: str, standing: EnvironmentSnapshot, ask: ActorInput | ExtendInput, key: str
    ) -> Answer:
        # Of this life only: the name may be in its next one by now, which may be somebody else's.
        handle = self._client.get_workflow_handle_for(
            EnvironmentWorkflow.run,
            workflow_id(standing.name),
            first_execution_run_id=standing.first_run_id,
        )
        patience = UPDATE_PATIENCE if standing.status else SHORT_PATIENCE
        async with answered(patience):
            answer: Answer = await handle.execute_update(
                update,
                ask,
                # Of the life, so that the same words about a later life are not taken for a repeat.
                id="/".join(filter(None, (standing.life, verb, key and _words(ask, key)))),
            )
            return answer


def _check_same(start: EnvironmentStart, before: EnvironmentSnapshot) -> None:
    known = before.status if before.life == start.environment.mark.life else None
    if known and known.environment.spec != start.environment.spec:
        raise KeyReused


def _request(start: EnvironmentStart) -> RequestInput:
    environment = start.environment
    return RequestInput(owner=environment.owner, spec=environment.spec, request_id=start.request_id)


def _words(ask: ActorInput | ExtendInput, key: str) -> str:
    """What a repeat is known by: the same person, saying the same, with the same key."""
    said = f"{key} {ask.model_dump_json()}"
    return hashlib.sha256(said.encode()).hexdigest()[:20]


def _not_begun(start: EnvironmentStart) -> Answer:
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
