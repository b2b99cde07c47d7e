"""Tells people, by webhook, by a webhook of Slack's form, and by mail: those of them that are set."""

import html
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta

from pydantic import TypeAdapter, ValidationError
from temporalio import activity

from activities import activity_context
from clients.errors import ClientError
from clients.smtp import Letter, Mail, never, not_yet
from clients.webhook import Webhook
from contracts.activities import NoticeActivities, NoticeResult
from contracts.durations import format_duration
from contracts.expiry import said
from contracts.notifications import Notification, NotificationKind

#: Longest piece of a name that is shown in Slack, in characters. With it the longest text stays below the
#: 4,000 from which Slack splits a message in two.
SLACK_NAME = 200
#: Stands for the end in a text that is escaped before the end is put in: no name holds it.
_MOMENT = "\0"

_Tell = Callable[[Notification], Awaitable[None]]


@dataclass(frozen=True)
class Channels:
    """The ways to people; None is not set."""

    webhook: Webhook | None = None
    slack: Webhook | None = None
    mail: Mail | None = None


class Notices(NoticeActivities):
    """Sends each notice by every channel, once."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels

    @activity.defn(name="notice.send")
    async def send(self, input: Notification) -> NoticeResult:
        """Try all channels, whatever becomes of the others; a further try leaves out those that have it.

        Of the people of a mail as well: who has it is not sent it again. Fails with one that may work in a
        while, if there is one: that is what decides on a further try.
        """
        told = _Told.read(activity_context.kept())
        failed: list[ClientError] = []
        for name, tell in self._ways(told).items():
            if name not in told.by:
                try:
                    await tell(input)
                except ClientError as error:
                    failed.append(error)
                    continue
                told.by.append(name)
                told.keep()
        if failed:
            raise max(failed, key=lambda error: error.retryable)
        return NoticeResult(
            told_by=tuple(name for name in self._ways(told) if name in told.by), refused=tuple(told.refused)
        )

    def _ways(self, told: "_Told") -> Mapping[str, _Tell]:
        ways: dict[str, _Tell] = {}
        channels = self._channels
        if webhook := channels.webhook:
            ways["webhook"] = lambda notice: webhook.post(notice.id, _document(notice), "send a notice")
        if slack := channels.slack:
            ways["Slack"] = lambda notice: slack.post(notice.id, _slack(notice), "send a notice")
        if mail := channels.mail:
            ways["e-mail"] = lambda notice: _send_mail(mail, notice, told)
        return ways


@dataclass
class _Told:
    """Which channels have it, and who has the mail or never will: kept from one try to the next."""

    by: list[str] = field(default_factory=list)
    mailed: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, kept: str) -> "_Told":
        """What an earlier try has kept; that of an earlier version were the channels only."""
        try:
            return TypeAdapter(cls).validate_json(kept)
        except ValidationError:
            return cls(by=list(filter(None, kept.split(","))))

    def keep(self) -> None:
        """Have the next try, if there must be one, begin with this."""
        activity_context.keep(json.dumps(asdict(self)))


async def _send_mail(mail: Mail, notice: Notification, told: _Told) -> None:
    """Send it to those who do not have it yet. Fails if some may have it later, or if nobody ever will."""
    waiting = [person for person in notice.people if person not in (*told.mailed, *told.refused)]
    if waiting:
        letter = Letter(notice.id, notice.at, notice.people, subject(notice), text(notice))
        delivery = await mail.send(letter, waiting)
        told.mailed += delivery.taken
        told.refused += delivery.refused
        told.keep()
        if delivery.deferred:
            raise not_yet(delivery.deferred, told.refused)
    if not told.mailed:
        raise never(told.refused)


def subject(notice: Notification) -> str:
    """The notice in one line."""
    if notice.kind is NotificationKind.ENDED:
        return f"{notice.name} has ended: its time was up"
    return f"{notice.name} ends in {format_duration(notice.ends_at - notice.at)}"


def text(
    notice: Notification, moment: Callable[[Notification], str] = lambda notice: said(notice.ends_at)
) -> str:
    """The notice for people. `moment` says its end, where a way has its own form for that."""
    if notice.kind is NotificationKind.ENDED:
        lines = [
            f"The environment {notice.name} ({notice.template}, {notice.team}) of {notice.owner} has ended: "
            f"its time was up {moment(notice)}. It is being taken down with all that ran in it.",
            "",
            f"What happened to it:  moorage history {notice.name}",
        ]
        return "\n".join(lines) + "\n"
    lines = [
        f"The environment {notice.name} ({notice.template}, {notice.team}) of {notice.owner} ends "
        f"{moment(notice)}, in {format_duration(notice.ends_at - notice.at)}, with all that runs in it.",
    ]
    if notice.moved:
        late = format_duration(notice.moved)
        lines.append(f"That is {late} later than it was to be, because this warning comes late.")
    if notice.kept_until > notice.ends_at:
        grace = format_duration(notice.kept_until - notice.ends_at)
        lines.append(f"It is kept for {grace} after that, so that it can still be extended.")
    lines.append("")
    longest = notice.latest_end - notice.ends_at
    if longest > timedelta(0):
        lines.append(
            f"To keep it longer, by up to {format_duration(longest)}:  moorage extend {notice.name} --by 1h"
        )
    else:
        lines.append("It cannot be extended any more; the platform team can.")
    return "\n".join(lines) + "\n"


def _document(notice: Notification) -> dict[str, object]:
    return {**notice.model_dump(mode="json"), "message": text(notice)}


def _slack(notice: Notification) -> dict[str, object]:
    """The notice in Slack's form: docs.slack.dev, "Formatting message text"."""
    names = ("name", "template", "team", "owner")
    cut = notice.model_copy(update={each: _cut(getattr(notice, each)) for each in names})
    # Slack shows a moment in the zone of whoever reads it.
    seconds = int(notice.ends_at.timestamp())
    shown = f"<!date^{seconds}^{{date_short_pretty}} {{time}}|{said(notice.ends_at)}>"
    # Its own signs only: an unescaped "<!channel>" in a name would call everybody.
    escaped = html.escape(text(cut, lambda _: _MOMENT), quote=False)
    return {"text": escaped.replace(_MOMENT, shown)}


def _cut(name: str) -> str:
    name = name.replace(_MOMENT, "")
    return name if len(name) <= SLACK_NAME else f"{name[: SLACK_NAME - 1]}…"
