"""Calls the application for a caller who is known, and writes denials and changes to the security log."""

from collections.abc import Callable
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from starter.api.problem_details import ApiProblem, too_many
from starter.auth import security_log
from starter.auth.policy import Principal
from starter.auth.rate_limit import WRONG_TOKENS_BURST, WRONG_TOKENS_PER_SECOND, Limited, Throttle
from starter.auth.security_log import Verdict
from starter.http_server.connections import peer_of

#: Burst and rate of denied requests of one person: enough for a person who mistypes, and not for a program
#: that searches for names.
DENIALS_BURST, DENIALS_PER_SECOND = 60, 1.0

_READS = frozenset({"GET", "HEAD", "OPTIONS"})


class AccessRecorder:
    """Records what callers do, and limits those who fail too often.

    `respond` makes the answer to a person who is over the limit.
    """

    def __init__(
        self, app: ASGIApp, respond: Callable[[ApiProblem], ASGIApp] = lambda problem: problem.response()
    ) -> None:
        self._app = app
        self._respond = respond
        self._wrong = Throttle(WRONG_TOKENS_BURST, WRONG_TOKENS_PER_SECOND)
        self._denied = Throttle(DENIALS_BURST, DENIALS_PER_SECOND)
        self._unverified = Throttle(WRONG_TOKENS_BURST, WRONG_TOKENS_PER_SECOND)

    def record_unknown(self, scope: Scope, **more: str) -> Limited | None:
        """Record a request without a known caller; return Limited after too many from its address."""
        limited = self._wrong.record(peer_of(peer_in(scope)))
        record_not_signed_in(scope, limited, **more)
        return limited

    def record_unverified(self, scope: Scope, reason: str) -> None:
        """Record a request whose token cannot be verified now; above the rate, the lines are left out.

        The caller is not limited: the token may be valid.
        """
        if self._unverified.record(peer_of(peer_in(scope))) is None:
            security_log.record(
                Verdict.FAILED,
                actor="",
                verb=verb_in(scope),
                object="",
                peer=peer_in(scope),
                reason=reason,
                status=int(HTTPStatus.SERVICE_UNAVAILABLE),
            )

    async def call(self, principal: Principal, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application for the principal; the result is recorded before the caller has it."""
        details, status, limited = security_log.start_details(), None, None

        async def answered(message: Message) -> None:
            nonlocal status, limited
            if message["type"] == "http.response.start":
                status = message["status"]
                details.denied = details.denied or status == HTTPStatus.FORBIDDEN
                limited = self._denied.record(principal.email) if details.denied else None
                self._record(principal, scope, details, status, limited)
                if limited:
                    problem = too_many("requests that you may not make", limited)
                    await self._respond(problem)(scope, receive, send)
            if not limited:
                await send(message)

        try:
            await self._app(scope, receive, answered)
        finally:
            if status is None:
                self._record(principal, scope, details, HTTPStatus.INTERNAL_SERVER_ERROR, limited)

    def _record(
        self,
        principal: Principal,
        scope: Scope,
        details: security_log.AccessDetails,
        status: int,
        limited: Limited | None,
    ) -> None:
        verb = str(getattr(scope.get("route"), "name", scope["method"]))
        is_change = scope["method"] not in _READS and not details.is_read
        if (limited and not limited.is_first) or not (details.denied or is_change):
            return
        parameters = scope.get("path_params", {})
        security_log.record(
            Verdict.LIMITED if limited else _verdict(details, status),
            actor=principal.email,
            verb=verb,
            object=details.object or str(parameters.get("name") or parameters.get("run_id") or "")[:100],
            peer=peer_in(scope),
            status=int(HTTPStatus.TOO_MANY_REQUESTS if limited else status),
            **({"until": details.until.isoformat()} if details.until else {}),
        )


def record_not_signed_in(
    scope: Scope, limited: Limited | None, *, actor: str = "", verb: str = "", **more: str
) -> None:
    """Record a request without a session or token; only the first one of those above the limit."""
    if limited is None or limited.is_first:
        security_log.record(
            Verdict.LIMITED if limited else Verdict.NOT_SIGNED_IN,
            actor=actor,
            verb=verb or verb_in(scope),
            object="",
            peer=peer_in(scope),
            **more,
        )


def verb_in(scope: Scope) -> str:
    """Return the method and the path, for a request that reaches no route."""
    return f"{scope['method']} {scope['path'][:200]}"


def peer_in(scope: Scope) -> str:
    """Return the address of the client."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def _verdict(details: security_log.AccessDetails, status: int) -> Verdict:
    if details.denied:
        return Verdict.DENIED
    if status < HTTPStatus.BAD_REQUEST:
        return Verdict.ALLOWED
    return Verdict.REFUSED if status < HTTPStatus.INTERNAL_SERVER_ERROR else Verdict.FAILED
