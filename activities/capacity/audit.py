"""The capacity audit: it compares open environments with reservations, and surveys the hosts.

It only reads. Visibility may be late, so the audit counts no reservation as over before it has described the
workflow run itself.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from temporalio import activity
from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionStatus,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from activities import activity_context
from activities.capacity.booking_audit import compare_bookings
from activities.environment_runs import (
    CALL_TIMEOUT,
    OPEN_PLACES,
    UNREADABLE_ERRORS,
    describe_latest,
    life_of,
    start_input_of,
    start_of,
)
from activities.host_worker.capacity_survey import survey_host
from activities.version_routing import wanted_versions
from clients.host.protocol import Host
from contracts.activities.fleet import CapacityActivities
from contracts.capacity.audit import AuditInput, AuditResult, ReservationList
from contracts.capacity.ledger import to_epoch_seconds
from contracts.capacity.models import (
    CAPACITY_ID,
    QUERY_RESERVATIONS,
    UPDATE_RESIZE,
    Amount,
    FoundStandby,
    HostCapacity,
    Limits,
    PlacementDecision,
    Reservation,
    ReserveResult,
    ResizeInput,
)
from contracts.capacity.reconciliation import LatestLife, ended_claims, sleep_differs
from contracts.capacity.sizes import size_of
from contracts.environment.chart_values import compose_values
from contracts.environment.models import Phase
from contracts.environment_workflow import SIGNAL_RENEW
from contracts.errors import ErrorType
from contracts.standby import STANDBY_WORKFLOW
from contracts.temporal import search_attributes, workflow_memo
from contracts.temporal.encryption_metadata import is_outdated
from contracts.temporal.worker_versions import build_id_of
from contracts.types.naming import name_from_workflow_id

#: Timeout of the query for all reservations, of which there may be thousands.
QUERY_TIMEOUT = timedelta(seconds=20)
#: Environments on one page of the list.
PAGE_SIZE = 500
#: Runs that are described concurrently: enough for hundreds a second, few enough for the server.
CONCURRENCY = 20
#: Most environments that one pass adopts: the result is a part of the history, which takes 2 MB, and each is
#: some 100 bytes.
MAX_ADOPTED = 5000
#: Most environments that continue in a new run after one audit, because all at once would be too many; the
#: next audit takes the next ones.
MAX_RENEWED = 200


@dataclass(frozen=True)
class CapacitySettings:
    """The capacity settings: the capacity of each host, the audit interval, and the quotas.

    A capacity in the settings takes precedence over what the host's cluster reports. The quotas count when
    an environment is woken. `elsewhere`: the hosts that only a worker beside them reaches.
    """

    capacities: Mapping[str, Limits] = field(default_factory=dict)
    audit: timedelta = timedelta(minutes=2)
    team_quotas: Mapping[str, Limits] = field(default_factory=dict)
    person_quota: Limits = field(default_factory=Limits)
    elsewhere: frozenset[str] = frozenset()


class CapacityAudit(CapacityActivities):
    """Audits through a Temporal client and the host clients."""

    def __init__(self, temporal: Client, hosts: Mapping[str, Host], admission: CapacitySettings) -> None:
        self._temporal = temporal
        self._hosts = hosts
        self._admission = admission

    @activity.defn(name="capacity.audit")
    async def audit(self, input: AuditInput) -> AuditResult:
        """Compare the reservations with the open environments, and return only the differences."""
        names = dict.fromkeys((*self._hosts, *sorted(self._admission.elsewhere)))
        rooms = await asyncio.gather(*map(self._survey, names))
        answer = await self._temporal.get_workflow_handle(CAPACITY_ID).query(
            QUERY_RESERVATIONS, result_type=ReservationList, rpc_timeout=QUERY_TIMEOUT
        )
        held = {holding.name: holding for holding in answer.reservations}
        activity_context.report_progress(f"{len(held)} held; listing what is open")
        versions = await wanted_versions(self._temporal, CALL_TIMEOUT)
        listed, from_memo, outdated, standbys = await self._list_open(held, versions)
        ended: list[tuple[str, str, int]] = []
        moved_ends: list[tuple[str, int]] = []
        slept: list[tuple[str, bool, int]] = []
        unaccounted: list[str] = []
        unlisted: list[Reservation] = []
        for holding in held.values():
            latest = listed.get(holding.name)
            if latest is None or latest.life not in holding.lives:
                unlisted.append(holding)
                continue
            ended += ended_claims(holding, latest, input.now)
            if latest.host != holding.host or latest.owner not in ("", holding.owner):
                unaccounted.append(holding.name)
            if sleep_differs(holding, latest, input.now):
                slept.append((holding.name, not holding.asleep, holding.changed))
            moved_ends += [(holding.name, latest.ends)] if latest.ends not in (0, holding.ends) else []
        bookings = await compare_bookings(
            self._temporal, answer.bookings, input.now, lambda run: self._is_to_renew(run, versions)
        )
        outdated += bookings.outdated
        await activity_context.call_each(self._renew, outdated[:MAX_RENEWED], concurrency=CONCURRENCY)
        activity_context.report_progress(f"asking for {len(unlisted)} that are held and not listed as open")
        for holding, latest in zip(
            unlisted,
            await activity_context.call_each(self._describe_latest, unlisted, concurrency=CONCURRENCY),
            strict=True,
        ):
            if latest and not latest.life:
                continue  # The life cannot be read any more, so the reservation stays.
            ended += ended_claims(holding, latest, input.now)
            if latest and latest.open and latest.life not in holding.lives:
                unaccounted.append(holding.name)
        unaccounted += [name for name in listed if name not in held]
        activity_context.report_progress(f"taking up {len(unaccounted)} that hold nothing, or something else")
        adopting = unaccounted[:MAX_ADOPTED]
        read = await activity_context.call_each(
            self._read_reservation,
            [name for name in adopting if name not in from_memo],
            concurrency=CONCURRENCY,
        )
        adopted = [*(from_memo[name] for name in adopting if name in from_memo), *read]
        is_partial = len(unaccounted) > MAX_ADOPTED
        return AuditResult(
            hosts=tuple(rooms),
            ended_claims=tuple(ended),
            adopted=tuple(filter(None, adopted)),
            moved_ends=tuple(moved_ends),
            slept=tuple(slept),
            is_partial=is_partial,
            standbys=tuple(standbys[name] for name in adopting if name in standbys),
            needs_renewal=await self._is_outdated(),
            bookings=bookings.adopted,
            ended_bookings=bookings.ended,
            next_audit_in=_next_interval(rooms, self._admission.audit),
        )

    @activity.defn(name="capacity.resize")
    async def resize(self, input: ResizeInput) -> PlacementDecision:
        """Ask the capacity workflow; a refusal is a decision and not an error."""
        capacity = self._temporal.get_workflow_handle(CAPACITY_ID)
        try:
            result: ReserveResult = await capacity.execute_update(
                UPDATE_RESIZE, input, result_type=ReserveResult, rpc_timeout=CALL_TIMEOUT
            )
        except WorkflowUpdateFailedError as error:
            cause = error.cause
            if not isinstance(cause, ApplicationError) or cause.type != ErrorType.REQUEST_REFUSED:
                raise
            result = ReserveResult.model_validate(cause.details[0])
        return result.decisions[0]

    async def _survey(self, name: str) -> HostCapacity:
        """Return what the host has, or what the settings say of it if only its own worker can ask it."""
        configured = self._admission.capacities.get(name, Limits())
        if host := self._hosts.get(name):
            return await survey_host(host, configured)
        is_complete = configured.cpu is not None and configured.memory is not None
        return HostCapacity(
            name=name,
            total=configured,
            known=is_complete,
            remark="the worker beside it does not say what it has",
            is_elsewhere=True,
        )

    async def _list_open(
        self, held: Mapping[str, Reservation], versions: Collection[str]
    ) -> tuple[dict[str, LatestLife], dict[str, Reservation], list[str], dict[str, FoundStandby]]:
        """List what visibility says is open.

        Returns the latest life by name, the reservations of those that have none yet (where the memo has the
        data), the ids of the workflows that are encrypted with a former key, or pinned to workers of a former
        version, and the standbys without a reservation. A standby that leaves has given its room away.
        """
        outdated: list[str] = []
        found: dict[str, LatestLife] = {}
        from_memo: dict[str, Reservation] = {}
        standbys: dict[str, FoundStandby] = {}
        runs = self._temporal.list_workflows(OPEN_PLACES, page_size=PAGE_SIZE, rpc_timeout=CALL_TIMEOUT)
        async for run in runs:
            if len(found) % PAGE_SIZE == 0:
                activity_context.raise_if_stopping()
            name = name_from_workflow_id(run.id)
            latest = await _latest_of(run, is_open=True)
            has_room = name in held and bool(held[name].held.environments)
            if run.workflow_type == STANDBY_WORKFLOW and not has_room:
                if (standby := await _standby_of(run, latest)) is None:
                    continue
                standbys[name] = standby
            found[name] = latest
            if name not in held and (holding := await _reservation_from_memo(run, found[name])):
                from_memo[name] = holding
            if self._is_to_renew(run, versions):
                outdated.append(run.id)
        return found, from_memo, outdated, standbys

    def _is_to_renew(self, run: WorkflowExecution, versions: Collection[str]) -> bool:
        codec = self._temporal.data_converter.payload_codec
        is_pinned_elsewhere = bool(versions) and build_id_of(run.typed_search_attributes) not in versions
        return is_pinned_elsewhere or any(
            is_outdated(payload, codec) for payload in run.raw_info.memo.fields.values()
        )

    async def _renew(self, workflow_id: str) -> None:
        """Signal the workflow to continue in a new run; ignore one that has just ended."""
        try:
            await self._temporal.get_workflow_handle(workflow_id).signal(
                SIGNAL_RENEW, rpc_timeout=CALL_TIMEOUT
            )
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise

    async def _is_outdated(self) -> bool:
        """Return whether the capacity workflow's own run was started under a former key."""
        codec = self._temporal.data_converter.payload_codec
        try:
            payloads = await start_input_of(self._temporal, CAPACITY_ID)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        return any(is_outdated(payload, codec) for payload in payloads)

    async def _describe_latest(self, holding: Reservation) -> LatestLife | None:
        """Return the latest life of a name, from the workflow's own record and not from the list."""
        run = await describe_latest(self._temporal, holding.name)
        return await _latest_of(run, is_open=run.status is WorkflowExecutionStatus.RUNNING) if run else None

    async def _read_reservation(self, name: str) -> Reservation | None:
        """Return what the open life of a name reserves, from its start input; None if it is over.

        It does not query the workflow, because then a worker would load each of thousands.
        """
        run = await describe_latest(self._temporal, name)
        if run is None or run.status is not WorkflowExecutionStatus.RUNNING:
            return None
        try:
            start = await start_of(self._temporal, run)
            size = size_of(start.environment.template.size, compose_values(start.environment))
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise
        except UNREADABLE_ERRORS as error:
            activity.logger.warning("what %s holds is unknown (%s)", name, type(error).__name__)
            return None
        environment = start.environment
        ends = (
            run.typed_search_attributes.get(search_attributes.EXPIRES_AT) or run.start_time + environment.ttl
        )
        return Reservation(
            name=name,
            # Not the owner of then: it may have been transferred.
            owner=run.typed_search_attributes.get(search_attributes.OWNER) or environment.owner,
            team=environment.spec.team,
            template=environment.template.name,
            host=environment.host,
            size=size,
            ends=to_epoch_seconds(ends),
            claims=((environment.mark.life, to_epoch_seconds(run.start_time)),),
            asleep=bool(_is_asleep(run)),
            booking=environment.booking.life if environment.booking else "",
        )


async def _latest_of(run: WorkflowExecution, *, is_open: bool) -> LatestLife:
    """Return the life of a run; its `life` is "" if that cannot be read.

    The audit continues with the others in that case.
    """
    ends: datetime | None = run.typed_search_attributes.get(search_attributes.EXPIRES_AT)
    return LatestLife(
        life=await life_of(run),
        open=is_open,
        host=run.typed_search_attributes.get(search_attributes.HOST) or "",
        owner=run.typed_search_attributes.get(search_attributes.OWNER) or "",
        ends=to_epoch_seconds(ends) if ends else 0,
        asleep=_is_asleep(run),
    )


async def _reservation_from_memo(run: WorkflowExecution, latest: LatestLife) -> Reservation | None:
    """Return what a listed run reserves, from its memo and search attributes.

    None if the memo cannot be read, or another client of Temporal has written it without the data.
    """
    size: list[int] = []
    booking = ""
    with suppress(*UNREADABLE_ERRORS):
        size = await run.memo_value(workflow_memo.SIZE, [], type_hint=list[int])
        booking = await run.memo_value(workflow_memo.BOOKING, "", type_hint=str)
    attributes = run.typed_search_attributes
    owner, team = attributes.get(search_attributes.OWNER), attributes.get(search_attributes.TEAM)
    template = attributes.get(search_attributes.TEMPLATE)
    is_standby = run.workflow_type == STANDBY_WORKFLOW
    if not (size and latest.life and latest.host and latest.ends and template):
        return None
    if not (is_standby or (owner and team)):
        return None
    return Reservation(
        name=name_from_workflow_id(run.id),
        owner=owner or "",
        team=team or "",
        template=template,
        host=latest.host,
        size=Amount(environments=1, cpu=size[0], memory=size[1]),
        ends=latest.ends,
        claims=((latest.life, to_epoch_seconds(run.start_time)),),
        asleep=bool(latest.asleep),
        booking=booking,
    )


async def _standby_of(run: WorkflowExecution, latest: LatestLife) -> FoundStandby | None:
    """Return a standby as its run tells; None if it ends, or if that cannot be read."""
    pool = ""
    with suppress(*UNREADABLE_ERRORS):
        pool = await run.memo_value(workflow_memo.POOL, "", type_hint=str)
    phase = run.typed_search_attributes.get(search_attributes.PHASE)
    if not (pool and latest.life) or phase not in (Phase.PROVISIONING, Phase.USABLE):
        return None
    name = name_from_workflow_id(run.id)
    return FoundStandby(name=name, life=latest.life, pool=pool, is_ready=phase == Phase.USABLE)


def _is_asleep(run: WorkflowExecution) -> bool | None:
    """Return whether the environment holds no CPU and no memory; None where its phase does not say."""
    phase = run.typed_search_attributes.get(search_attributes.PHASE)
    return None if phase in (None, Phase.FALLING_ASLEEP) else phase == Phase.ASLEEP


#: Interval while a host has not reported its capacity: no environment can be placed there, so it is asked
#: again soon.
_INTERVAL_OF_UNKNOWN_CAPACITY = timedelta(seconds=15)


def _next_interval(rooms: Iterable[HostCapacity], usual: timedelta) -> timedelta:
    # The workflow itself asks the workers of other hosts, after this audit.
    is_known = all(room.known or room.is_elsewhere for room in rooms)
    return usual if is_known else min(usual, _INTERVAL_OF_UNKNOWN_CAPACITY)
