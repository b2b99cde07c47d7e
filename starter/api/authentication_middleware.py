"""Authentication middleware: it identifies the caller before it reads the rest of a request."""

from fastapi.security.utils import get_authorization_scheme_param
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from starter.api.access_recorder import AccessRecorder
from starter.api.problem_details import RETRY_AFTER, ApiProblem, ProblemType, too_many
from starter.auth.authentication import Authentication, IssuerUnavailable, TokenRefused

#: For the security log and the caller. The cause is in the other log: it may have an address that only
#: operators know.
_ISSUER_SILENT = "the token cannot be verified, because its issuer does not answer: try again in a minute"
_UNSIGNED = 'a token is needed, as the header "Authorization: Bearer …"'


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
        self._recorder = AccessRecorder(self._app)

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
            self._recorder.record_unverified(scope, _ISSUER_SILENT)
            await _issuer_unavailable().response()(scope, receive, send)
            return
        scope.setdefault("state", {}).update(principal=principal, token=token)
        await self._recorder.call(principal, scope, receive, send)

    async def _refuse(self, reason: str, scope: Scope, receive: Receive, send: Send) -> None:
        limited = self._recorder.record_unknown(scope, reason=reason)
        problem = too_many("tokens that are not known", limited) if limited else _unauthenticated(reason)
        await problem.response()(scope, receive, send)


def _unauthenticated(reason: str) -> ApiProblem:
    return ApiProblem(ProblemType.UNAUTHENTICATED, reason, headers={"WWW-Authenticate": "Bearer"})


def _issuer_unavailable() -> ApiProblem:
    return ApiProblem(
        ProblemType.UNAVAILABLE,
        _ISSUER_SILENT,
        system="issuer",
        headers={"Retry-After": RETRY_AFTER},
    )
