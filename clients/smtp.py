"""A client for a mail server that accepts mail by SMTP."""

import asyncio
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from enum import StrEnum

from clients.errors import ClientError, Denied, Rejected, ServerFailed, Unreachable
from clients.transport.connection_errors import describe_cause
from clients.transport.measured_calls import measured
from clients.transport.tls_trust import TrustError, tls_context
from clients.transport.traced_requests import traced_request

_SYSTEM = "mail server"
_OPERATION = "send a mail"
#: The first permanent reply code; a lower one means "not now" (RFC 5321, 4.2.1).
_FINAL = 500
_Refusals = Mapping[str, tuple[int, bytes]]


class Security(StrEnum):
    """How the connection is protected."""

    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


@dataclass(frozen=True)
class Mail:
    """A mail. `id` and `at`, the time of writing, are the same in every attempt to send it."""

    id: str
    at: datetime
    to: Sequence[str]
    subject: str
    text: str


@dataclass(frozen=True)
class Delivery:
    """The result of one mail: recipients accepted, deferred, and refused permanently."""

    taken: tuple[str, ...] = ()
    deferred: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


class Smtp:
    """A sender through one server, with a new connection for each mail, because mails are few."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        security: Security,
        sender: str,
        login: tuple[str, str] | None,
        timeout: timedelta,
    ) -> None:
        self.system = _SYSTEM
        self._host = host
        self._port = port
        self._security = security
        self._sender = sender
        self._login = login
        self._timeout = timeout.total_seconds()

    @measured
    async def send(self, letter: Mail, only: Sequence[str] = ()) -> Delivery:
        """Send one mail to all its recipients, or to `only` some of them; return the result of each.

        Raises:
            ClientError: the server has accepted it for no recipient and named no refused recipient.
        """
        message = EmailMessage()
        # Use the same date in every attempt, because a mail that is sent again must not change.
        message["Date"] = letter.at
        message["From"] = self._sender
        message["To"] = ", ".join(letter.to)
        message["Subject"] = letter.subject
        # Use the same id in every attempt, because mail programs then show a duplicate mail once.
        message["Message-ID"] = f"<{letter.id}@moorage>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(letter.text)
        recipients = tuple(only) or tuple(letter.to)
        try:
            with traced_request(_SYSTEM, _OPERATION, url=f"smtp://{self._host}"):
                refusals = await asyncio.to_thread(self._send, message, recipients)
            return _delivery(recipients, refusals, else_taken=True)
        except smtplib.SMTPRecipientsRefused as error:
            # The server may have stopped in the middle of the recipients (421), so those not named are not
            # refused.
            return _delivery(recipients, error.recipients, else_taken=False)
        except smtplib.SMTPAuthenticationError as error:
            raise Denied(_SYSTEM, _OPERATION, f"{error.smtp_code} it refuses our login") from None
        except smtplib.SMTPResponseException as error:
            raise _map_reply(error.smtp_code, "it refuses the mail") from None
        except smtplib.SMTPNotSupportedError:
            raise Rejected(_SYSTEM, _OPERATION, "it does not offer what the settings ask for") from None
        except TrustError as error:
            raise Rejected(_SYSTEM, _OPERATION, str(error)) from None
        except ssl.SSLCertVerificationError as error:
            detail = f"the certificate of {self._host} is not trusted: {error.verify_message}"
            raise Unreachable(_SYSTEM, _OPERATION, detail) from None
        except (OSError, smtplib.SMTPException) as error:
            detail = (
                f"no mail server answers at {self._host} ({describe_cause(error) or type(error).__name__})"
            )
            raise Unreachable(_SYSTEM, _OPERATION, detail) from None

    def _send(self, message: EmailMessage, recipients: Sequence[str]) -> _Refusals:
        tls = tls_context() if self._security is not Security.NONE else None
        with self._connect(tls) as server:
            if tls and self._security is Security.STARTTLS:
                server.starttls(context=tls)
            if self._login:
                server.login(*self._login)
            return server.send_message(message, to_addrs=list(recipients))

    def _connect(self, tls: ssl.SSLContext | None) -> smtplib.SMTP:
        if tls and self._security is Security.TLS:
            return smtplib.SMTP_SSL(self._host, self._port, timeout=self._timeout, context=tls)
        return smtplib.SMTP(self._host, self._port, timeout=self._timeout)


def _delivery(recipients: Sequence[str], refusals: _Refusals, *, else_taken: bool) -> Delivery:
    """Map the server's replies to recipients; `else_taken`: it has accepted the others."""
    refused = tuple(each for each in recipients if each in refusals and refusals[each][0] >= _FINAL)
    deferred = tuple(
        each for each in recipients if each not in refused and (each in refusals or not else_taken)
    )
    taken = tuple(each for each in recipients if each not in refused and each not in deferred)
    return Delivery(taken, deferred, refused)


def deferred_error(deferred: Sequence[str], refused: Sequence[str]) -> ClientError:
    """Return the error of a mail to retry; it names the deferred and the refused recipients."""
    detail = f"it does not take it yet for {', '.join(deferred)}"
    if refused:
        detail += f", and never for {', '.join(refused)}"
    return ServerFailed(_SYSTEM, _OPERATION, detail, status=503, ambiguous=False)


def refused_error(refused: Sequence[str]) -> ClientError:
    """Return the error of a mail that the server refuses for every recipient."""
    return Rejected(_SYSTEM, _OPERATION, f"it refuses the recipients {', '.join(refused)}")


def _map_reply(code: int, detail: str) -> ClientError:
    if code < _FINAL:
        return ServerFailed(_SYSTEM, _OPERATION, f"{code} {detail}", status=503, ambiguous=False)
    return Rejected(_SYSTEM, _OPERATION, f"{code} {detail}")
