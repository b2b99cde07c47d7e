"""What routes depend on, each by itself: the caller, and the services that `create_app` puts in the state."""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from temporalio.client import Client

from starter.api.problem_details import ApiProblem, ProblemType
from starter.api.requests_check import RequestsCheck
from starter.audit_trail.service import AuditTrail
from starter.auth.authentication import Authentication
from starter.auth.oidc.issuers import Issuer
from starter.auth.policy import Principal
from starter.auth.rate_limit import Throttle
from starter.auth.tokens import Tokens
from starter.bookings.service import BookingService
from starter.catalogue.loader import Catalogue
from starter.config_files.reloading import Reloaded
from starter.environments.access import EnvironmentAccess
from starter.environments.commands import EnvironmentCommands
from starter.environments.credentials.issuer import CredentialIssuer
from starter.environments.credentials.kubeconfig import KubeconfigReader
from starter.environments.details import EnvironmentDetails
from starter.environments.health import EnvironmentHealth
from starter.environments.history import EnvironmentHistory
from starter.environments.lists.listing import EnvironmentList
from starter.environments.membership import EnvironmentMembership
from starter.environments.reader import EnvironmentReader
from starter.environments.requests.preview import RequestPreview
from starter.environments.requests.service import EnvironmentService
from starter.environments.rollout import Rollouts
from starter.environments.sleep import EnvironmentSleep
from starter.environments.teardown.forced_teardown import ForcedTeardown
from starter.environments.template_change import TemplateChanges
from starter.environments.watcher import EnvironmentWatcher
from starter.expiry.freeze import ExpiryFreeze
from starter.expiry.leavers import Leavers
from starter.expiry.reconcile import ReconcileSweeps
from starter.expiry.sweeps import Sweeps
from starter.installation_settings import InstallationConfig
from starter.monitoring.warnings import Attention
from starter.placement.advisor import PlacementAdvisor
from starter.placement.reservations import Reservations
from starter.statistics.service import Statistics

CATALOGUE_IS_BROKEN = "The catalogue has changed and cannot be read; the last good one is in force."

_bearer = HTTPBearer(
    auto_error=False,
    description="A token from the file of tokens, or of an OpenID Connect issuer.",
)


def _from_state(name: str) -> Callable[[Request], Awaitable[Any]]:
    # A coroutine, because FastAPI runs plain functions in a thread.
    async def get(request: Request) -> Any:
        return getattr(request.app.state, name)

    return get


async def _get_principal(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Principal:
    """Return the caller, whom the middleware has authenticated; raise ApiProblem if none has.

    The security scheme is only for the OpenAPI document.
    """
    principal: Principal | None = getattr(request.state, "principal", None)
    if principal is None:
        raise ApiProblem(ProblemType.UNAUTHENTICATED, "sign in first")
    return principal


CallerDep = Annotated[Principal, Depends(_get_principal)]

AccessDep = Annotated[EnvironmentAccess, Depends(_from_state("access"))]
AuditTrailDep = Annotated[AuditTrail, Depends(_from_state("audit_trail"))]
AttentionDep = Annotated[Attention, Depends(_from_state("attention"))]
BookingsDep = Annotated[BookingService, Depends(_from_state("bookings"))]
CatalogueDep = Annotated[Reloaded[Catalogue], Depends(_from_state("catalogue"))]
ClientDep = Annotated[Client, Depends(_from_state("client"))]
CommandsDep = Annotated[EnvironmentCommands, Depends(_from_state("commands"))]
CredentialsDep = Annotated[CredentialIssuer, Depends(_from_state("credentials"))]
CredentialThrottleDep = Annotated[Throttle, Depends(_from_state("credential_throttle"))]
DetailsDep = Annotated[EnvironmentDetails, Depends(_from_state("details"))]
ForcedTeardownDep = Annotated[ForcedTeardown, Depends(_from_state("forced_teardown"))]
FreezeDep = Annotated[ExpiryFreeze, Depends(_from_state("freeze"))]
HealthDep = Annotated[EnvironmentHealth, Depends(_from_state("health"))]
HistoryDep = Annotated[EnvironmentHistory, Depends(_from_state("history"))]
InstallationDep = Annotated[InstallationConfig, Depends(_from_state("installation"))]
KubeconfigDep = Annotated[KubeconfigReader, Depends(_from_state("kubeconfigs"))]
LeaversDep = Annotated[Leavers, Depends(_from_state("leavers"))]
ListDep = Annotated[EnvironmentList, Depends(_from_state("list"))]
MembershipDep = Annotated[EnvironmentMembership, Depends(_from_state("membership"))]
PlacementDep = Annotated[PlacementAdvisor, Depends(_from_state("placement"))]
PreviewDep = Annotated[RequestPreview, Depends(_from_state("preview"))]
PreviewThrottleDep = Annotated[Throttle, Depends(_from_state("preview_throttle"))]
ReconcileDep = Annotated[ReconcileSweeps, Depends(_from_state("reconcile"))]
ReaderDep = Annotated[EnvironmentReader, Depends(_from_state("reader"))]
RequestsCheckDep = Annotated[RequestsCheck, Depends(_from_state("requests_check"))]
ReservationsDep = Annotated[Reservations, Depends(_from_state("reservations"))]
RolloutsDep = Annotated[Rollouts, Depends(_from_state("rollouts"))]
SeatPeerThrottleDep = Annotated[Throttle, Depends(_from_state("seat_peer_throttle"))]
SeatThrottleDep = Annotated[Throttle, Depends(_from_state("seat_throttle"))]
ServiceDep = Annotated[EnvironmentService, Depends(_from_state("service"))]
SleepDep = Annotated[EnvironmentSleep, Depends(_from_state("sleep"))]
StatisticsDep = Annotated[Statistics, Depends(_from_state("statistics"))]
StreamsDep = Annotated[Counter[str], Depends(_from_state("streams"))]
SweepsDep = Annotated[Sweeps, Depends(_from_state("sweeps"))]
AuthenticationDep = Annotated[Authentication, Depends(_from_state("authentication"))]
IssuersDep = Annotated[Reloaded[tuple[Issuer, ...]] | None, Depends(_from_state("issuers"))]
TemplateChangesDep = Annotated[TemplateChanges, Depends(_from_state("template_changes"))]
TokensDep = Annotated[Reloaded[Tokens], Depends(_from_state("tokens"))]
WatcherDep = Annotated[EnvironmentWatcher, Depends(_from_state("watcher"))]
