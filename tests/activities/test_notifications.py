"""Ensures that each configured channel sends a notice once, even if another channel fails."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import standardwebhooks
from temporalio.exceptions import ApplicationError

from activities.notices.life_record import AuditLog, AuditLogSinks
from activities.notices.notifications import NotificationChannels, Notifications, text
from clients.jsonl_file import JsonLinesFile
from clients.smtp import Security, Smtp
from clients.webhook import ID, SIGNATURE, Webhook
from contracts.activities.notices import NotificationResult
from contracts.environment.models import AuditLogEntry, Outcome, Problem
from contracts.errors import ErrorType
from contracts.notifications import FOR_PROGRAMS, LifeRecord, Notification, NotificationKind
from starter.environments.life_archive import read_records
from tests.activities.activity_runs import Running, fail, succeed
from tests.activities.notification_receivers import Mailbox, mail_server, webhook_receiver

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
TIMEOUT = timedelta(seconds=5)
FOR_PEOPLE = set(NotificationKind) - FOR_PROGRAMS
SECRET = "whsec_YS1zaGFyZWQtc2VjcmV0LW9mLTMyLWJ5dGVzLS0tLS0t"
NOTICE = Notification(
    id="0123-warning-1",
    kind=NotificationKind.WARNING,
    at=NOW,
    name="demo",
    life="0" * 20,
    owner="alice@example.com",
    team="blue",
    people=("alice@example.com", "bob@example.com"),
    template="small",
    host="one",
    ends_at=NOW + timedelta(minutes=15),
    kept_until=NOW + timedelta(minutes=25),
    latest_end=NOW + timedelta(minutes=15, hours=4),
)
ACCOUNT = LifeRecord(
    name="demo",
    life="0" * 20,
    owner="alice@example.com",
    team="blue",
    collaborators=(),
    template="small",
    host="one",
    outcome=Outcome.EXPIRED,
    requested_at=NOW,
    ended_at=NOW,
    audit_log=(AuditLogEntry(at=NOW, actor="alice@example.com", action="asked for it"),),
)


def hook(url: str, *secrets: str, timeout: timedelta = TIMEOUT) -> Webhook:
    return Webhook("webhook of notices", url, secrets=secrets, timeout=timeout)


def mail(mailbox: Mailbox, login: tuple[str, str] | None = None) -> Smtp:
    return Smtp(
        "127.0.0.1",
        mailbox.port,
        security=Security.NONE,
        sender="moorage@example.com",
        login=login,
        timeout=TIMEOUT,
    )


async def test_a_webhook_is_json_and_signed() -> None:
    """Ensures that the receiver can tell that it is ours, when it was sent, and whether it is a repeat."""
    with webhook_receiver() as receiver:
        async with hook(receiver.url, SECRET) as webhook:
            result = await succeed(Notifications(NotificationChannels(webhook=webhook)).send, NOTICE)
        [(headers, body)] = receiver.got
    assert result.delivered_by == ("webhook",)
    assert headers[ID] == NOTICE.id
    content = standardwebhooks.Webhook(SECRET).verify(body, dict(headers.items()))
    tampered = body.replace(b"demo", b"else")
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(SECRET).verify(tampered, dict(headers.items()))
    assert (content["kind"], content["name"], content["ends_at"]) == (
        "warning",
        "demo",
        "2030-01-01T12:15:00Z",
    )
    assert "moorage extend demo" in content["message"]


async def test_a_webhook_of_slacks_form_has_the_moment_in_the_readers_zone() -> None:
    """Ensures that Slack's form is kept, and nothing is signed with a secret that it does not know."""
    with webhook_receiver() as receiver:
        async with hook(receiver.url) as slack:
            await succeed(Notifications(NotificationChannels(slack=slack)).send, NOTICE)
        [(headers, body)] = receiver.got
    assert SIGNATURE not in headers
    content = json.loads(body)
    assert set(content) == {"text"}
    assert f"<!date^{int(NOTICE.ends_at.timestamp())}^" in content["text"]


async def test_a_mail_goes_to_everybody_and_is_one_mail_however_often_it_is_tried() -> None:
    """Ensures that owner and collaborators get it, and that a mail program shows a repeat as one."""
    async with mail_server() as mailbox:
        mailbox.replies = ["451 try again later"]
        notices = Notifications(NotificationChannels(mail=mail(mailbox)))
        error = await fail(notices.send, NOTICE)
        assert error.type == ErrorType.UNAVAILABLE
        assert not error.non_retryable
        await succeed(notices.send, NOTICE)
    [(recipients, message)] = mailbox.mails
    assert recipients == list(NOTICE.people)
    assert message["Message-ID"] == f"<{NOTICE.id}@moorage>"
    assert message["Subject"] == "demo ends in 15m"
    content = message.get_payload(decode=True)
    assert isinstance(content, bytes)
    assert b"2030-01-01 12:15:00 UTC" in content


async def tried(
    notices: Notifications, notice: Notification, tries: int
) -> tuple[list[str], NotificationResult | None]:
    """The errors of up to so many tries, each of which begins with what the one before has kept."""
    kept = ""
    errors: list[str] = []
    for _ in range(tries):
        running = Running(notices.send, notice, kept=kept)
        try:
            return errors, await running.result()
        except ApplicationError as failure:
            error = failure
        errors.append(f"{'final' if error.non_retryable else 'again'}: {error.message}")
        kept = next((beat.checkpoint for beat in reversed(running.beats) if beat.checkpoint), kept)
        if error.non_retryable:
            break
    return errors, None


ALICE, BOB, CAROL = "alice@example.com", "bob@example.com", "carol@example.com"


@pytest.mark.parametrize(
    ("replies", "mails", "errors", "refused"),
    [
        # One is deferred: only that one is tried again.
        (
            {BOB: ["450 busy"]},
            [[ALICE, CAROL], [BOB]],
            ["again: .* not take it yet for bob@example.com."],
            (),
        ),
        # Deferred beside refused: the one is tried again, the other is named.
        (
            {BOB: ["451 greylisted"] * 2, CAROL: ["550 no such user"]},
            [[ALICE], [BOB]],
            ["again: .* yet for bob@example.com, and never for carol@example.com."] * 2,
            (CAROL,),
        ),
        # Refused for good: reported, and not tried again.
        ({CAROL: ["550 no such user"]}, [[ALICE, BOB]], [], (CAROL,)),
        # All deferred, all refused.
        (
            {ALICE: ["450 later"], BOB: ["450 later"], CAROL: ["552 full"]},
            [[ALICE, BOB]],
            ["again: .* yet for alice@example.com, bob@example.com, and never for carol@example.com."],
            (CAROL,),
        ),
        (
            {each: ["550 no"] for each in (ALICE, BOB, CAROL)},
            [],
            ["final: .*refuses the recipients alice"],
            None,
        ),
        # 421 ends the connection in the middle: no later recipient was asked, and none has the mail.
        ({BOB: ["421 closing"]}, [[ALICE, BOB, CAROL]], ["again: .* yet for alice@.*, bob@.*, carol@"], ()),
    ],
)
async def test_each_recipient_gets_the_mail_once(
    replies: dict[str, list[str]], mails: list[list[str]], errors: list[str], refused: tuple[str, ...] | None
) -> None:
    """Ensures that only deferred recipients are tried again, and that refused ones are named."""
    notice = NOTICE.model_copy(update={"people": (ALICE, BOB, CAROL)})
    async with mail_server() as mailbox:
        mailbox.recipients = {each: list(texts) for each, texts in replies.items()}
        failures, result = await tried(Notifications(NotificationChannels(mail=mail(mailbox))), notice, 5)
    assert [recipients for recipients, _ in mailbox.mails] == mails
    assert len(failures) == len(errors)
    for failure, error in zip(failures, errors, strict=True):
        assert re.match(error, failure)
    assert (result.refused if result else None) == refused
    for _, message in mailbox.mails:
        assert message["To"] == ", ".join(notice.people)
        assert message["Date"] == "Tue, 01 Jan 2030 12:00:00 +0000"
        assert message["Message-ID"] == f"<{NOTICE.id}@moorage>"


OPS = ("ops@example.com", BOB)


@pytest.mark.parametrize(
    ("people", "platform_team", "owner_left", "recipients"),
    [
        ((), OPS, True, list(OPS)),
        ((BOB, CAROL), OPS, True, [BOB, CAROL, OPS[0]]),
        ((BOB, CAROL), (), True, [BOB, CAROL]),
        ((ALICE, BOB), OPS, False, [ALICE, BOB]),
    ],
)
@pytest.mark.parametrize(
    "kind", [NotificationKind.OWNER_LEFT, NotificationKind.WARNING, NotificationKind.ENDED]
)
async def test_the_platform_team_gets_what_has_no_owner(
    people: tuple[str, ...],
    platform_team: tuple[str, ...],
    owner_left: bool,
    recipients: list[str],
    kind: NotificationKind,
) -> None:
    """Ensures that they get it too, once each, and nothing about environments that have an owner."""
    notice = NOTICE.model_copy(update={"people": people, "owner_left": owner_left, "kind": kind})
    async with mail_server() as mailbox:
        channels = NotificationChannels(mail=mail(mailbox), platform_team=platform_team)
        result = await succeed(Notifications(channels).send, notice)
    assert result.delivered_by == ("e-mail",)
    [(got, message)] = mailbox.mails
    assert sorted(got) == sorted(recipients)
    assert message["To"] == ", ".join(recipients)


async def test_a_notice_that_has_no_recipient_says_so_and_fails_no_other_channel() -> None:
    """Ensures that the error names the setting, and that a webhook still gets it."""
    notice = NOTICE.model_copy(update={"people": (), "owner_left": True})
    async with mail_server() as mailbox:
        error = await fail(Notifications(NotificationChannels(mail=mail(mailbox))).send, notice)
        assert error.non_retryable
        assert "MOORAGE_NOTICES__PLATFORM_TEAM" in error.message
        assert "refuses the recipients" not in error.message
        with webhook_receiver() as receiver:
            async with hook(receiver.url, SECRET) as webhook:
                channels = NotificationChannels(webhook=webhook, mail=mail(mailbox))
                result = await succeed(Notifications(channels).send, notice)
    assert (result.delivered_by, len(receiver.got), mailbox.mails) == (("webhook",), 1, [])


async def test_slack_is_sent_names_and_not_its_own_signs() -> None:
    """Ensures that a name mentions no user and makes no link, and that the longest text is one message."""
    odd = {
        "team": "<!channel> & <https://example.com|R&D>",
        "owner": f"{'&' * 600}@example.com",
        "template": "\0<b>",
    }
    with webhook_receiver() as receiver:
        async with hook(receiver.url) as slack:
            for kind in FOR_PEOPLE:
                notice = NOTICE.model_copy(update=odd | {"kind": kind, "moved": timedelta(hours=2)})
                await succeed(Notifications(NotificationChannels(slack=slack)).send, notice)
    assert len(receiver.got) == len(FOR_PEOPLE)
    for _, body in receiver.got:
        content = json.loads(body)["text"]
        moment = f"<!date^{int(NOTICE.ends_at.timestamp())}^"
        dates = re.findall(r"<!date[^>]*", content)
        assert re.findall(r"<[^>]*", content) == dates
        # A notice about a person's access has no moment.
        assert content.count(moment) == len(dates) <= 1
        assert "&lt;!channel&gt; &amp; &lt;https://example.com|R&amp;D&gt;" in content
        assert len(content) < 4000


async def test_the_login_at_the_mail_server() -> None:
    """Ensures that the error for a wrong password does not quote it, and that the right one is accepted."""
    async with mail_server(password="right-horse") as mailbox:
        wrong = Notifications(NotificationChannels(mail=mail(mailbox, ("moorage", "wrong-horse"))))
        error = await fail(wrong.send, NOTICE)
        assert error.type == ErrorType.ACCESS_DENIED
        assert "horse" not in str(error)
        await succeed(
            Notifications(NotificationChannels(mail=mail(mailbox, ("moorage", "right-horse")))).send, NOTICE
        )
    assert len(mailbox.mails) == 1


async def test_what_one_channel_has_taken_is_not_sent_to_it_again() -> None:
    """Ensures that the webhook is called exactly once while the mail server does not answer."""
    with webhook_receiver() as receiver:
        async with mail_server() as mailbox, hook(receiver.url, SECRET) as webhook:
            mailbox.replies = ["451 later"] * 2
            notices = Notifications(NotificationChannels(webhook=webhook, mail=mail(mailbox)))
            kept = ""
            for _ in range(2):
                running = Running(notices.send, NOTICE, kept=kept)
                await running.failure()
                kept = next((beat.checkpoint for beat in reversed(running.beats) if beat.checkpoint), kept)
            result = await Running(notices.send, NOTICE, kept=kept).result()
    assert (len(receiver.got), len(mailbox.mails)) == (1, 1)
    assert set(result.delivered_by) == {"webhook", "e-mail"}


@pytest.mark.parametrize("status", [404, 410, 401, 302])
async def test_the_error_for_an_address_that_refuses_does_not_quote_it(status: int) -> None:
    """Ensures that no error quotes an address: that of Slack is a secret."""
    with webhook_receiver() as receiver:
        receiver.statuses = [status]
        async with hook(receiver.url) as slack:
            error = await fail(Notifications(NotificationChannels(slack=slack)).send, NOTICE)
    assert str(status) in str(error)
    assert "hooks" not in str(error)


@pytest.mark.parametrize("kind", sorted(FOR_PROGRAMS))
async def test_a_notice_for_programs_is_sent_to_the_webhook_alone(kind: NotificationKind) -> None:
    """Ensures that people who watch their environment get no message that it is ready or has failed."""
    notice = NOTICE.model_copy(update={"kind": kind})
    with webhook_receiver() as receiver, webhook_receiver() as slack_receiver:
        async with hook(receiver.url, SECRET) as webhook, hook(slack_receiver.url) as slack:
            channels = NotificationChannels(
                webhook,
                slack,
                Smtp(
                    "127.0.0.1",
                    1,
                    security=Security.NONE,
                    sender="moorage@example.com",
                    login=None,
                    timeout=TIMEOUT,
                ),
            )
            result = await succeed(Notifications(channels).send, notice)
    assert (result.delivered_by, len(receiver.got), slack_receiver.got) == (("webhook",), 1, [])
    assert json.loads(receiver.got[0][1])["kind"] == kind


async def test_without_channels_no_notice_is_sent() -> None:
    """Ensures that notices are optional."""
    assert (await succeed(Notifications(NotificationChannels()).send, NOTICE)).delivered_by == ()


def test_the_words() -> None:
    """Ensures that a notice says what happens, when, why it is late, and what can be done."""
    late = text(NOTICE.model_copy(update={"moved": timedelta(hours=2)}))
    assert "2h later than it was to be, because this warning comes late" in late
    assert "kept for 10m after that" in late
    assert "by up to 4h:  moorage extend demo --by 1h" in late
    spent = text(NOTICE.model_copy(update={"latest_end": NOTICE.ends_at}))
    assert "cannot be extended any more" in spent
    assert "has ended" in text(NOTICE.model_copy(update={"kind": NotificationKind.ENDED}))
    ownerless = text(NOTICE.model_copy(update={"owner_left": True}))
    assert "A member of team blue can take it:  moorage transfer demo --to EMAIL" in ownerless
    assert "moorage extend" not in ownerless


def test_the_words_of_one_that_is_ready_or_could_not_be_created() -> None:
    """Ensures that a notice of a failure says what failed, why, what is undone, and what to do next."""
    ready = text(NOTICE.model_copy(update={"kind": NotificationKind.READY}))
    assert "is ready." in ready
    assert "To use it:  moorage kubeconfig demo --merge" in ready
    problem = Problem(
        step="vcluster", system="host cluster", cause="no node has room.", remedy="Add a node.", type="Full"
    )
    failed = NOTICE.model_copy(update={"kind": NotificationKind.FAILED, "problem": problem})
    assert text(failed).splitlines() == [
        f"The environment demo (small, {NOTICE.team}) of {NOTICE.owner} could not be created. "
        "What was made of it is being removed.",
        "vcluster (host cluster): no node has room.",
        "",
        "What to do:  Add a node.",
        "",
        "What happened to it:  moorage history demo",
    ]
    without = failed.model_copy(update={"problem": problem.model_copy(update={"remedy": ""})})
    assert "What to do" not in text(without)


async def test_accounts_are_kept_in_a_file_and_found_again(tmp_path: Path) -> None:
    """Ensures that an account is one line, found by its name, and one however often it was kept."""
    file = JsonLinesFile(tmp_path / "new" / "audit-log.jsonl")
    assert await read_records(file, "demo") == []
    trail = AuditLog(AuditLogSinks(file=file))
    other = ACCOUNT.model_copy(update={"name": "demolition"})
    for account in (ACCOUNT, other, ACCOUNT, ACCOUNT.model_copy(update={"life": "1" * 20})):
        assert (await succeed(trail.write, account)).written_to == ("file",)
    await file.add('{"name":"demo", and no more of it')
    found = await read_records(file, "demo")
    assert [account.life for account in found] == ["0" * 20, "1" * 20]
    assert found[0] == ACCOUNT


async def test_an_account_that_one_sink_refuses_is_not_added_to_the_file_again(tmp_path: Path) -> None:
    """Ensures that a dead webhook does not fill the file."""
    file = JsonLinesFile(tmp_path / "audit-log.jsonl")
    with webhook_receiver() as receiver:
        receiver.statuses = [503]
        async with hook(receiver.url, SECRET) as webhook:
            trail = AuditLog(AuditLogSinks(file, webhook))
            first = Running(trail.write, ACCOUNT)
            await first.failure()
            kept = first.beats[-1].checkpoint
            result = await Running(trail.write, ACCOUNT, kept=kept).result()
    assert result.written_to == ("file", "webhook")
    assert len(await file.find("demo")) == 1
    assert json.loads(receiver.got[0][1])["outcome"] == "expired"


async def test_a_file_that_cannot_be_written_is_worth_another_try(tmp_path: Path) -> None:
    """Ensures that the error for a full disk or a missing permission names the file."""
    (tmp_path / "trail").write_text("")
    error = await fail(
        AuditLog(AuditLogSinks(file=JsonLinesFile(tmp_path / "trail" / "x.jsonl"))).write, ACCOUNT
    )
    assert not error.non_retryable
    assert "x.jsonl" in str(error)
