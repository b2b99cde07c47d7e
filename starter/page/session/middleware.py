"""Middleware of the page: it finds the session before it reads the rest of a request, and guards forms."""

from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from starter.api.access_recorder import AccessRecorder, peer_in, record_not_signed_in, verb_in
from starter.api.problem_details import RETRY_AFTER, ApiProblem, ProblemType, too_many
from starter.auth import security_log
from starter.auth.authentication import IssuerUnavailable
from starter.auth.rate_limit import WRONG_TOKENS_BURST, WRONG_TOKENS_PER_SECOND, Throttle
from starter.auth.security_log import Verdict
from starter.page.rendering import capitalize_first
from starter.page.session.addresses import (
    SIGN_IN,
    SIGN_OUT,
    SIGNED_IN,
    SIGNED_OUT,
    is_own_origin,
    local_path,
    path_of,
    sign_in_address,
)
from starter.page.session.cookies import SESSION_COOKIE, cookies_of, delete_cookie, set_cookie
from starter.page.session.csrf import CSRF_FIELD, CSRF_HEADER, SAFE_METHODS, is_from_own_page
from starter.page.session.sealing import BadSeal
from starter.page.session.session import Session, SessionTooLarge, open_session, seal_session
from starter.page.session.sessions import PageSessions, SessionEnded
from starter.page.session.views import message_page, problem_app

#: What is not a page: the API has its tokens, the metrics another address, and the rest is open to everyone.
_OTHERS = frozenset({"/healthz", "/readyz", "/docs", "/metrics"})
_OTHER_ROOTS = ("/api/", "/docs/", "/static/", "/metrics/")
#: Pages for people without a session.
_OPEN = frozenset({SIGN_IN, SIGNED_IN, SIGNED_OUT})
_FORM_TYPE = "application/x-www-form-urlencoded"
#: The largest form has twenty people and a handful of other fields.
_MAX_FIELDS = 200


class PageSession:
    """ASGI middleware that gives pages to people with a session, and leads others to the sign-in.

    It sets `principal`, `session` and `csrf_token` in the request's state. No request that changes something
    reaches a route without the CSRF token of its session.
    """

    def __init__(self, app: ASGIApp, *, sessions: PageSessions, public_url: str | None) -> None:
        self._app = app
        self._sessions = sessions
        self._public_url = public_url
        self._recorder = AccessRecorder(app, problem_app)
        self._ends = Throttle(WRONG_TOKENS_BURST, WRONG_TOKENS_PER_SECOND)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application for the session's person; otherwise answer the request."""
        if scope["type"] != "http" or not _is_page(scope["path"]):
            await self._app(scope, receive, send)
            return
        text = cookies_of(Headers(scope=scope).get("cookie")).get(SESSION_COOKIE)
        session, limited = None, None
        try:
            if text:
                kept = open_session(text, self._sessions.sealer)
                session = await self._sessions.current(kept, is_activity=_is_activity(scope))
                if session != kept:
                    send = _with_cookie(send, set_cookie(SESSION_COOKIE, self._seal(session)))
        except BadSeal as error:
            send = _with_cookie(send, delete_cookie(SESSION_COOKIE))
            limited = self._recorder.record_unknown(scope, reason=str(error))
        except SessionEnded as error:
            session = None
            send = _with_cookie(send, delete_cookie(SESSION_COOKIE))
            self._record_end(kept, scope, str(error))
        except IssuerUnavailable:
            if scope["path"] == SIGN_OUT:
                # To leave, no one needs a session that is renewed.
                session = kept
            elif scope["path"] not in _OPEN:
                await _unavailable_page(scope)(scope, receive, send)
                return
        state = scope.setdefault("state", {})
        state.update(session=session)
        if session is not None:
            state.update(principal=session.principal, csrf_token=self._sessions.csrf.of(session.root))
        if limited:
            await problem_app(too_many("sessions that are not valid", limited))(scope, receive, send)
        elif session is not None and scope["method"] not in SAFE_METHODS:
            await self._change(session, scope, receive, send)
        elif scope["path"] in _OPEN:
            await self._app(scope, receive, send)
        elif session is not None:
            await self._recorder.call(session.principal, scope, receive, send)
        else:
            await self._lead_to_sign_in(scope, receive, send)

    def _seal(self, session: Session) -> str:
        try:
            return seal_session(session, self._sessions.sealer)
        except SessionTooLarge as error:
            raise self._sessions.end(session, str(error)) from None

    def _record_end(self, session: Session, scope: Scope, reason: str) -> None:
        """Write why a session has ended; not each time, if a copy of its cookie comes again and again."""
        # People whose sessions end are no attackers, so that they are never limited themselves.
        limited = self._ends.record(session.root)
        record_not_signed_in(scope, limited, actor=session.principal.email, reason=reason)

    async def _change(self, session: Session, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application if the request comes from a form of this session."""
        refusal, form, body = await _read_form(scope, receive)
        token = form.get(CSRF_FIELD) or Headers(scope=scope).get(CSRF_HEADER, "")
        if refusal is None and not is_from_own_page(scope, self._public_url):
            refusal = self._not_done(scope, "This request comes from another site, so nothing was done.")
        elif refusal is None and not self._sessions.csrf.is_valid(token, session.root):
            text = "This form is not of your present sign-in, so nothing was done: fill it in again."
            refusal = self._not_done(scope, text)
        if refusal is not None:
            security_log.record(
                Verdict.DENIED if refusal.status_code == HTTPStatus.FORBIDDEN else Verdict.REFUSED,
                actor=session.principal.email,
                verb=verb_in(scope),
                object="",
                peer=peer_in(scope),
                status=int(refusal.status_code),
            )
            await refusal(scope, receive, send)
            return
        await self._recorder.call(session.principal, scope, _replayed(body, receive), send)

    def _not_done(self, scope: Scope, text: str) -> Response:
        link = self._form_path(scope)
        return message_page(
            Request(scope), "Not done", text, HTTPStatus.FORBIDDEN, link=link, link_text="Back to the page"
        )

    async def _lead_to_sign_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_change = scope["method"] not in SAFE_METHODS
        response: ASGIApp
        if is_change and scope["path"] == SIGN_OUT:
            response = RedirectResponse(SIGNED_OUT, HTTPStatus.SEE_OTHER)
        elif limited := self._recorder.record_unknown(scope, reason="no session") if is_change else None:
            response = problem_app(too_many("requests without a sign-in", limited))
        elif _is_of_program(scope):
            detail = "there is nothing at this address, which is of a page; the API is at /api/v1"
            response = ApiProblem(ProblemType.NOT_FOUND, detail).response()
        elif not _is_navigation(scope):
            response = message_page(
                Request(scope), "Sign in first", "You are not signed in.", HTTPStatus.UNAUTHORIZED,
                link=SIGN_IN, link_text="Sign in",
            )  # fmt: skip
        elif is_change:
            address = sign_in_address(self._form_path(scope), unsent="1")
            response = RedirectResponse(address, HTTPStatus.SEE_OTHER)
        else:
            response = RedirectResponse(sign_in_address(path_of(scope)), HTTPStatus.SEE_OTHER)
        await response(scope, receive, send)

    def _form_path(self, scope: Scope) -> str:
        """Return the path of the page with the form, as far as the browser tells it."""
        try:
            parts = urlsplit(Headers(scope=scope).get("referer", ""))
        except ValueError:
            return local_path(None)
        if is_own_origin(f"{parts.scheme}://{parts.netloc}", scope, self._public_url):
            return local_path(f"{parts.path}?{parts.query}" if parts.query else parts.path)
        return local_path(None)


def _is_page(path: str) -> bool:
    return path not in _OTHERS and not path.startswith(_OTHER_ROOTS)


def _is_of_program(scope: Scope) -> bool:
    """Return whether a program has mistaken the address of a page for one of the API."""
    return "application/json" in Headers(scope=scope).get("accept", "")


def _is_navigation(scope: Scope) -> bool:
    """Return whether the person sees the answer as a page: not for streams, scripts and images."""
    headers = Headers(scope=scope)
    mode = headers.get("sec-fetch-mode")
    if mode is not None:
        return mode == "navigate"
    accept = headers.get("accept", "*/*")
    return "text/html" in accept or accept.strip() == "*/*"


def _is_activity(scope: Scope) -> bool:
    """Return whether the request shows that the person is there; a page that is only open does not."""
    return scope["method"] not in SAFE_METHODS or _is_navigation(scope)


async def _read_form(scope: Scope, receive: Receive) -> tuple[Response | None, dict[str, str], bytes]:
    """Return a refusal, or the fields of the form with the body that they were in."""
    body, more = b"", True
    while more:
        try:
            message = await receive()
        except HTTPException as error:
            # The limit of `starter.http_server.body_limit`.
            return _bad_form(scope, f"{capitalize_first(error.detail)}.", error.status_code), {}, b""
        if message["type"] != "http.request":
            return _bad_form(scope, "The request was cut.", HTTPStatus.BAD_REQUEST), {}, b""
        body += message.get("body", b"")
        more = message.get("more_body", False)
    kind = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
    if body and kind != _FORM_TYPE:
        return _bad_form(scope, "The request is not a form.", HTTPStatus.UNSUPPORTED_MEDIA_TYPE), {}, b""
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        return _bad_form(scope, "The form cannot be read.", HTTPStatus.BAD_REQUEST), {}, b""
    return None, dict(pairs), body


def _bad_form(scope: Scope, text: str, status: int) -> Response:
    return message_page(Request(scope), "Not done", text, status)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body again, and then what the client does next."""
    is_given = False

    async def replay() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _with_cookie(send: Send, cookie: str) -> Send:
    """Return a `send` that adds the header, unless the answer sets this cookie itself."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if not any(each.startswith(f"{SESSION_COOKIE}=") for each in headers.getlist("set-cookie")):
                headers.append("set-cookie", cookie)
        await send(message)

    return sending


def _unavailable_page(scope: Scope) -> Response:
    response = message_page(
        Request(scope),
        "Try again in a minute",
        "Your sign-in cannot be renewed now, because its issuer does not answer. You stay signed in.",
        HTTPStatus.SERVICE_UNAVAILABLE,
    )
    response.headers["Retry-After"] = RETRY_AFTER
    return response
