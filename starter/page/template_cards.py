"""What the page says of each template: what it takes, and how many of it have room now."""

from dataclasses import dataclass

from contracts.capacity.models import Amount, StateInput
from contracts.templates.template import Template
from starter.auth.policy import Principal
from starter.environments.requests.planning import RequestedEnvironment
from starter.environments.requests.service import EnvironmentService
from starter.installation_settings import InstallationConfig
from starter.placement.advisor import PlacementAdvisor
from starter.placement.candidates import candidate_hosts
from starter.placement.reservations import Reservations
from starter.placement.room import Room, room_for
from starter.request_errors import InvalidRequest
from starter.temporal.errors import NoWorker, TemporalUnavailable

#: A name for the plan of a card; nothing is started with it.
_EXAMPLE = "example"


@dataclass(frozen=True)
class TemplateCard:
    """A template for the caller.

    `team` is the caller's first team that may request it, `takes` all that it holds on a host, and `problem`
    why it cannot be made.
    """

    template: Template
    team: str
    takes: Amount | None
    room: Room
    problem: str = ""


class TemplateCards:
    """Builds the cards of a caller from the catalogue and the capacity."""

    def __init__(
        self,
        service: EnvironmentService,
        placement: PlacementAdvisor,
        reservations: Reservations,
        installation: InstallationConfig,
    ) -> None:
        self._service = service
        self._placement = placement
        self._reservations = reservations
        self._installation = installation

    async def of(self, caller: Principal, templates: list[Template]) -> list[TemplateCard]:
        """Return a card for each template. Without a worker, no room is known."""
        try:
            state = await self._reservations.cached_state(StateInput(person=caller.email, teams=caller.teams))
        except (NoWorker, TemporalUnavailable):
            state = None
        cards = []
        for template in templates:
            team = _team_for(template, caller)
            try:
                samples = {name: one.sample for name, one in template.parameters.items()}
                requested = RequestedEnvironment(
                    name=_EXAMPLE, template=template.name, team=team, parameters=samples
                )
                environment = self._service.plan(requested, caller, _EXAMPLE).environment
                reservation = self._placement.reservation_of(environment)
            except InvalidRequest as error:
                sentence = "; ".join(problem.message for problem in error.problems)
                cards.append(TemplateCard(template, team, None, Room(count=None), sentence))
                continue
            hosts = candidate_hosts(template, None, self._installation)
            room = Room(count=None)
            if state is not None:
                room = room_for(reservation.size, hosts, reservation.quotas, state, team)
            cards.append(TemplateCard(template, team, reservation.size, room))
        return cards


def _team_for(template: Template, caller: Principal) -> str:
    """Return the caller's first team that may request the template."""
    return next((team for team in caller.teams if team in template.teams), caller.teams[0])
