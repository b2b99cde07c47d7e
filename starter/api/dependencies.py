"""Dependencies of the API's routes: the parts of the application, and the authenticated caller."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from temporalio.client import Client

from clients.host.protocol import Host
from contracts.naming import is_name
from starter.api.problem_details import ApiProblem, no_environment
from starter.auth.policy import Principal, Verb, may, relations, who_may
from starter.auth.security_log import note_denied
from starter.auth.tokens import Tokens
from starter.catalogue.loader import Catalogue
from starter.config_files.reloading import Reloaded
from starter.environments.archive import LifeArchive
from starter.environments.commands import EnvironmentCommands
from starter.environments.cursors import Cursors
from starter.environments.owner_marks import MarkSearch
from starter.environments.people_check import PeopleDirectory
from starter.environments.planning import InstallationConfig
from starter.environments.reader import EnvironmentReader, EnvironmentSnapshot
from starter.environments.watcher import EnvironmentWatcher
from starter.expiry.freeze import ExpiryFreeze
from starter.monitoring.attention import Attention
from starter.monitoring.environment_health import EnvironmentHealth
from starter.placement.advisor import PlacementAdvisor
from starter.placement.chart_check import ChartCheck
from starter.placement.reservations import Reservations
from worker.settings.expiry import Sweep

CATALOGUE_IS_BROKEN = "The catalogue has changed and cannot be read; the last good one is in force."


@dataclass(frozen=True)
class Parts:
    """All objects that the routes need; created once with the application."""

    client: Client
    house: InstallationConfig
    catalogue: Reloaded[Catalogue]
    tokens: Reloaded[Tokens]
    people: PeopleDirectory
    hosts: Mapping[str, Host]
    healths: EnvironmentHealth
    fitting: ChartCheck
    placing: PlacementAdvisor
    past: LifeArchive
    attention: Attention
    reservations: Reservations
    reader: EnvironmentReader
    marks: MarkSearch
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
        """Return the latest life of the name, if the principal may use `verb` on it and it is `life`.

        Raises:
            ApiProblem: 404 if the principal may not see it, whether it exists or not; 403 if the principal
            may see it but not use the verb; 409 if it is another life than `life`.
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
    """Return the parts of the application.

    It is a coroutine because FastAPI runs plain functions in a thread.
    """
    parts: Parts = request.app.state.parts
    return parts


_bearer = HTTPBearer(auto_error=False, description="A token from the installation's file of tokens.")


async def principal_of(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Principal:
    """Return the caller, which `starter.api.sign_in` has authenticated.

    The security scheme is only for the OpenAPI document.
    """
    principal: Principal = request.state.principal
    return principal


TheParts = Annotated[Parts, Depends(parts_of)]
Asking = Annotated[Principal, Depends(principal_of)]
