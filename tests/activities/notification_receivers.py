"""Receivers of notifications on this machine: an HTTP server for webhooks, and a mail server."""

import asyncio
import email
import ssl
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from tests.support.deadline import HANG


@dataclass
class Receiver:
    """One address that takes POSTs. It answers the next ones with `statuses`, then 204.

    A status of 429 comes with `retry_after`. With `hangs` set, a POST gets no answer while the receiver runs.
    """

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    retry_after: int = 0
    hangs: bool = False
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def webhook_receiver() -> Iterator[Receiver]:
    """A running receiver."""
    receiver, closing = Receiver(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = receiver.statuses.pop(0) if receiver.statuses else 204
            if status < 300:
                receiver.got.append((dict(self.headers), body))
            if receiver.hangs:
                closing.wait(HANG)
                return
            self.send_response(status)
            if status == 429:
                self.send_header("Retry-After", str(receiver.retry_after))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_port}/hooks/moorage?for=us"
    try:
        yield receiver
    finally:
        closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Mailbox:
    """A mail server with what it has taken. It answers the next mails with `replies`, then takes them.

    `recipients`: its next answers to one recipient, by address; then it takes mail for them.
    """

    port: int = 0
    replies: list[str] = field(default_factory=list)
    recipients: dict[str, list[str]] = field(default_factory=dict)
    mails: list[tuple[list[str], Message]] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if replies := self.recipients.get(address):
            return replies.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.replies:
            return self.replies.pop(0)
        content = envelope.content
        assert isinstance(content, bytes)
        self.mails.append((list(envelope.rcpt_tos), email.message_from_bytes(content)))
        return "250 OK"


@asynccontextmanager
async def mail_server(
    password: str | None = None, *, starttls: ssl.SSLContext | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Mailbox]:
    """A running mail server; with a `password`, for "moorage" only. With `starttls`, no mail in clear."""
    mailbox = Mailbox()

    def lets_in(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        success = (data.login, data.password) == (b"moorage", (password or "").encode())
        return AuthResult(success=success, handled=success)

    def session() -> SMTP:
        needed = password is not None
        with warnings.catch_warnings():
            # It never leaves this machine.
            warnings.filterwarnings("ignore", "Requiring AUTH while not requiring TLS")
            return SMTP(
                mailbox,
                hostname="localhost",
                authenticator=lets_in if needed else None,
                auth_required=needed,
                auth_require_tls=False,
                tls_context=starttls,
                require_starttls=starttls is not None,
            )

    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", 0, ssl=tls)
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        server.close()
        await server.wait_closed()
