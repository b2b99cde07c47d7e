"""The path of a request for an environment, from the request to its answer, in this order.

1. plan: the catalogue and the rules accept it, with every problem at once
2. people: the directory knows its owner and collaborators
3. placement: hosts that accept its template
4. start: a reservation of capacity, then a new life; or the life that the name has, which is joined
5. answer
"""

from dataclasses import dataclass

import structlog
from temporalio.client import Client
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from contracts.capacity.models import ReservationRequest, StandbyName
from contracts.environment.models import Phase
from contracts.environment_workflow import Answer, AnswerKind, EnvironmentStart, RequestInput
from contracts.errors import Refusal, RefusalReason
from contracts.temporal.task_queues import NO_OWN_QUEUES, OwnQueues
from contracts.types.naming import OwnerMark, life_id, request_id
from starter.auth.policy import Principal, Verb, is_allowed
from starter.catalogue.loader import Catalogue, offered_templates
from starter.config_files.reloading import Reloaded
from starter.environments.access import relations_to
from starter.environments.commands import send_update
from starter.environments.people_check import PeopleDirectory, check_people
from starter.environments.reader import EnvironmentReader, EnvironmentSnapshot, Latest
from starter.environments.requests.planning import (
    RequestedEnvironment,
    people_problems,
    plan,
    status_at_start,
)
from starter.environments.schemas import Done, DoneKind, view_of_status
from starter.environments.workflow_start import start_environment
from starter.installation_settings import InstallationConfig
from starter.placement.advisor import PlacementAdvisor
from starter.placement.reservations import Reservations
from starter.request_errors import InvalidRequest
from starter.temporal.errors import NO_WORKER, TemporalUnavailable
from starter.temporal.updates import NoCapacity, Refused, WorkflowClosed
from workflows.environment.workflow import EnvironmentWorkflow

#: Attempts when another caller starts the name, or its run closes, during the call: at the next attempt that
#: run is the latest.
MAX_ATTEMPTS = 3
#: Status codes with which Temporal rejects a start, so no run exists.
_START_REJECTED = frozenset(
    {RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED}
)

_log = structlog.get_logger(__name__)


class KeyReused(Exception):
    """The same person has used this idempotency key for a different request for the same name."""


class LeftBehind(Exception):
    """The workflow of the name's last life was closed from outside, and its resources may still exist."""

    def __init__(self, snapshot: EnvironmentSnapshot) -> None:
        self.snapshot = snapshot
        super().__init__(snapshot.view.remark)


class EnvironmentService:
    """Answers requests for environments."""

    def __init__(
        self,
        *,
        installation: InstallationConfig,
        catalogue: Reloaded[Catalogue],
        people: PeopleDirectory,
        placement: PlacementAdvisor,
        starter: "EnvironmentStarter",
    ) -> None:
        self._installation = installation
        self._catalogue = catalogue
        self._people = people
        self._placement = placement
        self._starter = starter

    async def request(self, requested: RequestedEnvironment, principal: Principal, key: str) -> Done:
        """Start the environment, or join it if the owner has requested the same before.

        A repeat with the same key gets the answer of the first request and never starts a second life,
        neither while that life lasts nor after it.

        Raises:
            InvalidRequest: A field is wrong.
            Refused: The name has another owner or spec, is being torn down, or has left something behind.
            NoCapacity: No host has capacity for it.
            KeyReused: The key was used before, for a request with another spec.
        """
        start = self.plan(requested, principal, key)
        start = await self.check_people(start, requested)
        reservation = await self._placement.reservation_request(start.environment)
        try:
            outcome = await self._starter.start_or_join(start, reservation)
        except (NoCapacity, LeftBehind) as error:
            raise await self.explain(error, start, principal) from None
        _log.info(
            "requested",
            environment=requested.name,
            life=outcome.answer.life,
            actor=principal.email,
            answer=outcome.kind,
        )
        return done_of(requested.name, outcome)

    def plan(self, requested: RequestedEnvironment, principal: Principal, key: str) -> EnvironmentStart:
        """Plan the start; raise InvalidRequest with every problem that needs no other system."""
        id = request_id(principal.email, requested.name, key)
        return plan(requested, principal, id, self._catalogue.current(), self._installation)

    async def check_people(
        self, start: EnvironmentStart, requested: RequestedEnvironment
    ) -> EnvironmentStart:
        """Raise InvalidRequest for unknown people.

        If the directory cannot be reached, the returned start has the workflow check them.
        """
        check = await check_people(self._people, start.environment.people)
        if problems := people_problems(start, requested, check.problems):
            raise InvalidRequest(problems)
        return start.model_copy(update={"people_are_checked": check.complete})

    async def explain(
        self, error: NoCapacity | LeftBehind, start: EnvironmentStart, principal: Principal
    ) -> Refused:
        """Return the refusal for the caller: with advice, or without what the caller may not see."""
        if isinstance(error, NoCapacity):
            offered = offered_templates(self._catalogue.current(), principal)
            return await self._placement.with_advice(error, start.environment, offered)
        name = start.environment.name
        if not is_allowed(Verb.SHOW, relations_to(error.snapshot, principal)):
            return Refused(Refusal.taken(name))
        message = f"{name} cannot be asked for yet. {error.snapshot.view.remark}"
        return Refused(Refusal(reason=RefusalReason.LEFT_BEHIND, message=message))


@dataclass(frozen=True)
class StartOutcome:
    """What a request has led to. `snapshot` is None for a new life: its status is that of its start."""

    kind: DoneKind
    answer: Answer
    start: EnvironmentStart
    snapshot: EnvironmentSnapshot | None = None


def done_of(name: str, outcome: StartOutcome) -> Done:
    """Return the answer to the caller: what the request has led to, and the environment."""
    return Done(
        kind=outcome.kind,
        message=outcome.answer.message,
        name=name,
        life=outcome.answer.life,
        environment=outcome.snapshot.view
        if outcome.snapshot
        else view_of_status(status_at_start(outcome.start)),
    )


def is_start_rejected(error: TemporalUnavailable) -> bool:
    """Return whether Temporal has rejected a start, so that no run exists."""
    return isinstance(error.__cause__, RPCError) and error.__cause__.status in _START_REJECTED


class EnvironmentStarter:
    """Starts a life, or joins the one that the name has."""

    def __init__(
        self,
        client: Client,
        reader: EnvironmentReader,
        reservations: Reservations,
        own_queues: OwnQueues = NO_OWN_QUEUES,
    ) -> None:
        self._client = client
        self._reader = reader
        self._reservations = reservations
        self._own_queues = own_queues

    async def start_or_join(self, start: EnvironmentStart, reservation: ReservationRequest) -> StartOutcome:
        """Reserve capacity and start the environment, or join the running one with the same spec.

        Only a join needs an answer of the workflow: that a life is new is known from the start itself, which
        the server rejects if the name has an open run.

        Raises:
            Refused: The running one belongs to another owner, has another spec, or is being torn down.
            LeftBehind: The last life of the name was closed from outside.
            NoCapacity: No host has capacity for it.
            KeyReused: The key was used before, for a request with another spec.
        """
        for _ in range(MAX_ATTEMPTS):
            latest = await self._reader.latest(start.environment.name)
            try:
                if latest is None:
                    return await self._start(start, reservation)
                if latest.is_standby and not latest.ended:
                    raise Refused(Refusal.taken(start.environment.name))
                if latest.closed_from_outside:
                    await ensure_nothing_left_behind(self._reader, start.environment.name)
                if latest.request_id == start.request_id:
                    if outcome := await self._answer_repeat(start):
                        return outcome
                elif latest.ended:
                    previous = life_id(latest.request_id) if latest.request_id else ""
                    return await self._start(start, reservation.model_copy(update={"ended_life": previous}))
                else:
                    return await self._join(start, latest)
            except (WorkflowAlreadyStartedError, WorkflowClosed):
                continue
        raise WorkflowClosed

    async def _start(self, start: EnvironmentStart, reservation: ReservationRequest) -> StartOutcome:
        decision = await self._reservations.reserve(reservation)
        if decision.refusal:
            raise NoCapacity(decision.refusal, decision.next_end)
        placed = {
            "host": decision.host,
            "own_queues": self._own_queues.of(decision.host),
            "standby": _mark_of(decision.standby, start.environment.mark.installation),
        }
        environment = start.environment.model_copy(update=placed)
        start = start.model_copy(update={"environment": environment})
        try:
            await start_environment(self._client, start)
        except TemporalUnavailable as error:
            # After any other error the run may have started, so keep the reservation; the audit releases it
            # if there is no run.
            if is_start_rejected(error):
                await self._reservations.withdraw(environment.name, environment.mark.life)
            raise
        return StartOutcome(DoneKind.CREATED, _created(start, "is being made."), start)

    async def _join(self, start: EnvironmentStart, latest: Latest) -> StartOutcome:
        """Ask the running workflow, which refuses another owner or spec.

        The update starts nothing: the run may end at this moment, and a start would then create another life.
        """
        environment = start.environment
        request = RequestInput(owner=environment.owner, spec=environment.spec, request_id=start.request_id)
        answer = await send_update(
            self._client,
            EnvironmentWorkflow.request,
            request,
            name=environment.name,
            first_run_id=latest.first_run_id,
            id=start.request_id,
        )
        snapshot = await self._reader.read(environment.name)
        return StartOutcome(DoneKind(answer.kind), answer, start, snapshot)

    async def _answer_repeat(self, start: EnvironmentStart) -> StartOutcome | None:
        """Answer a request that has started this life before; None if Temporal has just dropped the run."""
        snapshot = await self._reader.read(start.environment.name)
        if snapshot is None:
            return None
        name, life, status = snapshot.name, start.environment.mark.life, snapshot.status
        if snapshot.owner != start.environment.owner:
            raise Refused(Refusal.taken(name))  # it was transferred since
        if status and snapshot.life == life and status.environment.spec != start.environment.spec:
            raise KeyReused
        if snapshot.ended:
            outcome = snapshot.view.outcome or "ended"
            message = (
                f"{name} was made for this very request before and is gone ({outcome}): nothing was started."
            )
            answer = Answer(kind=AnswerKind.NOTHING_TO_DO, message=message, life=life)
            return StartOutcome(DoneKind.FINISHED, answer, start, snapshot)
        message = "is being made." if status else f"is asked for. {NO_WORKER} yet: it starts when one does."
        return StartOutcome(DoneKind.CREATED, _created(start, message), start, snapshot)


async def ensure_nothing_left_behind(reader: EnvironmentReader, name: str) -> None:
    """Raise LeftBehind if the last life has left resources, because of which the next life would fail."""
    snapshot = await reader.read(name)
    if snapshot and snapshot.view.phase is Phase.ORPHANED:
        raise LeftBehind(snapshot)


def _mark_of(standby: StandbyName | None, installation: str) -> OwnerMark | None:
    return OwnerMark(installation=installation, name=standby.name, life=standby.life) if standby else None


def _created(start: EnvironmentStart, what: str) -> Answer:
    environment = start.environment
    return Answer(kind=AnswerKind.CREATED, message=f"{environment.name} {what}", life=environment.mark.life)
