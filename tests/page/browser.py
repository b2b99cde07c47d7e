"""A browser with cookies at the page of an application, and the way through the issuer's page."""

import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit

import httpx
from fastapi import FastAPI, Form, Request
from starlette.responses import PlainTextResponse, Response

from clients.safe_yaml import write_yaml
from starter.api.dependencies import CallerDep
from starter.auth.policy import Principal
from starter.page.rendering import csrf_token
from starter.page.response_headers import SecurityHeaders
from starter.page.session.cookies import SESSION_COOKIE
from starter.page.session.session import Session, mark_of, new_id, open_session, seal_session
from starter.page.session.sessions import PageSessions
from tests.api.application import an_app
from tests.page.samples import a_session
from tests.support.sign_in import Provider

SITE = "https://moorage.test"
SIGNED_IN = f"{SITE}/signed-in"
#: The address of an issuer that does not answer: nothing listens there.
SILENT = "http://127.0.0.1:1"
KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


async def page_app(folder: Path, *issuers: str, **variables: str) -> FastAPI:
    """The application with the page, people of these issuers, and two pages of the test."""
    file = write_issuers(folder, *(entry_of(url) for url in issuers))
    settings = {"MOORAGE_API__ISSUERS_FILE": str(file), "MOORAGE_ENCRYPTION__KEYS": KEY, **variables}
    app = await an_app(folder, **settings)
    pages = pages_of(app)
    pages.add_api_route("/who", _who)
    pages.add_api_route("/change", _change, methods=["POST"])
    return app


@contextlib.contextmanager
def own_state(app: FastAPI) -> Iterator[FastAPI]:
    """Give tests in turn one application, whose making takes a quarter of a second of processor.

    What a test puts into its `state` is taken out again.
    """
    before = dict(app.state._state)
    try:
        yield app
    finally:
        app.state._state.clear()
        app.state._state.update(before)


def write_issuers(folder: Path, *entries: dict[str, object]) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "issuers.yaml"
    file.write_text(write_yaml({"issuers": list(entries)}))
    return file


def entry_of(url: str) -> dict[str, object]:
    return {
        "url": url,
        "audience": "moorage-api",
        "client_id": "moorage",
        "team_prefix": "team-",
        "platform_groups": ["platform"],
    }


def pages_of(app: FastAPI) -> FastAPI:
    """The application of the pages, to which a test adds more."""
    outermost = app.router.default
    assert isinstance(outermost, SecurityHeaders)
    assert isinstance(outermost.app, FastAPI)
    return outermost.app


async def _who(request: Request, caller: CallerDep) -> Response:
    return PlainTextResponse(caller.email, headers={"x-csrf": csrf_token(request)})


async def _change(what: Annotated[str, Form()]) -> Response:
    return PlainTextResponse(what)


def browser(app: FastAPI, site: str = SITE, **headers: str) -> httpx.AsyncClient:
    """A browser; it follows no redirect, so that a test sees each of them."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("203.0.113.7", 5))
    return httpx.AsyncClient(transport=transport, base_url=site, headers={"Accept": "text/html", **headers})


@contextlib.asynccontextmanager
async def browser_of(app: FastAPI, principal: Principal) -> AsyncIterator[httpx.AsyncClient]:
    """A browser of a person whose session needs no renewal for now."""
    async with browser(app) as http:
        put_session(http, app, fresh_session(app, principal=principal))
        yield http


@contextlib.asynccontextmanager
async def signed_in(
    app: FastAPI, provider: Provider, person: str = "alice"
) -> AsyncIterator[httpx.AsyncClient]:
    """A browser of a person who has signed in."""
    async with browser(app) as http:
        answer = await sign_in(http, provider, person)
        assert answer.status_code == 303, answer.text
        yield http


async def sign_in(
    http: httpx.AsyncClient, provider: Provider, person: str = "alice", path: str = "/sign-in"
) -> httpx.Response:
    """Sign in; return the answer to what the issuer has sent the browser back with."""
    return await http.get(await way_back(await to_issuer(http, path), provider, person))


async def to_issuer(http: httpx.AsyncClient, path: str = "/sign-in") -> str:
    """The address of the issuer that the sign-in leads to."""
    answer = await http.get(path)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def way_back(address: str, provider: Provider, person: str = "alice") -> str:
    """Give name and password at the issuer; return the address that the browser is sent back to."""
    async with provider.client() as at_issuer:
        page = await at_issuer.get(address)
        answer = await provider.submit(at_issuer, page, person)
    assert answer.status_code == 302, answer.text[:500]
    return answer.headers["location"]


def fields_of(address: str) -> dict[str, str]:
    """The query of an address."""
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


def sessions_of(app: FastAPI) -> PageSessions:
    found: PageSessions = app.state.sessions
    return found


def session_in(http: httpx.AsyncClient, app: FastAPI) -> Session:
    """The session in the browser's cookie."""
    return open_session(str(http.cookies[SESSION_COOKIE]), sessions_of(app).sealer)


def put_session(http: httpx.AsyncClient, app: FastAPI, session: Session) -> None:
    """Replace the session in the browser's cookie."""
    http.cookies.delete(SESSION_COOKIE)
    text = seal_session(session, sessions_of(app).sealer)
    http.cookies.set(SESSION_COOKIE, text, domain="moorage.test", path="/")


def fresh_session(app: FastAPI, **changes: Any) -> Session:
    """A session that needs no renewal for ten minutes, at the first issuer of the application."""
    issuer, now = sessions_of(app).issuers()[0], time.time()
    values: dict[str, Any] = {
        "id": new_id(), "root": new_id(), "issuer": issuer.url, "issuer_mark": mark_of(issuer),
        "started_at": now, "seen_at": now, "renew_at": now + 600, "valid_until": now + 900,
        "refresh_token": "r",
    }  # fmt: skip
    return a_session(**{**values, **changes})


async def csrf_of(http: httpx.AsyncClient) -> str:
    """The token of the forms of the browser's session."""
    return str((await http.get("/who")).headers["x-csrf"])
