"""Sends notices to people by webhook, by a webhook in Slack's format, and by e-mail, as configured."""

import html
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta

from pydantic import TypeAdapter, ValidationError
from temporalio import activity

from activities import activity_context
from activities.errors import NotConfigured
from activities.notices.cloud_events import EVENT_MEDIA_TYPE, notice_event
from clients.errors import ClientError
from clients.smtp import Mail, Smtp, deferred_error, refused_error
from clients.webhook import Webhook
from contracts.activities.notices import NotificationActivities, NotificationResult
from contracts.expiry import format_utc
from contracts.notifications import FOR_PROGRAMS, Notification, NotificationKind
from contracts.templates.sleep import SleepReason
from contracts.types.durations import format_duration

#: Longest part of a name that is shown in Slack, in characters. With it the longest text stays below the
#: 4,000 characters from which Slack splits a message in two.
MAX_SLACK_NAME = 200
#: Placeholder for the end time, in a text that is escaped before the time is inserted. No name contains it.
_MOMENT = "\0"

_SEND = "send a notice"
_NOTICES = "notices"
_NO_RECIPIENT = (
    "no address gets this notice: the environment has neither an owner nor collaborators, and "
    "MOORAGE_NOTICES__PLATFORM_TEAM is empty"
)

_Send = Callable[[Notification], Awaitable[None]]


@dataclass(frozen=True)
class NotificationChannels:
    """The notification channels; None means that this channel is not configured."""

    webhook: Webhook | None = None
    slack: Webhook | None = None
    mail: Smtp | None = None
    #: Get by e-mail what has no owner who could decide.
    platform_team: tuple[str, ...] = ()
    #: The source of CloudEvents for the webhook; None: it gets plain JSON.
    event_source: str | None = None


class Notifications(NotificationActivities):
    """Sends each notice through every channel, once."""

    def __init__(self, channels: NotificationChannels) -> None:
        self._channels = channels

    @activity.defn(name="notification.send")
    async def send(self, input: Notification) -> NotificationResult:
        """Try all channels, even if some fail; a retry skips the channels that have the notice.

        The same holds for the recipients of an e-mail: who has it does not get it again. If channels failed,
        raises the error of one that may work later, if there is one, because that decides on a retry.
        """
        delivered = _Delivered.read(activity_context.last_checkpoint())
        failed: list[ClientError] = []
        senders = self._senders(input, delivered)
        if not senders and self._channels.mail and input.kind not in FOR_PROGRAMS:
            raise NotConfigured(_NOTICES, _NO_RECIPIENT, "Set MOORAGE_NOTICES__PLATFORM_TEAM")
        for name, send_by in senders.items():
            if name not in delivered.by:
                try:
                    await send_by(input)
                except ClientError as error:
                    failed.append(error)
                    continue
                delivered.by.append(name)
                delivered.keep()
        if failed:
            raise max(failed, key=lambda error: error.retryable)
        return NotificationResult(
            delivered_by=tuple(name for name in senders if name in delivered.by),
            refused=tuple(delivered.refused),
        )

    def _senders(self, notice: Notification, delivered: "_Delivered") -> Mapping[str, _Send]:
        """Return the channels that have a recipient of the notice: an e-mail needs people."""
        senders: dict[str, _Send] = {}
        channels = self._channels
        if webhook := channels.webhook:
            source = channels.event_source
            senders["webhook"] = lambda notice: _post(webhook, notice, source)
        if notice.kind in FOR_PROGRAMS:
            return senders
        if slack := channels.slack:
            senders["Slack"] = lambda notice: slack.post(notice.id, _slack(notice), _SEND)
        recipients = _with_platform_team(notice, channels.platform_team)
        if (mail := channels.mail) and recipients.people:
            senders["e-mail"] = lambda _: _send_mail(mail, recipients, delivered)
        return senders


@dataclass
class _Delivered:
    """The progress of one notice, kept from one attempt to the next.

    It says which channels have the notice, who has the e-mail, and which addresses the mail server refused.
    """

    by: list[str] = field(default_factory=list)
    mailed: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, kept: str) -> "_Delivered":
        """Return what an earlier attempt has kept; nothing for the first attempt."""
        try:
            return TypeAdapter(cls).validate_json(kept)
        except ValidationError:
            return cls()

    def keep(self) -> None:
        """Store this for the next attempt, if there is one."""
        activity_context.save_checkpoint(json.dumps(asdict(self)))


async def _send_mail(mail: Smtp, notice: Notification, delivered: _Delivered) -> None:
    """Send the e-mail to those who do not have it yet.

    Raises an error if some recipients may get it later, or if no recipient can ever get it.
    """
    waiting = [person for person in notice.people if person not in (*delivered.mailed, *delivered.refused)]
    if waiting:
        letter = Mail(notice.id, notice.at, notice.people, subject(notice), text(notice))
        delivery = await mail.send(letter, waiting)
        delivered.mailed += delivery.taken
        delivered.refused += delivery.refused
        delivered.keep()
        if delivery.deferred:
            raise deferred_error(delivery.deferred, delivered.refused)
    if not delivered.mailed:
        raise refused_error(delivered.refused)


def _with_platform_team(notice: Notification, platform_team: tuple[str, ...]) -> Notification:
    """Return the notice for the platform team as well, if the environment has no owner."""
    if not notice.owner_left:
        return notice
    return notice.model_copy(update={"people": tuple(dict.fromkeys((*notice.people, *platform_team)))})


def subject(notice: Notification) -> str:
    """Return the notice in one line."""
    if notice.kind is NotificationKind.ENDED:
        return f"{notice.name} has ended: its time was up"
    if notice.kind is NotificationKind.ASLEEP:
        return f"{notice.name} is asleep"
    if notice.kind is NotificationKind.AWAKE:
        return f"{notice.name} is awake"
    if notice.kind is NotificationKind.COLLABORATOR_ADDED:
        return f"{notice.person} may use {notice.name}"
    if notice.kind is NotificationKind.OWNER_LEFT:
        return f"The owner of {notice.name} has left: team {notice.team} can take it"
    if notice.kind is NotificationKind.TRANSFERRED:
        return f"{notice.name} belongs to {notice.owner} now"
    if notice.kind is NotificationKind.COLLABORATOR_REMOVED:
        return f"{notice.person} may not use {notice.name} any more"
    return f"{notice.name} ends in {format_duration(notice.ends_at - notice.at)}"


def text(
    notice: Notification, moment: Callable[[Notification], str] = lambda notice: format_utc(notice.ends_at)
) -> str:
    """Return the notice as text for people.

    `moment` formats its end time, for a channel that has its own format for that.
    """
    if notice.kind is NotificationKind.ENDED:
        lines = [
            f"The environment {notice.name} ({notice.template}, {notice.team}) of {notice.owner} has ended: "
            f"its time was up {moment(notice)}. It is being taken down with all that ran in it.",
            "",
            f"What happened to it:  moorage history {notice.name}",
        ]
        return "\n".join(lines) + "\n"
    if notice.kind in _OF_SLEEP:
        return _text_of_sleep(notice, moment(notice))
    if notice.kind in _OF_ACCESS:
        return _text_of_access(notice, moment(notice))
    if notice.kind in FOR_PROGRAMS:
        return _text_for_programs(notice)
    lines = [
        f"The environment {notice.name} ({notice.template}, {notice.team}) of {notice.owner} ends "
        f"{moment(notice)}, in {format_duration(notice.ends_at - notice.at)}, with all that runs in it.",
    ]
    if notice.asleep:
        lines.append("It is asleep: the next kubectl command of its people wakes it.")
    if notice.moved:
        late = format_duration(notice.moved)
        lines.append(f"That is {late} later than it was to be, because this warning comes late.")
    if notice.kept_until > notice.ends_at:
        grace = format_duration(notice.kept_until - notice.ends_at)
        lines.append(f"It is kept for {grace} after that, so that it can still be extended.")
    lines.append("")
    longest = notice.latest_end - notice.ends_at
    if notice.owner_left:
        lines.append(f"Its owner has left. A member of team {notice.team} can take it:  {_take(notice)}")
    elif longest > timedelta(0):
        lines.append(
            f"To keep it longer, by up to {format_duration(longest)}:  moorage extend {notice.name} --by 1h"
        )
    else:
        lines.append("It cannot be extended any more; the platform team can.")
    return "\n".join(lines) + "\n"


def _take(notice: Notification) -> str:
    return f"moorage transfer {notice.name} --to EMAIL"


_OF_ACCESS = frozenset(
    {
        NotificationKind.COLLABORATOR_ADDED,
        NotificationKind.COLLABORATOR_REMOVED,
        NotificationKind.TRANSFERRED,
        NotificationKind.OWNER_LEFT,
    }
)


_OF_SLEEP = frozenset({NotificationKind.ASLEEP, NotificationKind.AWAKE})


def _text_of_sleep(notice: Notification, ends_at: str) -> str:
    which = f"The environment {notice.name} ({notice.template}, {notice.team}) of {notice.owner}"
    if notice.kind is NotificationKind.AWAKE:
        return f"{which} is awake again: {notice.actor} woke it. It ends {ends_at}.\n"
    why = {
        SleepReason.IDLE: "no person has used it for the time of its policy",
        SleepReason.SCHEDULE: "it is outside of the hours of its policy",
    }.get(notice.sleep_reason or SleepReason.REQUESTED, f"{notice.actor} put it to sleep")
    lines = [
        f"{which} is asleep: {why}. Its volumes stay, its pods are gone.",
        f"It ends {ends_at} all the same.",
        "",
        f"To wake it:  moorage wake {notice.name}, or any kubectl command",
    ]
    return "\n".join(lines) + "\n"


def _text_of_access(notice: Notification, ends_at: str) -> str:
    which = f"the environment {notice.name} ({notice.template}, {notice.team}) of {notice.owner}"
    if notice.kind is NotificationKind.COLLABORATOR_REMOVED:
        lines = [f"{notice.actor} has removed {notice.person} from {which}. Their access ends."]
    elif notice.kind is NotificationKind.OWNER_LEFT:
        lines = [
            f"The directory does not know {notice.owner} any more, who owns the environment {notice.name} "
            f"({notice.template}, {notice.team}). It ends {ends_at}, unless a member of "
            f"team {notice.team} takes it.",
            "",
            f"To take it:  {_take(notice)}",
        ]
    elif notice.kind is NotificationKind.TRANSFERRED:
        lines = [
            f"{notice.actor} has given the environment {notice.name} ({notice.template}, {notice.team}) of "
            f"{notice.person} to {notice.owner}. The access of {notice.person} ends.",
            "",
            f"To use it:  moorage kubeconfig {notice.name} --merge",
        ]
    else:
        lines = [
            f"{notice.actor} has added {notice.person} to {which}.",
            "",
            f"To use it:  moorage kubeconfig {notice.name} --merge",
        ]
    return "\n".join(lines) + "\n"


def _text_for_programs(notice: Notification) -> str:
    which = f"The environment {notice.name} ({notice.template}, {notice.team}) of {notice.owner}"
    if notice.kind is NotificationKind.READY:
        lines = [f"{which} is ready.", "", f"To use it:  moorage kubeconfig {notice.name} --merge"]
    else:
        lines = [f"{which} could not be created. What was made of it is being removed."]
        if problem := notice.problem:
            lines.append(f"{problem.step} ({problem.system}): {problem.cause}")
            if problem.remedy:
                lines += ["", f"What to do:  {problem.remedy}"]
        lines += ["", f"What happened to it:  moorage history {notice.name}"]
    return "\n".join(lines) + "\n"


async def _post(webhook: Webhook, notice: Notification, event_source: str | None) -> None:
    message = text(notice)
    if event_source is None:
        content: dict[str, object] = {**notice.model_dump(mode="json"), "message": message}
        await webhook.post(notice.id, content, _SEND)
    else:
        event = notice_event(notice, message, event_source)
        await webhook.post(notice.id, event, _SEND, media_type=EVENT_MEDIA_TYPE)


def _slack(notice: Notification) -> dict[str, object]:
    """Return the notice in Slack's format.

    Source: docs.slack.dev, "Formatting message text".
    """
    names = ("name", "template", "team", "owner", "person", "actor")
    cut = notice.model_copy(update={each: _cut(getattr(notice, each)) for each in names})
    # Slack shows a time in the time zone of the reader.
    seconds = int(notice.ends_at.timestamp())
    shown = f"<!date^{seconds}^{{date_short_pretty}} {{time}}|{format_utc(notice.ends_at)}>"
    # Escape Slack's control characters: an unescaped "<!channel>" in a name would notify everybody.
    escaped = html.escape(text(cut, lambda _: _MOMENT), quote=False)
    return {"text": escaped.replace(_MOMENT, shown)}


def _cut(name: str) -> str:
    name = name.replace(_MOMENT, "")
    return name if len(name) <= MAX_SLACK_NAME else f"{name[: MAX_SLACK_NAME - 1]}…"
