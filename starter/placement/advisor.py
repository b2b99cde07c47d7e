"""Placement of a request: its capacity request, what it would get now, and what would fit instead."""

from collections.abc import Iterable
from datetime import UTC, datetime

from contracts.capacity.models import Amount, Limits, Quotas, ReservationRequest
from contracts.capacity.sizes import size_of
from contracts.capacity.warm_pools import pool_key
from contracts.environment.chart_values import compose_values
from contracts.environment.models import Environment
from contracts.errors import RefusalReason
from contracts.expiry import format_utc
from contracts.templates.template import Template
from starter.installation_settings import InstallationConfig
from starter.placement.candidates import candidate_hosts
from starter.placement.chart_check import ChartCheck
from starter.placement.reservations import Reservations
from starter.request_errors import FieldProblem, InvalidRequest
from starter.temporal.errors import NoWorker
from starter.temporal.updates import NoCapacity

#: Templates that the advice names: a user needs only one, and does not read dozens.
MAX_SUGGESTED_TEMPLATES = 3


class PlacementAdvisor:
    """Derives the capacity request of an environment, and adds advice to a refusal."""

    def __init__(
        self, installation: InstallationConfig, chart_check: ChartCheck, reservations: Reservations
    ) -> None:
        self._installation = installation
        self._chart_check = chart_check
        self._reservations = reservations

    async def reservation_request(self, environment: Environment) -> ReservationRequest:
        """Return the capacity request for the hosts that accept the environment's template.

        Raises:
            InvalidRequest: No candidate host accepts the template.
        """
        hosts: list[str] = []
        first_error: InvalidRequest | None = None
        for host in candidate_hosts(environment.template, environment.spec.host, self._installation):
            try:
                await self._chart_check.values(environment.model_copy(update={"host": host}))
            except InvalidRequest as error:
                first_error = first_error or error
            else:
                hosts.append(host)
        if first_error and not hosts:
            raise first_error
        return self._reservation_request(environment, environment.template, tuple(hosts))

    def reservation_of(self, environment: Environment) -> ReservationRequest:
        """Return the capacity request of an environment that has its place, with the limits of its owner."""
        return self._reservation_request(environment, environment.template, (environment.host,))

    async def preview(self, request: ReservationRequest) -> str | None:
        """Return the host that the request would get now; None before the first audit of reservations.

        Raises:
            NoCapacity: No host has room for it.
            NothingStarted: No worker answers, so that the request would not be started either.
        """
        for decision in await self._reservations.preview([request]):
            if decision.refusal:
                raise NoCapacity(decision.refusal, decision.next_end)
            return decision.host
        return None

    async def with_advice(
        self, refused: NoCapacity, environment: Environment, offered: Iterable[Template]
    ) -> NoCapacity:
        """Return the refusal with advice: templates that would fit, and when the next environment ends."""
        if refused.refusal.reason is RefusalReason.NOT_KNOWN:
            return refused
        fits = await self._fitting_templates(environment, offered)
        advice = [f"{' or '.join(fits)} would fit."] if fits else []
        if refused.next_end:
            advice.append(f"The next one that is in the way ends {format_utc(refused.next_end)}.")
        elif not fits:
            advice.append("Nothing ends that would make room: tell the platform team.")
        message = " ".join([refused.refusal.message, *advice])
        return NoCapacity(refused.refusal.model_copy(update={"message": message}), refused.next_end, fits)

    async def _fitting_templates(
        self, environment: Environment, offered: Iterable[Template]
    ) -> tuple[str, ...]:
        """Return the smaller templates that would get a place now, the largest first."""
        wanted = _size(environment, environment.template)
        smaller: list[ReservationRequest] = []
        for template in (one.with_samples for one in offered):
            hosts = candidate_hosts(template, environment.spec.host, self._installation)
            is_for_team = not template.teams or environment.spec.team in template.teams
            if is_for_team and hosts and _is_smaller(_size(environment, template), wanted):
                smaller.append(self._reservation_request(environment, template, hosts))
        try:
            decisions = await self._reservations.preview(smaller) if smaller else ()
        except NoWorker:
            return ()
        fitting = [request for request, decision in zip(smaller, decisions, strict=False) if decision.host]
        fitting.sort(key=lambda request: (request.size.cpu, request.size.memory), reverse=True)
        return tuple(request.template for request in fitting[:MAX_SUGGESTED_TEMPLATES])

    def _reservation_request(
        self, environment: Environment, template: Template, hosts: tuple[str, ...]
    ) -> ReservationRequest:
        team = environment.spec.team
        return ReservationRequest(
            name=environment.name,
            life=environment.mark.life,
            owner=environment.owner,
            team=team,
            template=template.name,
            size=_size(environment, template),
            hosts=hosts,
            ends_at=datetime.now(UTC) + environment.ttl,
            pool=pool_key(environment.model_copy(update={"template": template})) if template.warm else "",
            quotas=Quotas(
                person=self._installation.person_quota,
                team=self._installation.team_quotas.get(team, Limits()),
                template_person=Limits(environments=template.quota.per_person),
                template_team=Limits(environments=template.quota.per_team),
            ),
        )


def _size(environment: Environment, template: Template) -> Amount:
    """Return the capacity that the template needs; raise InvalidRequest for invalid quantities."""
    try:
        return size_of(template.size, compose_values(environment.model_copy(update={"template": template})))
    except ValueError as error:
        message = f'"{template.name}" cannot be made: {error}'
        raise InvalidRequest([FieldProblem(field="template", message=message)]) from None


def _is_smaller(size: Amount, than: Amount) -> bool:
    return size != than and size.cpu <= than.cpu and size.memory <= than.memory
