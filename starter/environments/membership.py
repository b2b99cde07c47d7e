"""Changes of the people of an environment: its collaborators, each as an update to the workflow."""

import secrets

import structlog

from contracts.environment_workflow import CollaboratorAction, CollaboratorInput
from contracts.errors import Refusal, RefusalReason
from starter.auth.policy import Principal, Verb
from starter.auth.tokens import read_email
from starter.environments.access import EnvironmentAccess
from starter.environments.commands import EnvironmentCommands
from starter.environments.people_check import PeopleDirectory, check_people
from starter.environments.reader import EnvironmentReader, EnvironmentSnapshot
from starter.environments.schemas import Done, DoneKind
from starter.errors import FieldProblem, InvalidRequest
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
    ) -> None:
        self._access = access
        self._reader = reader
        self._commands = commands
        self._people = people

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

    async def _require_known(self, person: str) -> None:
        """Raise InvalidRequest for an unknown person.

        If the directory cannot be reached, the workflow finds out, and removes the person again.
        """
        check = await check_people(self._people, [person])
        if problem := check.problems.get(person):
            raise InvalidRequest([FieldProblem(field="person", message=problem)])

    async def _send(
        self, verb: Verb, snapshot: EnvironmentSnapshot, update: CollaboratorInput, key: str | None
    ) -> Done:
        name = snapshot.name
        if snapshot.ended:
            message = f"{name} is gone: nobody uses it any more"
            raise Refused(Refusal(reason=RefusalReason.NOT_NOW, message=message))
        try:
            answer = await self._commands.send(verb, snapshot, update, key or secrets.token_hex(8))
        except WorkflowClosed:
            message = f"{name} has just ended: nobody uses it any more"
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


def _read_person(address: str) -> str:
    try:
        return read_email(address)
    except ValueError as error:
        raise InvalidRequest([FieldProblem(field="person", message=str(error))]) from None
