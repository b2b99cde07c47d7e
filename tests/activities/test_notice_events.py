"""Ensures that a receiver of CloudEvents and Standard Webhooks understands and verifies notices.

The receiver's side is that of the packages `cloudevents` and `standardwebhooks`, and of our published schema.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
from cloudevents.core.bindings.http import HTTPMessage, from_http
from cloudevents.core.formats.json import JSONFormat

from activities.notices.cloud_events import notice_event, source_of
from activities.notices.notifications import NotificationChannels, Notifications, text
from clients.webhook import ID, SIGNATURE, Webhook
from contracts.environment.models import Problem
from contracts.environment.payload_limits import MAX_COLLABORATORS, MAX_NAME_BYTES, MAX_TEXT_BYTES
from contracts.errors import ErrorType
from contracts.notifications import Notification, NotificationKind
from tests.activities.activity_runs import fail, succeed
from tests.activities.notification_receivers import webhook_receiver
from tests.activities.test_notifications import NOTICE, SECRET, hook

SOURCE = source_of("acme")
NEW_SECRET = "whsec_YW5vdGhlci1zZWNyZXQtb2YtMzItYnl0ZXMtLS0tLS0t"
SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs/reference/notice-event.schema.json").read_text(encoding="utf-8")
)
TYPES = {
    NotificationKind.READY: "dev.moorage.environment.ready.v1",
    NotificationKind.FAILED: "dev.moorage.environment.failed.v1",
    NotificationKind.WARNING: "dev.moorage.environment.warned.v1",
    NotificationKind.ENDED: "dev.moorage.environment.ended.v1",
    NotificationKind.ASLEEP: "dev.moorage.environment.asleep.v1",
    NotificationKind.AWAKE: "dev.moorage.environment.awake.v1",
    NotificationKind.TRANSFERRED: "dev.moorage.environment.transferred.v1",
    NotificationKind.OWNER_LEFT: "dev.moorage.environment.owner_left.v1",
    NotificationKind.COLLABORATOR_ADDED: "dev.moorage.environment.collaborator_added.v1",
    NotificationKind.COLLABORATOR_REMOVED: "dev.moorage.environment.collaborator_removed.v1",
}
#: The size that every receiver and broker of CloudEvents takes.
MAX_EVENT_BYTES = 64 * 1024
Request = tuple[dict[str, str], bytes]


def notices_by(webhook: Webhook) -> Notifications:
    return Notifications(NotificationChannels(webhook=webhook, event_source=SOURCE))


def received(request: Request, secret: str = SECRET) -> tuple[Mapping[str, Any], Any]:
    """The attributes and the data of the event, as a receiver with this secret gets them."""
    # Imported here: it takes three seconds of processor, in each process that collects the tests.
    import jsonschema

    headers, body = request
    standardwebhooks.Webhook(secret).verify(body, dict(headers))
    event = from_http(HTTPMessage(headers, body), JSONFormat())
    jsonschema.validate(json.loads(body), SCHEMA)
    return event.get_attributes(), event.get_data()


@pytest.mark.parametrize("kind", NotificationKind)
async def test_receiver_understands_and_verifies_every_event(kind: NotificationKind) -> None:
    problem = Problem(step="project", system="Rafay", cause="it is full", remedy="make room", type="Rejected")
    notice = NOTICE.model_copy(update={"kind": kind, "problem": problem})
    with webhook_receiver() as receiver:
        async with hook(receiver.url, SECRET) as webhook:
            await succeed(notices_by(webhook).send, notice)
    [request] = receiver.got
    assert request[0]["Content-Type"] == "application/cloudevents+json"
    attributes, data = received(request)
    assert dict(attributes) == {
        "specversion": "1.0",
        "id": NOTICE.id,
        "source": "urn:moorage:acme",
        "type": TYPES[kind],
        "subject": "demo",
        "time": NOTICE.at,
        "datacontenttype": "application/json",
        "dataschema": "urn:moorage:schema:environment-notice:v1",
    }
    assert (data["name"], data["life"], data["owner"]) == ("demo", NOTICE.life, NOTICE.owner)
    assert data["problem"]["cause"] == "it is full"
    assert data["message"] == text(notice)


async def test_receiver_can_change_its_secret_at_any_moment() -> None:
    with webhook_receiver() as receiver:
        async with hook(receiver.url, SECRET, NEW_SECRET) as webhook:
            await succeed(notices_by(webhook).send, NOTICE)
    [request] = receiver.got
    assert received(request, SECRET) == received(request, NEW_SECRET)
    assert len(request[0][SIGNATURE].split()) == 2
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        received(request, "whsec_YS10aGlyZC1zZWNyZXQtb2YtMzItYnl0ZXMtLS0tLS0t")


async def test_events_of_one_notice_are_one_for_a_receiver_that_drops_repeats() -> None:
    """Ensures that an event whose answer was lost comes again with the same id and source."""
    with webhook_receiver() as receiver:
        async with hook(receiver.url, SECRET, timeout=timedelta(milliseconds=300)) as webhook:
            receiver.hangs = True
            error = await fail(notices_by(webhook).send, NOTICE)
            assert (error.type, error.non_retryable) == (ErrorType.UNAVAILABLE, False)
        receiver.hangs = False
        async with hook(receiver.url, SECRET) as webhook:
            receiver.statuses = [503]
            assert not (await fail(notices_by(webhook).send, NOTICE)).non_retryable
            await succeed(notices_by(webhook).send, NOTICE)
    attributes = [received(request)[0] for request in receiver.got]
    assert len(attributes) == 2
    assert len({(each["source"], each["id"]) for each in attributes}) == 1
    assert {request[0][ID] for request in receiver.got} == {NOTICE.id}


async def test_next_attempt_comes_when_the_receiver_wants_it() -> None:
    with webhook_receiver() as receiver:
        receiver.statuses, receiver.retry_after = [429], 7
        async with hook(receiver.url, SECRET) as webhook:
            error = await fail(notices_by(webhook).send, NOTICE)
    assert not error.non_retryable
    assert error.next_retry_delay == timedelta(seconds=7)


@pytest.mark.parametrize("status", [302, 400, 401, 410])
async def test_receiver_that_is_gone_gets_no_other_attempt(status: int) -> None:
    with webhook_receiver() as receiver:
        receiver.statuses = [status]
        async with hook(receiver.url, SECRET) as webhook:
            error = await fail(notices_by(webhook).send, NOTICE)
    assert error.non_retryable


def test_largest_event_fits_into_what_every_receiver_takes() -> None:
    name, cause = "é" * (MAX_NAME_BYTES // 2), "\\" * MAX_TEXT_BYTES
    largest = Notification.model_construct(
        **{
            **dict(NOTICE),
            **dict.fromkeys(("owner", "team", "template", "host", "person", "actor"), name),
            "people": (name,) * (MAX_COLLABORATORS + 2),
            "problem": Problem(step=name, system=name, cause=cause, remedy=cause, type=name),
            "kind": NotificationKind.FAILED,
        }
    )
    event = notice_event(largest, text(largest), SOURCE)
    assert len(json.dumps(event).encode()) < MAX_EVENT_BYTES
