"""The routes of the sign-in: `/sign-in`, `/signed-in`, `/sign-out` and `/signed-out`."""

from http import HTTPStatus
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from starter.api.access_recorder import peer_in, record_not_signed_in
from starter.api.problem_details import RETRY_AFTER
from starter.auth import security_log
from starter.auth.authentication import IssuerUnavailable
from starter.auth.oidc.issuers import Issuer
from starter.auth.rate_limit import WRONG_TOKENS_BURST, WRONG_TOKENS_PER_SECOND, Throttle
from starter.auth.security_log import Verdict
from starter.http_server.connections import peer_of
from starter.page.rendering import page
from starter.page.session.addresses import (
    HOME,
    SIGN_IN,
    SIGN_OUT,
    SIGNED_IN,
    SIGNED_OUT,
    is_own_origin,
    local_path,
    origin_of,
    sign_in_address,
)
from starter.page.session.attempt import (
    ATTEMPT_SECONDS,
    AttemptRefused,
    cookie_of,
    find_attempt,
    new_attempt,
    surplus_cookies,
)
from starter.page.session.cookies import SESSION_COOKIE, delete_cookie, set_cookie
from starter.page.session.session import SessionTooLarge, seal_session
from starter.page.session.sessions import PageSessions, SignInRefused
from starter.page.session.views import message_page

UNSENT = "Your session has ended, so nothing was done: sign in to go back to the form."

router = APIRouter(include_in_schema=False)


class SignInPages:
    """What the routes of the sign-in share: the sessions, the page's address, and the limit of failures."""

    def __init__(self, sessions: PageSessions, public_url: str | None) -> None:
        self.sessions = sessions
        self.public_url = public_url
        self.failures = Throttle(WRONG_TOKENS_BURST, WRONG_TOKENS_PER_SECOND)


async def _get_pages(request: Request) -> SignInPages:
    return cast(SignInPages, request.app.state.sign_in_pages)


PagesDep = Annotated[SignInPages, Depends(_get_pages)]


@router.get(SIGN_IN)
async def sign_in(request: Request, pages: PagesDep) -> Response:
    """Send the browser to the issuer; if there are several, or if there is something to say, show a page."""
    query = request.query_params
    next_path, sessions = local_path(query.get("next")), pages.sessions
    if request.state.session is not None:
        return RedirectResponse(next_path, HTTPStatus.SEE_OTHER)
    if pages.public_url and not is_own_origin(pages.public_url, request.scope, None) and "here" not in query:
        # The issuer sends the browser back there, so that the cookie of the sign-in must be from there.
        more = {name: query[name] for name in ("issuer", "unsent") if query.get(name)}
        address = f"{pages.public_url}{sign_in_address(next_path, here='1', **more)}"
        return RedirectResponse(address, HTTPStatus.SEE_OTHER)
    issuers, is_unsent = sessions.issuers(), bool(query.get("unsent"))
    chosen = sessions.issuer(query.get("issuer", ""))
    if chosen is None and len(issuers) == 1 and not is_unsent:
        chosen = issuers[0]
    if chosen is not None:
        return await _start(request, pages, chosen, next_path)
    choices = [
        {"name": each.url.partition("://")[2], "link": sign_in_address(next_path, issuer=each.url)}
        for each in issuers
    ]
    return page(
        request, "session/choose.html", title="Sign in", choices=choices, notice=UNSENT if is_unsent else ""
    )


async def _start(request: Request, pages: SignInPages, issuer: Issuer, next_path: str) -> Response:
    sessions = pages.sessions
    try:
        endpoints = await sessions.client.endpoints(issuer)
    except IssuerUnavailable:
        return _issuer_unavailable(request, next_path)
    redirect_uri = f"{origin_of(request.scope, pages.public_url)}{SIGNED_IN}"
    attempt = new_attempt(issuer, redirect_uri, next_path, sessions.now())
    response = RedirectResponse(attempt.address(issuer, endpoints), HTTPStatus.SEE_OTHER)
    for name in surplus_cookies(request.cookies, sessions.sealer):
        response.headers.append("set-cookie", delete_cookie(name))
    cookie = set_cookie(attempt.cookie, attempt.seal(sessions.sealer), ATTEMPT_SECONDS)
    response.headers.append("set-cookie", cookie)
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


@router.get(SIGNED_IN)
async def signed_in(request: Request, pages: PagesDep) -> Response:
    """Finish the sign-in that the issuer has sent the browser back from."""
    sessions, answer = pages.sessions, dict(request.query_params)
    state = answer.get("state", "")
    try:
        if len(request.query_params.multi_items()) != len(answer):
            raise AttemptRefused("The issuer's answer has a field twice: start again.")
        attempt = find_attempt(state, request.cookies, sessions.sealer, sessions.now())
    except AttemptRefused as refusal:
        if request.state.session is not None:
            # The page was opened again, with the back button for example.
            return RedirectResponse(HOME, HTTPStatus.SEE_OTHER)
        return _refused(request, pages, str(refusal))
    try:
        session = await sessions.start(attempt, answer, request.state.session)
        value = seal_session(session, sessions.sealer)
    except (AttemptRefused, SignInRefused) as refusal:
        response = _refused(request, pages, str(refusal))
    except SessionTooLarge as refusal:
        response = _refused(request, pages, f"You cannot sign in: {refusal}.")
    except IssuerUnavailable:
        response = _issuer_unavailable(request, attempt.next_path)
    else:
        security_log.record(
            Verdict.ALLOWED,
            actor=session.principal.email,
            verb="signed_in",
            object="",
            peer=peer_in(request.scope),
        )
        response = RedirectResponse(attempt.next_path, HTTPStatus.SEE_OTHER)
        response.headers.append("set-cookie", set_cookie(SESSION_COOKIE, value))
    # Its code is good for one use, also where the issuer does not see to that.
    response.headers.append("set-cookie", delete_cookie(cookie_of(state)))
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


@router.post(SIGN_OUT)
async def sign_out(request: Request, pages: PagesDep) -> Response:
    """End the session, here and at the issuer."""
    return_to = f"{origin_of(request.scope, pages.public_url)}{SIGNED_OUT}"
    elsewhere = await pages.sessions.sign_out(request.state.session, return_to)
    response = RedirectResponse(elsewhere or SIGNED_OUT, HTTPStatus.SEE_OTHER)
    response.headers.append("set-cookie", delete_cookie(SESSION_COOKIE))
    return response


@router.get(SIGNED_OUT)
async def signed_out(request: Request) -> Response:
    """Say that the session has ended."""
    if request.state.session is not None:
        return RedirectResponse(HOME, HTTPStatus.SEE_OTHER)
    return message_page(
        request, "Signed out", "You are signed out.", HTTPStatus.OK, link=SIGN_IN, link_text="Sign in again"
    )


def _refused(request: Request, pages: SignInPages, text: str) -> Response:
    limited = pages.failures.record(peer_of(peer_in(request.scope)))
    record_not_signed_in(request.scope, limited, verb="signed_in", reason=text)
    if limited:
        response: Response = message_page(
            request,
            "Too many requests",
            f"Too many sign-ins have failed: try again in {limited.retry_after} s.",
            HTTPStatus.TOO_MANY_REQUESTS,
        )
        response.headers["Retry-After"] = str(limited.retry_after)
        return response
    return message_page(
        request, "Not signed in", text, HTTPStatus.FORBIDDEN, link=SIGN_IN, link_text="Sign in"
    )


def _issuer_unavailable(request: Request, next_path: str) -> Response:
    response = message_page(
        request,
        "Not signed in",
        "The issuer does not answer: try again in a minute.",
        HTTPStatus.SERVICE_UNAVAILABLE,
        link=sign_in_address(next_path),
        link_text="Try again",
    )
    response.headers["Retry-After"] = RETRY_AFTER
    return response
