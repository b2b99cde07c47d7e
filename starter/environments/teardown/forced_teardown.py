"""Forced teardown of a life whose workflow was closed from outside, by names and owner marks only.

A new run does it. It uses nothing that the closed run recorded except who the environment was for: it treats
every step as one that may have left resources, and the inspection decides. For a life that Temporal has
forgotten, `starter.environments.teardown.forgotten_life` makes up for the record.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from temporalio.client import Client
from temporalio.exceptions import WorkflowAlreadyStartedError

from contracts.environment.models import EnvironmentStatus, Phase
from contracts.environment_workflow import EnvironmentStart
from contracts.errors import Refusal, RefusalReason
from contracts.recovery_starts import forced_start
from contracts.types.naming import is_name, workflow_id
from starter.auth.policy import Principal, Role, Verb
from starter.environments.access import EnvironmentAccess, EnvironmentNotFound
from starter.environments.life_archive import LifeRecords
from starter.environments.reader import EnvironmentReader, EnvironmentSnapshot
from starter.environments.schemas import Done, DoneKind
from starter.environments.teardown.forgotten_life import CannotPlan, plan_without_run
from starter.environments.teardown.leftover_search import MarkSearch
from starter.environments.workflow_start import start_environment
from starter.installation_settings import InstallationConfig
from starter.temporal.errors import CALL_TIMEOUT, map_rpc_errors
from starter.temporal.updates import Refused
from worker.codec import DecodeError
from worker.data_converter import converter_at

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Remains:
    """A life without a run, as far as it is known."""

    before: EnvironmentStart
    status: EnvironmentStatus | None
    requested_at: datetime
    message: str


class ForcedTeardown:
    """Starts forced teardowns for the platform team."""

    def __init__(
        self,
        client: Client,
        access: EnvironmentAccess,
        reader: EnvironmentReader,
        records: LifeRecords,
        marks: MarkSearch,
        installation: InstallationConfig,
    ) -> None:
        self._client = client
        self._access = access
        self._reader = reader
        self._records = records
        self._marks = marks
        self._installation = installation

    async def start(
        self, name: str, principal: Principal, life: str | None, *, host: str | None, dry_run: bool
    ) -> Done:
        """Start the teardown; answer NOTHING_TO_DO if the name has a run, as it can have only one.

        Raises:
            EnvironmentNotFound, NotAllowed: The principal may not.
            Refused: Its own workflow runs, or has taken it down, or more has to be known.
        """
        if principal.role is not Role.PLATFORM:
            await self._access.find(name, principal, Verb.FORCE_TEARDOWN, life)
        snapshot = await self._read(name) if is_name(name) else None
        if snapshot and not snapshot.ended:
            raise _refused(f"{name} is {snapshot.view.phase.words} and its own workflow runs: use delete")
        if snapshot and snapshot.view.phase is Phase.ORPHANED and life in (None, snapshot.life):
            remains = await self._remains_of_run(snapshot)
        else:
            remains = await self._remains_by_marks(name, snapshot, principal, life, host)
        found = remains.before.environment.mark.life
        if dry_run:
            view = snapshot.view if snapshot and snapshot.life == found else None
            message = remains.message
            return Done(kind=DoneKind.DRY_RUN, message=message, name=name, life=found, environment=view)
        start = forced_start(
            remains.before,
            remains.status,
            principal.email,
            timeouts=self._installation.timeouts,
            requested_at=remains.requested_at,
        )
        try:
            await start_environment(self._client, start)
        except WorkflowAlreadyStartedError:
            kind = DoneKind.NOTHING_TO_DO
            message = f"{name} has a run again, and nothing was started: look at it."
        else:
            kind = DoneKind.ACCEPTED
            message = f"What is left of {name} is being torn down, by the marks of life {found}."
        _log.info("teardown forced", environment=name, life=found, actor=principal.email, answer=kind)
        now = await self._read(name)
        return Done(kind=kind, message=message, name=name, life=found, environment=now.view if now else None)

    async def _read(self, name: str) -> EnvironmentSnapshot | None:
        """Return the latest run; None also if it cannot be read, because its key is lost or it is forged.

        If such a run is open, no other one is started.
        """
        try:
            return await self._reader.read(name)
        except DecodeError:
            return None

    async def _remains_of_run(self, snapshot: EnvironmentSnapshot) -> _Remains:
        before = await read_start(self._client, snapshot.run_id, snapshot.name)
        message = (
            f"Removes all that bears the marks of {snapshot.name} (life {snapshot.life}) in every system, "
            f"on host {before.environment.host}."
        )
        return _Remains(before, snapshot.status, snapshot.view.requested_at, message)

    async def _remains_by_marks(
        self,
        name: str,
        snapshot: EnvironmentSnapshot | None,
        principal: Principal,
        life: str | None,
        host: str | None,
    ) -> _Remains:
        if not is_name(name):
            raise EnvironmentNotFound(name)
        marks = await self._marks.find(name)
        if snapshot and not marks.lives and life in (None, snapshot.life):
            raise _refused(f"{name} is gone, and its certificate says that nothing is left")
        if snapshot and life and life not in marks.lives and host is None:
            message = (
                f"the last life of {name} is {snapshot.life}, and nothing was found that bears marks of the "
                "life that is meant: look at it, or name its host as well"
            )
            raise Refused(Refusal(reason=RefusalReason.OTHER_LIFE, message=message))
        records = await self._records.of_name(name, principal, Verb.FORCE_TEARDOWN)
        try:
            plan = plan_without_run(
                name, marks, records[::-1], self._installation, life=life, host=host, now=datetime.now(UTC)
            )
        except CannotPlan as problem:
            raise _refused(str(problem)) from None
        return _Remains(plan.before, None, plan.requested_at, plan.message)


async def read_start(client: Client, run_id: str, name: str) -> EnvironmentStart:
    """Return the input of a run from the first event of its history; needs no worker.

    Raises:
        DecodeError: The input cannot be decrypted, or Moorage did not write it.
    """
    handle = client.get_workflow_handle(workflow_id(name), run_id=run_id)
    with map_rpc_errors():
        events = handle.fetch_history_events(page_size=1, rpc_timeout=CALL_TIMEOUT)
        first = await anext(events)
    payloads = first.workflow_execution_started_event_attributes.input.payloads
    converter = converter_at(client, workflow_id(name))
    [start] = await converter.decode(payloads, [EnvironmentStart])
    if not isinstance(start, EnvironmentStart):
        raise DecodeError(f"what environment {name} was started with is not ours")
    return start


def _refused(message: str) -> Refused:
    return Refused(Refusal(reason=RefusalReason.NOT_NOW, message=message))
