"""The answer to requests that still run when the server stops."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from starter.api.problem_details import RETRY_AFTER, ApiProblem, ProblemType

STOPPING = (
    "the API is stopping, and the request may have been accepted: send it again with the same "
    "Idempotency-Key, or look at the environment"
)


class AnswerOnShutdown:
    """ASGI middleware that answers 503 when the server cancels a request at the end of its grace.

    Without it, the server answers 500 in plain text, which clients take for the answer of another program.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application; answer for it if it is cancelled before its answer has started."""
        has_started = False

        async def send_and_note(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except asyncio.CancelledError:
            # Only the server cancels a request's task, and it waits for the answer.
            if scope["type"] != "http" or has_started:
                raise
            problem = ApiProblem(ProblemType.UNAVAILABLE, STOPPING, headers={"Retry-After": RETRY_AFTER})
            await problem.response()(scope, receive, send)
