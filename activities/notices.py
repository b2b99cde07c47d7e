"""Tells people, by webhook, by a webhook of Slack's form, and by mail: those of them that are set."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity

from activities import progress
from clients.errors import ClientError
from clients.mail import Mail
from clients.webhook import Webhook
from contracts.activities import NoticeActivities, NoticeResult
from contracts.durations import format_duration
from contracts.expiry import said
from contracts.notices import Notice, NoticeKind

_Tell = Callable[[Notice], Awaitable[None]]


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
    async def send(self, input: Notice) -> NoticeResult:
        """All channels are tried, whatever becomes of the others; a further try leaves out those that have.

        Fails with one that may work in a while, if there is one: that is what decides on a further try.
        """
        taken = set(filter(None, progress.kept().split(",")))
        failed: list[ClientError] = []
        told_by = []
        for name, tell in self._ways().items():
            if name not in taken:
                try:
                    await tell(input)
                except ClientError as error:
                    failed.append(error)
                    continue
                taken.add(name)
                progress.keep(",".join(sorted(taken)))
            told_by.append(name)
        if failed:
            raise max(failed, key=lambda error: error.retryable)
        return NoticeResult(told_by=tuple(told_by))

    def _ways(self) -> Mapping[str, _Tell]:
        ways: dict[str, _Tell] = {}
        channels = self._channels
        if webhook := channels.webhook:
            ways["webhook"] = lambda notice: webhook.post(notice.id, _document(notice), "send a notice")
        if slack := channels.slack:
            ways["Slack"] = lambda notice: slack.post(notice.id, _slack(notice), "send a notice")
        if mail := channels.mail:
            ways["e-mail"] = lambda notice: mail.send(notice.id, notice.people, subject(notice), text(notice))
        return ways


def subject(notice: Notice) -> str:
    """The notice in one line."""
    if notice.kind is NoticeKind.ENDED:
        return f"{notice.name} has ended: its time was up"
    return f"{notice.name} ends in {format_duration(notice.ends_at - notice.at)}"


def text(notice: Notice, moment: Callable[[Notice], str] = lambda notice: said(notice.ends_at)) -> str:
    """The notice for people. `moment` says its end, where a way has its own form for that."""
    if notice.kind is NoticeKind.ENDED:
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


def _document(notice: Notice) -> dict[str, object]:
    return {**notice.model_dump(mode="json"), "message": text(notice)}


def _slack(notice: Notice) -> dict[str, object]:
    # Slack shows a moment in the zone of whoever reads it.
    seconds = int(notice.ends_at.timestamp())
    shown = f"<!date^{seconds}^{{date_short_pretty}} {{time}}|{said(notice.ends_at)}>"
    return {"text": text(notice, lambda _: shown)}
