"""Puts environments to sleep and wakes them, each as an update to the workflow."""

import asyncio
import secrets
from collections.abc import Mapping

import structlog

from contracts.environment_workflow import ActorInput, Answer, SleepChangeInput
from contracts.errors import Refusal, RefusalReason
from contracts.templates.sleep import SleepPolicy, problems_within
from starter.auth.policy import Principal, Verb
from starter.environments.access import EnvironmentAccess
from starter.environments.commands import EnvironmentCommands
from starter.environments.reader import EnvironmentReader, EnvironmentSnapshot
from starter.environments.schemas import Done, DoneKind
from starter.request_errors import FieldProblem, InvalidRequest
from starter.temporal.updates import NoCapacity, Refused, WorkflowClosed

_log = structlog.get_logger(__name__)

_WHAT: Mapping[Verb, str] = {Verb.SLEEP: "to put to sleep", Verb.WAKE: "to wake"}


class EnvironmentSleep:
    """Changes whether environments sleep. A repeat with the same key is answered, not executed again."""

    def __init__(
        self, access: EnvironmentAccess, reader: EnvironmentReader, commands: EnvironmentCommands
    ) -> None:
        self._access = access
        self._reader = reader
        self._commands = commands
        self._waking: dict[str, asyncio.Task[Answer]] = {}

    async def sleep(self, name: str, principal: Principal, key: str | None, life: str | None) -> Done:
        """Put the environment to sleep.

        Raises:
            EnvironmentNotFound, NotAllowed: The principal may not.
            Refused: The environment does not accept it now.
        """
        snapshot = await self._find(Verb.SLEEP, name, principal, life)
        update = SleepChangeInput(actor=principal.email)
        answer = await self._send(Verb.SLEEP, snapshot, update, key or secrets.token_hex(8))
        return await self._done(Verb.SLEEP, snapshot, principal, answer)

    async def change_policy(
        self,
        name: str,
        policy: SleepPolicy | None,
        principal: Principal,
        key: str | None,
        life: str | None,
    ) -> Done:
        """Say when the environment falls asleep by itself; None is as its template says.

        Raises:
            EnvironmentNotFound, NotAllowed: The principal may not.
            InvalidRequest: A field is wrong, or its template does not allow it.
            Refused: The environment does not accept it now.
        """
        snapshot = await self._find(Verb.SLEEP, name, principal, life)
        if policy and snapshot.status:
            template = snapshot.status.environment.template
            problems = problems_within(policy, template.sleep, template.credentials.maximum)
            if problems:
                fields = [FieldProblem(field=field, message=words) for field, words in problems.items()]
                raise InvalidRequest(fields)
        update = SleepChangeInput(actor=principal.email, changes_policy=True, policy=policy)
        answer = await self._send(Verb.SLEEP, snapshot, update, key or secrets.token_hex(8))
        return await self._done(Verb.SLEEP, snapshot, principal, answer)

    async def wake(self, name: str, principal: Principal, key: str | None, life: str | None) -> Done:
        """Wake the environment. All who ask at once share one update.

        Raises:
            EnvironmentNotFound, NotAllowed: The principal may not.
            NoCapacity: There is no room for it now.
            Refused: The environment does not accept it now.
        """
        snapshot = await self._find(Verb.WAKE, name, principal, life)
        waking = self._waking.get(snapshot.life)
        if waking is None or key:
            update = ActorInput(actor=principal.email)
            waking = asyncio.create_task(self._send(Verb.WAKE, snapshot, update, key or secrets.token_hex(8)))
            if not key:
                self._waking[snapshot.life] = waking
                waking.add_done_callback(lambda _: self._waking.pop(snapshot.life, None))
        # Shielded, because another caller may wait for it when this one has gone.
        answer = await asyncio.shield(waking)
        return await self._done(Verb.WAKE, snapshot, principal, answer)

    async def _find(
        self, verb: Verb, name: str, principal: Principal, life: str | None
    ) -> EnvironmentSnapshot:
        snapshot = await self._access.find(name, principal, verb, life)
        if snapshot.ended:
            message = f"{name} is gone: there is nothing {_WHAT[verb]}"
            raise Refused(Refusal(reason=RefusalReason.NOT_NOW, message=message))
        return snapshot

    async def _send(self, verb: Verb, snapshot: EnvironmentSnapshot, input: ActorInput, key: str) -> Answer:
        try:
            return await self._commands.send(verb, snapshot, input, key)
        except WorkflowClosed:
            message = f"{snapshot.name} has just ended: there is nothing {_WHAT[verb]}"
            raise Refused(Refusal(reason=RefusalReason.BEING_TORN_DOWN, message=message)) from None
        except Refused as refused:
            if refused.refusal.reason in (RefusalReason.NO_ROOM, RefusalReason.OVER_QUOTA):
                raise NoCapacity(refused.refusal, next_end=None) from None
            raise

    async def _done(
        self, verb: Verb, snapshot: EnvironmentSnapshot, principal: Principal, answer: Answer
    ) -> Done:
        _log.info(
            "changed",
            environment=snapshot.name,
            life=answer.life,
            actor=principal.email,
            verb=verb,
            answer=answer.kind,
        )
        now = await self._reader.read(snapshot.name)
        return Done(
            kind=DoneKind(answer.kind),
            message=answer.message,
            name=snapshot.name,
            life=answer.life,
            environment=now.view if now and now.life == answer.life else None,
        )
