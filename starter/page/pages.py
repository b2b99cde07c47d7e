"""Adds the page to the API's application: its routes, its files, its errors and its headers."""

from fastapi import FastAPI

from starter.page import static_files
from starter.page.environment_parts import SharedParts
from starter.page.errors import handle_problems
from starter.page.response_headers import SecurityHeaders
from starter.page.routes import environment, home, live
from worker.settings.models import Settings


def add_pages(app: FastAPI, settings: Settings) -> None:  # noqa: ARG001 - sign-in needs them next
    """Serve the page at all paths that the API does not use.

    It is an application by itself, because its errors are pages and not problem details. It uses the API's
    services, which `create_app` has put in the state, and its middleware is inside the API's.
    """
    pages = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    pages.state = app.state
    app.state.shared_parts = SharedParts()
    for module in (home, environment, live):
        pages.include_router(module.router)
    static_files.add_to(pages)
    handle_problems(pages)
    pages.add_middleware(SecurityHeaders)
    # Not mounted: a mount at the root would take the API's paths with a method that they do not have.
    app.router.default = pages
