"""Changes of the people of an environment: its collaborators and its owner."""

import secrets
from collections.abc import Callable

import structlog

from clients.errors import Unreachable
from contracts.capacity.models import Quotas
from contracts.environment_workflow import CollaboratorAction, CollaboratorInput, TransferInput
from contracts.errors import Refusal, RefusalReason
from starter.auth.policy import NotAllowed, Principal, Role, Verb, describe_allowed, describe_held, is_allowed
from starter.auth.tokens import read_email
from starter.environments.access import EnvironmentAccess, relations_to
from starter.environments.commands import EnvironmentCommands
from starter.environments.people_check import PeopleDirectory, check_people
from starter.environments.reader import EnvironmentReader, EnvironmentSnapshot
from starter.environments.schemas import Done, DoneKind
from starter.placement.advisor import PlacementAdvisor
from starter.placement.reservations import Reservations
from starter.request_errors import FieldProblem, InvalidRequest
from starter.temporal.errors import NoWorker
from starter.temporal.updates import Refused, WorkflowClosed

_log = structlog.get_logger(__name__)


class EnvironmentMembership:
    """Changes who may use an environment. A repeat with the same key is answered and not executed again."""

    def __init__(
        self,
        access: EnvironmentAccess,
        reader: EnvironmentReader,
        commands: EnvironmentCommands,
        people: PeopleDirectory,
        placement: PlacementAdvisor,
        reservations: Reservations,
        teams_of: Callable[[str], frozenset[str] | None],
    ) -> None:
        self._access = access
        self._reader = reader
        self._commands = commands
        self._people = people
        self._placement = placement
        self._reservations = reservations
        self._teams_of = teams_of

    async def change(
        self,
        action: CollaboratorAction,
        name: str,
        person: str,
        principal: Principal,
        key: str | None,
        life: str | None,
    ) -> Done:
        """Add the person to the collaborators, or remove them.

        Raises:
            EnvironmentNotFound, NotAllowed: The principal may not.
            InvalidRequest: The address is not valid, or a person to be added is unknown.
            Refused: The environment does not accept it now.
        """
        snapshot = await self._access.find(name, principal, Verb.COLLABORATORS, life)
        address = _read_person(person)
        if action is CollaboratorAction.ADD and not snapshot.ended:
            await self._require_known(address)
        update = CollaboratorInput(actor=principal.email, action=action, person=address)
        return await self._send(Verb.COLLABORATORS, snapshot, update, key)

    async def transfer(
        self, name: str, person: str, principal: Principal, key: str | None, life: str | None
    ) -> Done:
        """Give the environment to a member of its team whose limits allow it.

        Raises:
            EnvironmentNotFound, NotAllowed: The principal may not.
            InvalidRequest: The address is not valid, or the person is unknown or in another team.
            Refused: The environment does not accept it now, or the person's quota does not allow it.
            Unreachable: The directory does not answer.
        """
        takes = person.lower() == principal.email
        verb = Verb.TAKE if takes else Verb.TRANSFER
        snapshot = await self._access.find(name, principal, verb, life)
        held = relations_to(snapshot, principal)
        if takes and not snapshot.view.owner_left_at and not is_allowed(Verb.TRANSFER, held):
            raise NotAllowed(
                f"{name} has an owner, so its transfer is for {describe_allowed(Verb.TRANSFER)}, "
                f"and you are {describe_held(held)}"
            )
        address = _read_person(person)
        _require_open(snapshot)
        if address != snapshot.owner:
            # First: of an address that is mistyped, no team is known either.
            if not await self._require_known(address):
                raise Unreachable("The directory", f"find {address}", "no answer in time")
            self._require_team_mate(address, snapshot, principal)
            await self._reassign(snapshot, address)
        update = TransferInput(actor=principal.email, person=address, owner=snapshot.owner)
        try:
            return await self._send(Verb.TRANSFER, snapshot, update, key)
        except (Refused, WorkflowClosed):
            # It may have another owner than before: a transfer at the same time.
            now = await self._reader.read(name)
            is_same = now is not None and now.life == snapshot.life
            await self._reassign(snapshot, now.owner if now and is_same else snapshot.owner, unlimited=True)
            raise

    def _require_team_mate(self, person: str, snapshot: EnvironmentSnapshot, principal: Principal) -> None:
        teams = frozenset(principal.teams) if person == principal.email else self._teams_of(person)
        if teams is None and principal.role is not Role.PLATFORM:
            message = (
                f"Moorage does not know the teams of {person} now: they sign in once, for example with "
                "moorage list, or the platform team transfers it"
            )
            raise InvalidRequest([FieldProblem(field="person", message=message)])
        if teams is not None and snapshot.team not in teams:
            message = f"{person} is not in team {snapshot.team}, which {snapshot.name} belongs to"
            raise InvalidRequest([FieldProblem(field="person", message=message)])

    async def _reassign(self, snapshot: EnvironmentSnapshot, owner: str, *, unlimited: bool = False) -> None:
        """Give the place on the host to the new owner; raise Refused if their quota does not allow it.

        If the transfer is then refused, the place goes back. If that call is lost, the next audit finds it.
        """
        if snapshot.status is None:
            raise NoWorker
        environment = snapshot.status.environment.model_copy(update={"owner": owner})
        request = self._placement.reservation_of(environment)
        if unlimited:
            request = request.model_copy(update={"quotas": Quotas()})
        decision = await self._reservations.reassign(request)
        if decision.refusal and not unlimited:
            raise Refused(decision.refusal)

    async def _require_known(self, person: str) -> bool:
        """Raise InvalidRequest for an unknown person; return False if the directory cannot be reached.

        In that case the workflow finds out about a collaborator, and removes them again.
        """
        check = await check_people(self._people, [person])
        if problem := check.problems.get(person):
            raise InvalidRequest([FieldProblem(field="person", message=problem)])
        return check.complete

    async def _send(
        self,
        verb: Verb,
        snapshot: EnvironmentSnapshot,
        update: CollaboratorInput | TransferInput,
        key: str | None,
    ) -> Done:
        name = snapshot.name
        _require_open(snapshot)
        try:
            answer = await self._commands.send(verb, snapshot, update, key or secrets.token_hex(8))
        except WorkflowClosed:
            message = f"{name} has just ended: it has no people any more"
            raise Refused(Refusal(reason=RefusalReason.BEING_TORN_DOWN, message=message)) from None
        _log.info(
            "changed people",
            environment=name,
            life=answer.life,
            actor=update.actor,
            verb=verb,
            person=update.person,
            answer=answer.kind,
        )
        now = await self._reader.read(name)
        return Done(
            kind=DoneKind(answer.kind),
            message=answer.message,
            name=name,
            life=answer.life,
            environment=now.view if now and now.life == answer.life else None,
        )


def _require_open(snapshot: EnvironmentSnapshot) -> None:
    if snapshot.ended:
        message = f"{snapshot.name} is gone: it has no people any more"
        raise Refused(Refusal(reason=RefusalReason.NOT_NOW, message=message))


def _read_person(address: str) -> str:
    try:
        return read_email(address)
    except ValueError as error:
        raise InvalidRequest([FieldProblem(field="person", message=str(error))]) from None
