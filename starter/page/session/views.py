"""The few pages of the sign-in."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from starter.api.problem_details import ApiProblem
from starter.page.errors import problem_page
from starter.page.rendering import page


def message_page(
    request: Request, title: str, text: str, status: int, *, link: str = "", link_text: str = ""
) -> Response:
    """Return a page with one sentence, and a link to what to do next."""
    context = {"title": title, "text": text, "link": link, "link_text": link_text}
    return page(request, "session/message.html", status=status, **context)


def problem_app(problem: ApiProblem) -> ASGIApp:
    """Return the application that answers with the page of a problem."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await problem_page(Request(scope), problem)(scope, receive, send)

    return answer
