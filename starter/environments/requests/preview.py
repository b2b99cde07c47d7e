"""The preview of a request (dry run): what it would lead to. It starts nothing."""

import structlog

from contracts.capacity.models import ReservationRequest
from contracts.environment_workflow import EnvironmentStart
from contracts.errors import Refusal, RefusalReason
from contracts.types.naming import life_id
from starter.auth.policy import Principal
from starter.environments.reader import EnvironmentReader
from starter.environments.requests.planning import RequestedEnvironment, status_at_start
from starter.environments.requests.service import EnvironmentService, LeftBehind, ensure_nothing_left_behind
from starter.environments.schemas import Done, DoneKind, view_of_status
from starter.placement.advisor import PlacementAdvisor
from starter.placement.chart_check import ChartCheck
from starter.temporal.errors import NothingStarted
from starter.temporal.updates import NoCapacity, Refused

_log = structlog.get_logger(__name__)


class RequestPreview:
    """Answers dry runs; they are refused where the request would be."""

    def __init__(
        self,
        service: EnvironmentService,
        placement: PlacementAdvisor,
        chart_check: ChartCheck,
        reader: EnvironmentReader,
    ) -> None:
        self._service = service
        self._placement = placement
        self._chart_check = chart_check
        self._reader = reader

    async def preview(self, requested: RequestedEnvironment, principal: Principal, key: str) -> Done:
        """Return what the request would start or join; raise what the request would raise."""
        start = self._service.plan(requested, principal, key)
        start = await self._service.check_people(start, requested)
        reservation = await self._placement.reservation_request(start.environment)
        try:
            start, message = await self._preview(_on_host(start, reservation.hosts[0]), reservation)
        except (NoCapacity, LeftBehind) as error:
            raise await self._service.explain(error, start, principal) from None
        values = await self._chart_check.values(start.environment)
        if not start.people_are_checked:
            message += " Whether all people are known could not be checked now; it is checked first."
        _log.info("dry run", environment=requested.name, actor=principal.email)
        return Done(
            kind=DoneKind.DRY_RUN,
            message=f"{message} Nothing was started.",
            name=requested.name,
            environment=view_of_status(status_at_start(start)),
            values=values,
        )

    async def _preview(
        self, start: EnvironmentStart, reservation: ReservationRequest
    ) -> tuple[EnvironmentStart, str]:
        """Return the start with the host that it would get, and a sentence."""
        environment = start.environment
        latest = await self._reader.latest(environment.name)
        if latest and latest.closed_from_outside:
            await ensure_nothing_left_behind(self._reader, environment.name)
        if latest and not latest.ended:
            return start, await self._preview_join(start)
        previous = life_id(latest.request_id) if latest and latest.request_id else ""
        host = await self._placement.preview(reservation.model_copy(update={"ended_life": previous}))
        start = _on_host(start, host or environment.host)
        message = (
            f"{environment.name} would be made from {environment.template.name} on {start.environment.host}."
        )
        if host is None:
            # The first audit takes seconds; a real request waits for it.
            message += " Whether there is room is not known yet."
        return start, message

    async def _preview_join(self, start: EnvironmentStart) -> str:
        """Return the answer that a request for a name in use would get; raise Refused as it would."""
        environment = start.environment
        name = environment.name
        snapshot = await self._reader.read(name)
        if snapshot is None or snapshot.ended:
            return f"{name} has just ended: it would be made again."
        if snapshot.owner != environment.owner:
            raise Refused(Refusal.taken(name))
        if snapshot.view.outcome:
            message = f"{name} is being torn down: ask again when it is gone, or choose another name."
            raise Refused(Refusal(reason=RefusalReason.BEING_TORN_DOWN, message=message))
        if snapshot.status is None:
            raise NothingStarted
        wanted, given = environment.spec.model_dump(), snapshot.status.environment.spec.model_dump()
        if differing := tuple(field for field in given if wanted[field] != given[field]):
            raise Refused(Refusal.other_spec(name, differing))
        return (
            f"{name} is there already as asked for, and is {snapshot.view.phase.words}: "
            "the request would join it."
        )


def _on_host(start: EnvironmentStart, host: str) -> EnvironmentStart:
    environment = start.environment.model_copy(update={"host": host})
    return start.model_copy(update={"environment": environment})
