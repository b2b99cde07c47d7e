"""Builds the API's application from settings and clients; it does not run a server."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

from fastapi import FastAPI
from starlette.datastructures import State
from temporalio.client import Client

from clients.host.protocol import Host
from clients.identity.protocol import IdentityProvider
from clients.rafay import Rafay
from contracts.capacity.models import StateInput
from starter.api import events, health
from starter.api.authentication_middleware import SignIn
from starter.api.problem_details import MEDIA_TYPE, ProblemDetails, handle_problems
from starter.api.requests_check import RequestsCheck
from starter.api.routes import (
    bookings,
    capacity,
    credentials,
    environments,
    expiry,
    kubeconfig,
    membership,
    reconcile,
    rollouts,
    sign_in,
    sleep,
    snapshots,
    template_change,
    templates,
)
from starter.api.shutdown_response import AnswerOnShutdown
from starter.api.swagger import add_docs
from starter.audit_trail.service import AuditTrail
from starter.auth.authentication import Authentication
from starter.auth.oidc.issuers import load_issuers
from starter.auth.rate_limit import Throttle
from starter.auth.tokens import load_tokens
from starter.bookings.metrics import read_booking_state
from starter.bookings.service import BookingService
from starter.catalogue.loader import load_catalogue
from starter.config_files.reloading import Reloaded
from starter.environments.access import EnvironmentAccess
from starter.environments.commands import EnvironmentCommands
from starter.environments.credentials.issuer import CredentialIssuer
from starter.environments.credentials.kubeconfig import KubeconfigReader
from starter.environments.credentials.uses import UseRecorder
from starter.environments.credentials.virtual_clusters import VirtualClusters
from starter.environments.details import EnvironmentDetails
from starter.environments.health import EnvironmentHealth
from starter.environments.history import EnvironmentHistory
from starter.environments.life_archive import LifeRecords
from starter.environments.lists.cursors import Cursors
from starter.environments.lists.listing import EnvironmentList
from starter.environments.membership import EnvironmentMembership
from starter.environments.orphans import count_orphans
from starter.environments.people_check import PeopleDirectory, RememberedPeople
from starter.environments.reader import EnvironmentReader
from starter.environments.requests.preview import RequestPreview
from starter.environments.requests.service import EnvironmentService, EnvironmentStarter
from starter.environments.rollout import Rollouts
from starter.environments.sleep import EnvironmentSleep
from starter.environments.teardown.forced_teardown import ForcedTeardown
from starter.environments.teardown.leftover_search import MarkSearch
from starter.environments.template_change import TemplateChanges
from starter.environments.watcher import EnvironmentWatcher
from starter.expiry.freeze import ExpiryFreeze
from starter.expiry.leavers import Leavers
from starter.expiry.reconcile import ReconcileSweeps
from starter.expiry.sweeps import Sweeps
from starter.host_workers.requests import HostRequests
from starter.http_server.body_limit import BodyLimit
from starter.installation_settings import InstallationConfig
from starter.monitoring.installation_metrics import InstallationMetrics
from starter.monitoring.metrics import ApiMetrics, RequestTimes
from starter.monitoring.request_traces import RequestTraces
from starter.monitoring.warnings import Attention
from starter.placement.advisor import PlacementAdvisor
from starter.placement.chart_check import ChartCheck
from starter.placement.pools import PoolSync, read_pools
from starter.placement.reservations import Reservations
from starter.statistics.life_sources import ClosedRunSource, OpenEnvironments, RecordSource
from starter.statistics.service import Statistics
from worker.certificates import Certificates
from worker.settings.models import Settings
from worker.version import installed_version

API_ROOT = "/api/v1"

_DESCRIPTION = """
A Kubernetes cluster of your own, whole and usable, or gone without a trace.

Ask for an environment, follow its events until it is ready, fetch its kubeconfig, and delete it.
Every error is a problem detail (RFC 9457) with one sentence a field.
"""


def create_app(
    settings: Settings,
    client: Client,
    *,
    tokens_file: Path,
    people: PeopleDirectory,
    hosts: Mapping[str, Host],
    rafay: Rafay | None = None,
    directory: IdentityProvider | None = None,
    add_pages: Callable[[FastAPI, Settings], None] | None = None,
) -> FastAPI:
    """Create the API's application; raise FilesUnusable for an invalid catalogue or tokens file.

    The caller owns the clients: the application uses them and does not close them. `rafay` and `directory`
    are for the search for owner marks; None if the API has no credentials there. `add_pages` adds the
    developers' page (`starter.page.pages`), which is a layer above this one.
    """
    app = _Api(
        title="Moorage",
        description=_DESCRIPTION,
        version=installed_version(),
        lifespan=_lifespan,
        redoc_url=None,
        docs_url=None,
        openapi_url=f"{API_ROOT}/openapi.json",
        # FastAPI's own would record query strings, and the texts of errors.
        telemetry={"tracing": False, "logs": False, "metrics": False, "auto_configure": False},
        # Relative to the document, which is two path segments deep, because a proxy can serve the API under
        # any path.
        servers=[{"url": "../.."}],
    )
    marks = MarkSearch(
        settings.installation,
        settings.prefix,
        hosts,
        rafay=rafay,
        directory=directory,
        has_identity_provider=settings.identity is not None,
        elsewhere=settings.own_queues.hosts,
    )
    state = app.state
    _add_services(state, settings, client, tokens_file=tokens_file, people=people, hosts=hosts, marks=marks)
    state.metrics = ApiMetrics(
        installed_version(),
        state.catalogue.count_unusable,
        state.tokens.count_unusable,
        state.issuers.count_unusable if state.issuers else None,
        state.installation_metrics,
    )
    if settings.api.metrics:
        state.metrics.serve_certificates(Certificates(settings, client))
    app.add_middleware(BodyLimit)
    app.add_middleware(AnswerOnShutdown)
    # Add it after the others, as an outer one: it answers unknown callers before the server reads anything
    # else. Only the measurement is outside, because it counts them as well.
    app.add_middleware(
        SignIn,
        authentication=state.authentication,
        root=API_ROOT,
        open_paths=frozenset({f"{API_ROOT}/openapi.json", f"{API_ROOT}{sign_in.SIGN_IN_PATH}"}),
    )
    handle_problems(app)
    app.add_middleware(RequestTimes, metrics=state.metrics)
    app.add_middleware(RequestTraces)
    add_docs(app)
    routes = (
        templates,
        environments,
        events,
        sleep,
        membership,
        template_change,
        snapshots,
        kubeconfig,
        credentials,
        expiry,
        reconcile,
        rollouts,
        capacity,
        bookings,
        sign_in,
    )
    problems = _problems(401, 403, 404, 409, 413, 422, 429, 503)
    for module in routes:
        # Not by way of a router of all of them: FastAPI looks for the route twice in each router on the way.
        app.include_router(module.router, prefix=API_ROOT, responses=problems)
    health_problems = _problems(503)
    # One model is enough for the OpenAPI document to have its schema. For each model of each route, FastAPI
    # builds a validator at the application's first request, which took most of that request's time.
    health_problems[503]["model"] = ProblemDetails
    app.include_router(health.router, responses=health_problems)
    if add_pages:
        add_pages(app, settings)
    return app


def _add_services(
    state: State,
    settings: Settings,
    client: Client,
    *,
    tokens_file: Path,
    people: PeopleDirectory,
    hosts: Mapping[str, Host],
    marks: MarkSearch,
) -> None:
    """Create the services; `starter.api.dependencies` gives each to the routes that need it."""
    installation = InstallationConfig.of(settings)
    catalogue = Reloaded(settings.templates, load_catalogue)
    reader, reservations, chart_check = EnvironmentReader(client), Reservations(client), ChartCheck(hosts)
    requests, elsewhere = HostRequests(client), settings.own_queues.hosts
    health = EnvironmentHealth(hosts, requests, elsewhere)
    access, records = EnvironmentAccess(reader), LifeRecords(client, settings.audit_log.file)
    placement = PlacementAdvisor(installation, chart_check, reservations)
    directory = RememberedPeople(people)
    starter = EnvironmentStarter(client, reader, reservations, installation.own_queues)
    service = EnvironmentService(
        installation=installation,
        catalogue=catalogue,
        people=directory,
        placement=placement,
        starter=starter,
    )
    state.bookings = BookingService(
        client=client,
        installation=installation,
        catalogue=catalogue,
        people=directory,
        placement=placement,
        reservations=reservations,
        environments=reader,
        starter=starter,
    )
    state.seat_throttle = Throttle(bookings.CODES_BURST, bookings.CODES_PER_SECOND)
    state.seat_peer_throttle = Throttle(bookings.PEER_CODES_BURST, bookings.PEER_CODES_PER_SECOND)
    state.access = access
    state.attention = Attention(client, settings.sweep, settings.own_queues)
    state.catalogue = catalogue
    state.client = client
    state.commands = EnvironmentCommands(client, access, reader)
    clusters = VirtualClusters(hosts, requests, elsewhere)
    state.credentials = CredentialIssuer(access, clusters, UseRecorder(client))
    state.closing = [state.credentials.close, clusters.close]
    state.credential_throttle = Throttle(credentials.CREDENTIALS_BURST, credentials.CREDENTIALS_PER_SECOND)
    state.details = EnvironmentDetails(access, records, catalogue, health)
    state.forced_teardown = ForcedTeardown(client, access, reader, records, marks, installation)
    state.freeze = ExpiryFreeze(client, settings.sweep)
    state.health = health
    state.history = EnvironmentHistory(reader, records)
    state.installation = installation
    state.installation_metrics = InstallationMetrics(
        client,
        settings.sweep,
        settings.reconcile,
        capacity=lambda: reservations.state(StateInput(person="", teams=())),
        orphans=lambda: count_orphans(client, reader),
        pools=lambda: read_pools(reservations, lambda: catalogue.current().offered_to((), everything=True)),
        bookings=lambda: read_booking_state(state.bookings.reader, reservations.list_pools),
        own_queues=settings.own_queues,
    )
    state.kubeconfigs = KubeconfigReader(access, clusters, state.credentials)
    state.leavers = Leavers(client, settings.sweep)
    state.list = EnvironmentList(client, reader, records, Cursors(settings.encryption.cursor_keys))
    state.membership = EnvironmentMembership(
        access,
        reader,
        state.commands,
        directory,
        placement,
        reservations,
        lambda email: cast("frozenset[str] | None", state.authentication.teams_of(email)),
    )
    state.template_changes = TemplateChanges(
        installation, catalogue, access, reader, state.commands, placement, chart_check
    )
    state.rollouts = Rollouts(
        client, catalogue, reader, state.template_changes, settings.lifecycle_timeouts.heartbeat_timeout
    )
    state.placement = placement
    state.reader = reader
    state.requests_check = RequestsCheck(service, directory)
    state.preview = RequestPreview(service, placement, chart_check, reader)
    state.preview_throttle = Throttle(environments.PREVIEWS_BURST, environments.PREVIEWS_PER_SECOND)
    state.reconcile = ReconcileSweeps(client, settings.reconcile)
    state.reservations = reservations
    state.pool_sync = PoolSync(
        reservations, lambda: catalogue.current().offered_to((), everything=True), installation
    )
    state.service = service
    records_file = settings.audit_log.file
    state.audit_trail = AuditTrail(state.list, reader, records_file)
    state.statistics = Statistics(
        RecordSource(records_file) if records_file else ClosedRunSource(client, reader),
        OpenEnvironments(client),
    )
    state.sleep = EnvironmentSleep(access, reader, state.commands)
    state.streams = Counter[str]()
    state.sweeps = Sweeps(client, settings.sweep)
    state.tokens = Reloaded(tokens_file, load_tokens)
    issuers_file = settings.api.issuers_file
    state.issuers = Reloaded(issuers_file, load_issuers) if issuers_file else None
    state.authentication = Authentication(state.tokens, state.issuers)
    state.watcher = EnvironmentWatcher(reader, health)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.pool_sync.start()
    yield
    await app.state.pool_sync.stop()
    app.state.watcher.stop()
    app.state.health.stop()
    await app.state.installation_metrics.stop()
    await app.state.statistics.stop()
    for close in app.state.closing:
        await close()


class _Api(FastAPI):
    """FastAPI application whose OpenAPI document describes errors only as problem details."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        document = super().openapi()
        for path in document["paths"].values():
            for operation in path.values():
                for status, response in operation["responses"].items():
                    if int(status) >= HTTPStatus.BAD_REQUEST and MEDIA_TYPE in response["content"]:
                        # Keep only this media type, because FastAPI adds its default media type to it.
                        response["content"] = {MEDIA_TYPE: response["content"][MEDIA_TYPE]}
        return document


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    schema = {"$ref": "#/components/schemas/ProblemDetails"}
    return {
        status: {
            "content": {MEDIA_TYPE: {"schema": schema}},
            "description": HTTPStatus(status).phrase,
        }
        for status in statuses
    }
