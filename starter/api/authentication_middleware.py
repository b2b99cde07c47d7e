"""Authentication middleware: it identifies the caller before it reads the rest of a request, and logs it."""

from http import HTTPStatus

from fastapi.security.utils import get_authorization_scheme_param
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from starter.api.problem_details import RETRY_AFTER, ApiProblem, ProblemType, too_many
from starter.auth import security_log
from starter.auth.authentication import Authentication, IssuerUnavailable, TokenRefused
from starter.auth.policy import Principal
from starter.auth.rate_limit import WRONG_TOKENS_BURST, WRONG_TOKENS_PER_SECOND, Limited, Throttle
from starter.auth.security_log import Verdict
from starter.http_server.connections import peer_of

#: Burst and rate of denied requests of one person: enough for a person who mistypes, and not for a program
#: that searches for names.
DENIALS_BURST, DENIALS_PER_SECOND = 60, 1.0

_UNSIGNED = 'a token is needed, as the header "Authorization: Bearer …"'

_READS = frozenset({"GET", "HEAD", "OPTIONS"})


class SignIn:
    """ASGI middleware that accepts requests with a valid token, and answers 401, or 429 after many failures.

    A valid token is never limited because of other callers at the same address, for example a proxy's
    address.
    """

    def __init__(
        self, app: ASGIApp, *, authentication: Authentication, root: str, open_paths: frozenset[str]
    ) -> None:
        self._app = app
        self._authentication = authentication
        self._root = root
        self._open_paths = open_paths
        self._wrong = Throttle(WRONG_TOKENS_BURST, WRONG_TOKENS_PER_SECOND)
        self._denied = Throttle(DENIALS_BURST, DENIALS_PER_SECOND)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application if the token is valid; otherwise answer the request with an error."""
        path = scope.get("path", "")
        if scope["type"] != "http" or not path.startswith(f"{self._root}/") or path in self._open_paths:
            await self._app(scope, receive, send)
            return
        scheme, token = get_authorization_scheme_param(Headers(scope=scope).get("authorization"))
        if not token or scheme.lower() != "bearer":
            await self._refuse(_UNSIGNED, scope, receive, send)
            return
        try:
            principal = await self._authentication.principal_of(token)
        except TokenRefused as refusal:
            await self._refuse(str(refusal), scope, receive, send)
            return
        except IssuerUnavailable:
            await _issuer_unavailable().response()(scope, receive, send)
            return
        scope.setdefault("state", {}).update(principal=principal, token=token)
        await self._call(principal, scope, receive, send)

    async def _refuse(self, reason: str, scope: Scope, receive: Receive, send: Send) -> None:
        peer = _peer(scope)
        verb = f"{scope['method']} {scope['path'][:200]}"
        limited = self._wrong.record(peer_of(peer))
        verdict = Verdict.LIMITED if limited else Verdict.NOT_SIGNED_IN
        if limited is None or limited.is_first:
            security_log.record(verdict, actor="", verb=verb, object="", peer=peer)
        problem = too_many("tokens that are not known", limited) if limited else _unauthenticated(reason)
        await problem.response()(scope, receive, send)

    async def _call(self, principal: Principal, scope: Scope, receive: Receive, send: Send) -> None:
        details, status, limited = security_log.start_details(), 500, None

        async def answered(message: Message) -> None:
            nonlocal status, limited
            if message["type"] == "http.response.start":
                status = message["status"]
                details.denied = details.denied or status == HTTPStatus.FORBIDDEN
                limited = self._denied.record(principal.email) if details.denied else None
                if limited:
                    problem = too_many("requests for what is not yours", limited)
                    await problem.response()(scope, receive, send)
            if not limited:
                await send(message)

        try:
            await self._app(scope, receive, answered)
        finally:
            self._record(principal, scope, details, status, limited)

    def _record(
        self,
        principal: Principal,
        scope: Scope,
        details: security_log.AccessDetails,
        status: int,
        limited: Limited | None,
    ) -> None:
        verb = str(getattr(scope.get("route"), "name", scope["method"]))
        is_change = scope["method"] not in _READS
        if (limited and not limited.is_first) or not (details.denied or is_change):
            return
        parameters = scope.get("path_params", {})
        security_log.record(
            Verdict.LIMITED if limited else _verdict(details, status),
            actor=principal.email,
            verb=verb,
            object=details.object or str(parameters.get("name") or parameters.get("run_id") or "")[:100],
            peer=_peer(scope),
            status=int(HTTPStatus.TOO_MANY_REQUESTS) if limited else status,
            **({"until": details.until.isoformat()} if details.until else {}),
        )


def _verdict(details: security_log.AccessDetails, status: int) -> Verdict:
    if details.denied:
        return Verdict.DENIED
    if status < HTTPStatus.BAD_REQUEST:
        return Verdict.ALLOWED
    return Verdict.REFUSED if status < HTTPStatus.INTERNAL_SERVER_ERROR else Verdict.FAILED


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _unauthenticated(reason: str) -> ApiProblem:
    return ApiProblem(ProblemType.UNAUTHENTICATED, reason, headers={"WWW-Authenticate": "Bearer"})


def _issuer_unavailable() -> ApiProblem:
    # The reason is in the log: it may have an address that only operators know.
    return ApiProblem(
        ProblemType.UNAVAILABLE,
        "the token cannot be verified, because its issuer does not answer: try again in a minute",
        system="issuer",
        headers={"Retry-After": RETRY_AFTER},
    )
