"""Derives the capacity request of an environment: candidate hosts, its size, and templates that would fit."""

from collections.abc import Iterable

from contracts.capacity.models import Amount, Limits, Quotas, ReservationRequest, size_of
from contracts.chart_values import compose
from contracts.environment import Environment
from contracts.environment_workflow import EnvironmentStart
from contracts.errors import RefusalReason
from contracts.expiry import format_utc
from contracts.template import Template
from starter.environments.planning import (
    FieldProblem,
    InstallationConfig,
    NotValid,
    candidates,
    status_at_start,
)
from starter.placement.chart_check import ChartCheck
from starter.placement.reservations import Reservations
from starter.temporal.errors import NoWorker
from starter.temporal.updates import NoCapacity

#: Templates that the advice names: a user needs only one, and does not read dozens.
MOST_NAMED = 3


class PlacementAdvisor:
    """Turns the start of an environment into a capacity request, and adds advice to a refusal."""

    def __init__(self, house: InstallationConfig, fitting: ChartCheck, reservations: Reservations) -> None:
        self._house = house
        self._fitting = fitting
        self._reservations = reservations

    async def ask(self, start: EnvironmentStart) -> ReservationRequest:
        """Return the capacity request for the hosts that accept the template.

        Raises:
            NotValid: No candidate host accepts the template.
        """
        environment = start.environment
        hosts, why = [], None
        for host in candidates(environment.template, environment.spec.host, self._house):
            try:
                await self._fitting.values(environment.model_copy(update={"host": host}))
            except NotValid as error:
                why = why or error
            else:
                hosts.append(host)
        if why and not hosts:
            raise why
        return _ask(start, environment.template, tuple(hosts), self._house)

    async def would(self, ask: ReservationRequest) -> str | None:
        """Return the host that the request would get now; None before it is known who holds what.

        Raises:
            NoCapacity: No host has room for it.
            NothingStarted: No worker answers, so that the request would not be started either.
        """
        for verdict in await self._reservations.would([ask]):
            if verdict.refusal:
                raise NoCapacity(verdict.refusal, verdict.next_end)
            return verdict.host
        return None

    async def advised(
        self, refused: NoCapacity, start: EnvironmentStart, offered: Iterable[Template]
    ) -> NoCapacity:
        """Return the refusal with advice: templates that would fit, and the next end.

        `next_end` of the refusal is when the next environment that is in the way ends.
        """
        if refused.refusal.reason is RefusalReason.NOT_KNOWN:
            return refused
        environment = start.environment
        wanted = _size(environment, environment.template)
        smaller = []
        for template in offered:
            hosts = candidates(template, environment.spec.host, self._house)
            is_for_team = not template.teams or environment.spec.team in template.teams
            if is_for_team and hosts and _is_smaller(_size(environment, template), wanted):
                smaller.append(_ask(start, template, hosts, self._house))
        try:
            verdicts = await self._reservations.would(smaller) if smaller else ()
        except NoWorker:
            verdicts = ()
        found = [ask for ask, verdict in zip(smaller, verdicts, strict=False) if verdict.host]
        found.sort(key=lambda ask: (ask.size.cpu, ask.size.memory), reverse=True)
        fits = tuple(ask.template for ask in found[:MOST_NAMED])
        advice = [f"{' or '.join(fits)} would fit."] if fits else []
        if refused.next_end:
            advice.append(f"The next one that is in the way ends {format_utc(refused.next_end)}.")
        elif not fits:
            advice.append("Nothing ends that would make room: tell the platform team.")
        refusal = refused.refusal
        message = " ".join([refusal.message, *advice])
        return NoCapacity(refusal.model_copy(update={"message": message}), refused.next_end, fits)


def _ask(
    start: EnvironmentStart, template: Template, hosts: tuple[str, ...], house: InstallationConfig
) -> ReservationRequest:
    environment = start.environment
    team = environment.spec.team
    return ReservationRequest(
        name=environment.name,
        life=environment.mark.life,
        owner=environment.owner,
        team=team,
        template=template.name,
        size=_size(environment, template),
        hosts=hosts,
        ends_at=status_at_start(start).expires_at,
        quotas=Quotas(
            person=house.person_quota,
            team=house.team_quotas.get(team, Limits()),
            template_person=Limits(environments=template.quota.per_person),
            template_team=Limits(environments=template.quota.per_team),
        ),
    )


def _size(environment: Environment, template: Template) -> Amount:
    """Return the capacity that the template needs; raise NotValid for invalid quantities."""
    try:
        return size_of(template.size, compose(environment.model_copy(update={"template": template})))
    except ValueError as error:
        message = f'"{template.name}" cannot be made: {error}'
        raise NotValid([FieldProblem(field="template", message=message)]) from None


def _is_smaller(size: Amount, than: Amount) -> bool:
    return size != than and size.cpu <= than.cpu and size.memory <= than.memory
