"""Adds the developers' page to the application of the API."""

from fastapi import FastAPI

from starter.page import static_files
from starter.page.environment_parts import SharedParts
from starter.page.environment_sections import SharedSections
from starter.page.errors import handle_problems
from starter.page.response_headers import SecurityHeaders
from starter.page.routes import environment, home, live, seat
from starter.page.routes import request as request_pages
from starter.page.routes.platform import (
    audit,
    bookings,
    capacity,
    ends,
    figures,
    pools,
    problems,
    reconcile,
    rollouts,
)
from starter.page.session import routes as sign_in
from starter.page.session.csrf import CsrfTokens
from starter.page.session.issuer_client import IssuerClient
from starter.page.session.middleware import PageSession
from starter.page.session.sealing import Sealer
from starter.page.session.sessions import PageSessions
from starter.page.temporal_links import TemporalLinks
from worker.settings.models import Settings


def add_pages(app: FastAPI, settings: Settings) -> None:
    """Serve the page at all paths that the API does not use.

    It is an application by itself, because its errors are pages and not problem details. It uses the API's
    services, which `create_app` has put in the state, and its middleware is inside the API's.
    """
    # A redirect to the address without a slash would have the scheme and host that the request names.
    pages = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    pages.state = app.state
    app.state.shared_parts = SharedParts()
    links = TemporalLinks(settings.temporal.web_url, app.state.client.namespace)
    app.state.temporal_links = links
    app.state.shared_sections = SharedSections(links)
    _add_sign_in(app, settings)
    platform = (capacity, pools, bookings, problems, ends, reconcile, rollouts, audit, figures)
    for module in (sign_in, home, environment, live, request_pages, seat, *platform):
        pages.include_router(module.router)
    static_files.add_to(pages)
    handle_problems(pages)
    sessions: PageSessions = app.state.sessions
    pages.add_middleware(PageSession, sessions=sessions, public_url=settings.api.public_url)
    # Not mounted: a mount at the root would take the API's paths with a method that they do not have. The
    # headers are outside of the application, which answers for faults outside of its middleware.
    app.router.default = SecurityHeaders(pages, form_targets=sessions.issuer_origins)


def _add_sign_in(app: FastAPI, settings: Settings) -> None:
    state, keys = app.state, settings.encryption.page_keys
    client = IssuerClient()
    state.closing.append(client.close)
    state.sessions = PageSessions(
        state.authentication,
        state.issuers,
        Sealer(keys, settings.installation),
        CsrfTokens(keys),
        client,
    )
    state.sign_in_pages = sign_in.SignInPages(state.sessions, settings.api.public_url)
