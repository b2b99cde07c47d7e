"""A mail server that takes mail by SMTP."""

import asyncio
import smtplib
import ssl
from collections.abc import Sequence
from datetime import timedelta
from email.message import EmailMessage
from enum import StrEnum

from clients.errors import ClientError, Denied, Rejected, ServerFailed, Unreachable

_SYSTEM = "mail server"


class Security(StrEnum):
    """How the connection is protected."""

    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


class Mail:
    """Sends through one server, a connection a mail: there are few."""

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
        self._host = host
        self._port = port
        self._security = security
        self._sender = sender
        self._login = login
        self._timeout = timeout.total_seconds()

    async def send(self, delivery: str, to: Sequence[str], subject: str, text: str) -> None:
        """Hand over one mail to all of `to`. Raises a `ClientError` when the server has not taken it."""
        message = EmailMessage()
        message["From"] = self._sender
        message["To"] = ", ".join(to)
        message["Subject"] = subject
        # The same for every try: mail programs show a mail that came twice as one.
        message["Message-ID"] = f"<{delivery}@moorage>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        operation = "send a mail"
        try:
            await asyncio.to_thread(self._send, message)
        except smtplib.SMTPAuthenticationError as error:
            raise Denied(_SYSTEM, operation, f"{error.smtp_code} it refuses our login") from None
        except smtplib.SMTPRecipientsRefused as error:
            codes = {code for code, _ in error.recipients.values()}
            raise _of_code(max(codes), operation, "it refuses the recipients") from None
        except smtplib.SMTPResponseException as error:
            raise _of_code(error.smtp_code, operation, "it refuses the mail") from None
        except smtplib.SMTPNotSupportedError:
            raise Rejected(_SYSTEM, operation, "it does not offer what the settings ask for") from None
        except ssl.SSLCertVerificationError as error:
            detail = f"the certificate of {self._host} is not trusted: {error.verify_message}"
            raise Unreachable(_SYSTEM, operation, detail) from None
        except (OSError, smtplib.SMTPException) as error:
            detail = f"no mail server answers at {self._host} ({type(error).__name__})"
            raise Unreachable(_SYSTEM, operation, detail) from None

    def _send(self, message: EmailMessage) -> None:
        tls = ssl.create_default_context() if self._security is not Security.NONE else None
        with self._connect(tls) as server:
            if tls and self._security is Security.STARTTLS:
                server.starttls(context=tls)
            if self._login:
                server.login(*self._login)
            server.send_message(message)

    def _connect(self, tls: ssl.SSLContext | None) -> smtplib.SMTP:
        if tls and self._security is Security.TLS:
            return smtplib.SMTP_SSL(self._host, self._port, timeout=self._timeout, context=tls)
        return smtplib.SMTP(self._host, self._port, timeout=self._timeout)


def _of_code(code: int, operation: str, detail: str) -> ClientError:
    """A reply below 500 says: not now (RFC 5321, 4.2.1)."""
    if code < 500:
        return ServerFailed(_SYSTEM, operation, f"{code} {detail}", status=503, ambiguous=False)
    return Rejected(_SYSTEM, operation, f"{code} {detail}")
