"""Headers of every page: they forbid what the page does not need, so that injected text can do nothing."""

from collections.abc import Callable, Iterable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Everything is from this server, and no script or style is in a page itself. `form-action` is `self` and the
#: issuers, because browsers apply it to the redirect that follows a form as well; `connect-src` is for live
#: updates.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'{form_targets}",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # Addresses of pages have names of environments.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class SecurityHeaders:
    """ASGI middleware that adds the headers, and forbids to keep pages: they show what one person may see."""

    def __init__(self, app: ASGIApp, *, form_targets: Callable[[], Iterable[str]] = tuple) -> None:
        self.app = app
        self._form_targets = form_targets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application, and add the headers to its answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                targets = "".join(f" {origin}" for origin in self._form_targets())
                headers.setdefault("Content-Security-Policy", _POLICY.format(form_targets=targets))
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self.app(scope, receive, send_with_headers)
