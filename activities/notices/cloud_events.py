"""Notices as CloudEvents 1.0 in structured mode, for programs.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md and its JSON format. The fields are
documented in docs/reference/notices.md.
"""

from datetime import datetime
from typing import Any, Final, Literal

from pydantic import Field

from contracts.environment.models import Problem
from contracts.notifications import Notification, NotificationKind
from contracts.templates.sleep import SleepReason
from contracts.types.models import Duration, Frozen

EVENT_MEDIA_TYPE = "application/cloudevents+json"
DATA_SCHEMA: Final = "urn:moorage:schema:environment-notice:v1"

_TYPES = {kind: f"dev.moorage.environment.{kind}.v1" for kind in NotificationKind} | {
    # An event is something that has happened.
    NotificationKind.WARNING: "dev.moorage.environment.warned.v1",
}


class NoticeData(Frozen):
    """The data of an event: the environment, its people, its end, and what has happened in words."""

    name: str = Field(description="name of the environment")
    life: str = Field(description="life of the name: a later environment of this name has another one")
    template: str = Field(description="template that it was made of")
    team: str = Field(description="team that it belongs to")
    owner: str = Field(description="address of its owner")
    host: str = Field(description="host cluster")
    people: tuple[str, ...] = Field(description="addresses of those whom the notice is for")
    ends_at: datetime = Field(description="end of its time")
    kept_until: datetime = Field(description="until then it can still be extended")
    latest_end: datetime = Field(description="latest end to which its people can extend it")
    moved: Duration = Field(description="how far the end was moved, because the last warning came late")
    person: str = Field(description="person whose access has changed, or owner so far; empty otherwise")
    actor: str = Field(description="who has changed that, put it to sleep or woken it; empty otherwise")
    owner_left: bool = Field(description="whether its owner has left, so that the team decides")
    asleep: bool = Field(description="whether it sleeps")
    sleep_reason: SleepReason | None = Field(description="requested, idle or schedule: only if it sleeps")
    problem: Problem | None = Field(description="why it could not be created: only of failed")
    message: str = Field(description="the same as text for people")


class NoticeEvent(Frozen):
    """The event, with the attributes of CloudEvents."""

    specversion: Literal["1.0"] = "1.0"
    id: str = Field(description="the same in every attempt to deliver it, as webhook-id")
    source: str = Field(description="urn:moorage: and the name of the installation")
    type: str = Field(description="what has happened")
    subject: str = Field(description="name of the environment")
    time: datetime = Field(description="when it has happened")
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: Literal["urn:moorage:schema:environment-notice:v1"] = DATA_SCHEMA
    data: NoticeData


def source_of(installation: str) -> str:
    """Return the source of the events of an installation."""
    return f"urn:moorage:{installation}"


def notice_event(notice: Notification, message: str, source: str) -> dict[str, Any]:
    """Return the event of a notice, whose text for people is `message`."""
    fields = {name: getattr(notice, name) for name in NoticeData.model_fields if name != "message"}
    event = NoticeEvent(
        id=notice.id,
        source=source,
        type=_TYPES[notice.kind],
        subject=notice.name,
        time=notice.at,
        data=NoticeData(**fields, message=message),
    )
    return event.model_dump(mode="json")
