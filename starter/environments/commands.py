"""Changes to environments, each as an update to the workflow: their ends, and snapshots."""

import hashlib
import secrets
from collections.abc import Mapping
from typing import Any

import structlog
from temporalio.client import Client, WorkflowHandle

from contracts.environment.models import Phase
from contracts.environment_workflow import (
    ActorInput,
    Answer,
    ChangeTemplateInput,
    CollaboratorInput,
    ExtendInput,
    RestoreInput,
    TransferInput,
)
from contracts.errors import Refusal, RefusalReason
from contracts.types.naming import workflow_id
from starter.auth.policy import Principal, Verb
from starter.environments.access import EnvironmentAccess
from starter.environments.reader import EnvironmentReader, EnvironmentSnapshot
from starter.environments.schemas import Done, DoneKind
from starter.temporal.errors import SHORT_UPDATE_TIMEOUT, UPDATE_TIMEOUT
from starter.temporal.updates import Refused, WorkflowClosed, map_update_errors, send_until_taken
from workflows.environment.workflow import EnvironmentWorkflow

_UPDATES: Mapping[Verb, Any] = {
    Verb.DELETE: EnvironmentWorkflow.delete,
    Verb.CANCEL: EnvironmentWorkflow.cancel,
    Verb.RESUME_TEARDOWN: EnvironmentWorkflow.resume_teardown,
    Verb.EXTEND: EnvironmentWorkflow.extend,
    Verb.SLEEP: EnvironmentWorkflow.sleep,
    Verb.WAKE: EnvironmentWorkflow.wake,
    Verb.COLLABORATORS: EnvironmentWorkflow.change_collaborators,
    Verb.TRANSFER: EnvironmentWorkflow.transfer,
    Verb.RESIZE: EnvironmentWorkflow.change_template,
    Verb.UPGRADE: EnvironmentWorkflow.change_template,
    Verb.SNAPSHOT: EnvironmentWorkflow.snapshot,
    Verb.RESTORE: EnvironmentWorkflow.restore,
}
#: The inputs of the updates that callers send.
UpdateInput = ActorInput | ExtendInput | CollaboratorInput | TransferInput | ChangeTemplateInput

_log = structlog.get_logger(__name__)


class EnvironmentCommands:
    """Changes environments for callers. A repeat with the same key is answered and not executed again."""

    def __init__(self, client: Client, access: EnvironmentAccess, reader: EnvironmentReader) -> None:
        self._client = client
        self._access = access
        self._reader = reader

    async def end(
        self, verb: Verb, name: str, principal: Principal, key: str | None, life: str | None
    ) -> Done:
        """Delete the environment, cancel its provisioning, or resume its teardown.

        Raises:
            EnvironmentNotFound, NotAllowed: The principal may not.
            Refused: The environment does not accept it now.
        """
        snapshot = await self._access.find(name, principal, verb, life)
        if snapshot.ended:
            return _answer_ended(snapshot, verb)
        if verb is Verb.RESUME_TEARDOWN:
            # Each call without a key is another attempt.
            key = key or secrets.token_hex(8)
        try:
            answer = await self.send(verb, snapshot, ActorInput(actor=principal.email), key or "")
        except WorkflowClosed:
            # It ended meanwhile. A run that has its name now is another life, which is not meant.
            snapshot = await self._access.find(name, principal, verb)
            if not snapshot.ended:
                raise
            return _answer_ended(snapshot, verb)
        _log.info(
            "changed",
            environment=name,
            life=answer.life,
            actor=principal.email,
            verb=verb,
            answer=answer.kind,
        )
        return Done(
            kind=DoneKind(answer.kind),
            message=answer.message,
            name=name,
            life=answer.life,
            environment=snapshot.view,
        )

    async def extend(
        self, name: str, principal: Principal, extension: ExtendInput, key: str | None, life: str | None
    ) -> Done:
        """Move the end of the environment.

        Raises:
            EnvironmentNotFound, NotAllowed: The principal may not.
            Refused: The policy does not allow it, or the environment has ended.
        """
        verb = Verb.EXTEND_BEYOND if extension.override else Verb.EXTEND
        snapshot = await self._access.find(name, principal, verb, life)
        if snapshot.ended:
            raise Refused(Refusal(reason=RefusalReason.NOT_NOW, message=f"{name} is gone: nothing to extend"))
        try:
            answer = await self.send(Verb.EXTEND, snapshot, extension, key or secrets.token_hex(8))
        except WorkflowClosed:
            message = f"{name} has just ended: nothing to extend"
            raise Refused(Refusal(reason=RefusalReason.BEING_TORN_DOWN, message=message)) from None
        _log.info(
            "extended",
            environment=name,
            life=answer.life,
            actor=principal.email,
            override=extension.override,
            reason=extension.reason,
        )
        now = await self._reader.read(name)
        return Done(
            kind=DoneKind(answer.kind),
            message=answer.message,
            name=name,
            life=answer.life,
            environment=now.view if now and now.life == answer.life else None,
        )

    async def take_snapshot(self, name: str, principal: Principal, key: str | None, life: str | None) -> Done:
        """Take a snapshot of the objects in the environment.

        Raises:
            EnvironmentNotFound, NotAllowed: The principal may not.
            Refused: Its vCluster takes none, or not now.
        """
        update = ActorInput(actor=principal.email)
        return await self._change_objects(
            Verb.SNAPSHOT, "take a snapshot of", name, principal, update, key, life
        )

    async def restore(
        self, name: str, principal: Principal, number: int | None, key: str | None, life: str | None
    ) -> Done:
        """Restore a snapshot of the environment; None is the last one.

        Raises:
            EnvironmentNotFound, NotAllowed: The principal may not.
            Refused: It has no such snapshot, or not now.
        """
        update = RestoreInput(actor=principal.email, number=number)
        return await self._change_objects(Verb.RESTORE, "restore", name, principal, update, key, life)

    async def _change_objects(
        self,
        verb: Verb,
        what: str,
        name: str,
        principal: Principal,
        update: ActorInput,
        key: str | None,
        life: str | None,
    ) -> Done:
        seen = await self._access.find(name, principal, verb, life)
        if seen.ended:
            message = f"{name} is gone: there is nothing to {what}"
            raise Refused(Refusal(reason=RefusalReason.NOT_NOW, message=message))
        try:
            answer = await self.send(verb, seen, update, key or secrets.token_hex(8))
        except WorkflowClosed:
            message = f"{name} has just ended: there is nothing to {what}"
            raise Refused(Refusal(reason=RefusalReason.BEING_TORN_DOWN, message=message)) from None
        _log.info("changed", environment=name, life=answer.life, actor=principal.email, verb=verb)
        now = await self._reader.read(name)
        return Done(
            kind=DoneKind(answer.kind),
            message=answer.message,
            name=name,
            life=answer.life,
            environment=now.view if now and now.life == answer.life else None,
        )

    async def send(self, verb: Verb, snapshot: EnvironmentSnapshot, input: UpdateInput, key: str) -> Answer:
        """Send the update of the verb to the life of the snapshot; raise WorkflowClosed if that has ended."""
        input = input.model_copy(update={"life": snapshot.life})
        try:
            return await send_update(
                self._client,
                _UPDATES[verb],
                input,
                name=snapshot.name,
                # The name may now belong to the next life, which may have another owner.
                first_run_id=snapshot.first_run_id,
                # The id contains the life, so that the same request for a later life is not a repeat.
                id="/".join(filter(None, (snapshot.life, verb, key and _repeat_key(input, key)))),
                is_worker_known=snapshot.status is not None,
            )
        finally:
            self._reader.note_change()


async def send_update(
    client: Client,
    update: Any,
    input: Any,
    *,
    name: str,
    first_run_id: str,
    id: str,
    is_worker_known: bool = True,
) -> Answer:
    """Send an update to one life of an environment, and return its answer.

    Args:
        client: The client of Temporal.
        update: The update of EnvironmentWorkflow; Any because mypy rejects an `async def` update with a
            validator against the SDK's types.
        input: The input of the update.
        name: The name of the environment.
        first_run_id: The first run of the life.
        id: The id of the update; the workflow answers a repeat of it as before.
        is_worker_known: False if no worker has answered a moment ago; then the wait is short.

    Raises:
        Refused: The workflow refuses the update.
        WorkflowClosed: The life has ended.
        NoWorker: No worker has answered in time.
        TemporalUnavailable: Temporal does not answer, or refuses the call.
    """
    handle: WorkflowHandle[EnvironmentWorkflow, Any] = client.get_workflow_handle_for(
        EnvironmentWorkflow.run, workflow_id(name), first_execution_run_id=first_run_id
    )
    async with map_update_errors(UPDATE_TIMEOUT if is_worker_known else SHORT_UPDATE_TIMEOUT):
        answer: Answer = await send_until_taken(lambda: handle.execute_update(update, input, id=id))
        return answer


def _repeat_key(input: UpdateInput, key: str) -> str:
    """Return the hash that identifies a repeat: the same person, input and key."""
    content = f"{key} {input.model_dump_json()}"
    return hashlib.sha256(content.encode()).hexdigest()[:20]


def _answer_ended(snapshot: EnvironmentSnapshot, verb: Verb) -> Done:
    name = snapshot.name
    if verb is Verb.RESUME_TEARDOWN:
        message = f"{name} is gone: nothing to resume"
        raise Refused(Refusal(reason=RefusalReason.NOT_NOW, message=message))
    if snapshot.view.phase is Phase.ORPHANED:
        raise Refused(Refusal(reason=RefusalReason.LEFT_BEHIND, message=snapshot.view.remark))
    return Done(
        kind=DoneKind.NOTHING_TO_DO,
        message=f"{name} is gone already. {snapshot.view.remark}".strip(),
        name=name,
        life=snapshot.life,
        environment=snapshot.view,
    )
