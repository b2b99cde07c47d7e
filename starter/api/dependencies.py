"""What the API is built from, and who is asking: the dependencies of its routes."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from temporalio.client import Client

from clients.host import Host
from contracts.naming import is_name
from starter.api.problem_details import ApiProblem, no_environment
from starter.auth.policy import Principal, Verb, may, relations, who_may
from starter.auth.security_log import note_denied
from starter.auth.tokens import Tokens
from starter.catalogue.loader import Catalogue
from starter.config_files.reloading import Reloaded
from starter.environments.archive import Past
from starter.environments.commands import EnvironmentCommands
from starter.environments.cursors import Cursors
from starter.environments.people_check import PeopleDirectory
from starter.environments.planning import InstallationConfig
from starter.environments.reader import EnvironmentSnapshot, Reader
from starter.environments.watcher import EnvironmentWatcher
from starter.expiry.freeze import ExpiryFreeze
from starter.monitoring.attention import Attention
from starter.monitoring.environment_health import Healths
from starter.placement.advisor import PlacementAdvisor
from starter.placement.chart_check import ChartCheck
from starter.placement.reservations import Reservations
from worker.settings.expiry import Sweep

CATALOGUE_IS_BROKEN = "The catalogue has changed and cannot be read; the last good one is in force."


@dataclass(frozen=True)
class Parts:
    """Everything that the routes need; made once, when the app is."""

    client: Client
    house: InstallationConfig
    catalogue: Reloaded[Catalogue]
    tokens: Reloaded[Tokens]
    people: PeopleDirectory
    hosts: Mapping[str, Host]
    healths: Healths
    fitting: ChartCheck
    placing: PlacementAdvisor
    past: Past
    attention: Attention
    reservations: Reservations
    reader: Reader
    cursors: Cursors
    actor: EnvironmentCommands
    watches: EnvironmentWatcher
    #: Open streams of events, by person.
    streams: Counter[str]
    freezer: ExpiryFreeze
    sweep: Sweep
    trail_file: Path | None

    async def environment(
        self, name: str, principal: Principal, verb: Verb, life: str | None = None
    ) -> EnvironmentSnapshot:
        """The latest life of the name, if the principal may do `verb` with it, and if it is `life`.

        404 for what they may not even see, whether it is there or not; 403 for what they see and may not do;
        409 for another life than the one that is meant.
        """
        standing = await self.reader.read(name) if is_name(name) else None
        if standing is None:
            raise no_environment(name)
        held = relations(
            principal, owner=standing.owner, team=standing.team, collaborators=standing.collaborators
        )
        if not may(Verb.SHOW, held):
            note_denied()
            raise no_environment(name)
        if life and life != standing.life:
            detail = f"{name} has begun another life since, and that is not the one that is meant: look at it"
            raise ApiProblem(HTTPStatus.CONFLICT, "refused", detail, reason="other_life")
        if not may(verb, held):
            raise ApiProblem(
                HTTPStatus.FORBIDDEN,
                "not-allowed",
                f"{verb} of {name} is for {who_may(verb)}, and you are its {' and '.join(sorted(held))}",
            )
        return standing


async def parts_of(request: Request) -> Parts:
    """The parts of the app that serves the request. A coroutine: FastAPI runs functions in a thread."""
    parts: Parts = request.app.state.parts
    return parts


_bearer = HTTPBearer(auto_error=False, description="A token from the installation's file of tokens.")


async def principal_of(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Principal:
    """Who is asking: `starter.api.sign_in` has let them in. The scheme is for the OpenAPI document."""
    principal: Principal = request.state.principal
    return principal


TheParts = Annotated[Parts, Depends(parts_of)]
Asking = Annotated[Principal, Depends(principal_of)]
