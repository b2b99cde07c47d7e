"""Ensures that mail goes out encrypted, to a server whose certificate is trusted, or not at all."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from clients.errors import Rejected, Unreachable
from clients.smtp import Mail, Security, Smtp
from embedded.host.tls import authority, server_certificate
from tests.activities.notification_receivers import Mailbox, mail_server

LOGIN = ("moorage", "right-horse")


@pytest.fixture
def context(tmp_path: Path) -> ssl.SSLContext:
    """The server's side, signed by an authority of the test's own."""
    authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*server_certificate(tmp_path))
    return context


@pytest.fixture
def trusted(context: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine trusts that authority."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority(tmp_path)))


def mail(mailbox: Mailbox, security: Security) -> Smtp:
    return Smtp(
        "127.0.0.1",
        mailbox.port,
        security=security,
        sender="moorage@example.com",
        login=LOGIN,
        timeout=timedelta(seconds=5),
    )


async def send(mail: Smtp) -> None:
    await mail.send(Mail("d-1", datetime(2030, 1, 1, tzinfo=UTC), ["alice@example.com"], "It ends", "soon"))


@pytest.mark.usefixtures("trusted")
async def test_a_server_that_turns_to_tls(context: ssl.SSLContext) -> None:
    async with mail_server(LOGIN[1], starttls=context) as mailbox:
        await send(mail(mailbox, Security.STARTTLS))
    assert len(mailbox.mails) == 1


@pytest.mark.usefixtures("trusted")
async def test_a_server_that_speaks_tls_from_the_first_byte(context: ssl.SSLContext) -> None:
    async with mail_server(LOGIN[1], tls=context) as mailbox:
        await send(mail(mailbox, Security.TLS))
    assert len(mailbox.mails) == 1


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])
async def test_a_certificate_of_an_untrusted_authority(context: ssl.SSLContext, security: Security) -> None:
    side = {"starttls": context} if security is Security.STARTTLS else {"tls": context}
    async with mail_server(LOGIN[1], **side) as mailbox:
        with pytest.raises(Unreachable, match="certificate") as failure:
            await send(mail(mailbox, security))
    assert not mailbox.mails
    assert LOGIN[1] not in str(failure.value)


async def test_a_server_without_tls_gets_neither_login_nor_mail() -> None:
    async with mail_server(LOGIN[1]) as mailbox:
        with pytest.raises(Rejected, match="does not offer"):
            await send(mail(mailbox, Security.STARTTLS))
    assert not mailbox.mails
