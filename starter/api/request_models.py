"""Request bodies of the API."""

from datetime import timedelta
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema

from contracts.bookings import MAX_SEATS
from contracts.reconcile.models import MAX_ORPHANS
from contracts.rollout import DEFAULT_STOP_AFTER, DEFAULT_WAVE, MAX_ENVIRONMENTS, MAX_WAVE
from contracts.templates.sleep import SleepPolicy
from contracts.types.models import Duration, Printable
from contracts.types.naming import LIFE_PATTERN
from starter.bookings.service import RequestedBooking
from starter.environments.credentials.certificate_request import MAX_REQUEST
from starter.environments.requests.planning import RequestedEnvironment


class EnvironmentRequest(BaseModel):
    """A request for an environment. The template and the settings decide the fields that are left out."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"name": "demo", "template": "small"},
                {
                    "name": "checkout-pr-512",
                    "template": "medium",
                    "team": "payments",
                    "ttl": "1d 12h",
                    "collaborators": ["grace@example.com"],
                    "labels": {"course": "k8s-101"},
                    "parameters": {"replicas": 3},
                },
            ]
        },
    )

    name: Printable = Field(
        description="1 to 30 lower-case letters, digits and hyphens, beginning with a letter"
    )
    template: Printable = Field(description="one of GET /templates")
    team: Printable | None = Field(default=None, description="one of your teams; without it, your first")
    ttl: Printable | None = Field(
        default=None, description='its time to live, such as "8h" or "1d 12h"; the template decides'
    )
    collaborators: list[Printable] = Field(
        default_factory=list, description="e-mail addresses of who else may use it"
    )
    host: Printable | None = Field(
        default=None, description="host cluster; without it, the installation's own"
    )
    labels: dict[Printable, Printable] = Field(
        default_factory=dict, description="up to 10, by which several environments are listed and deleted"
    )

    parameters: dict[Printable, bool | int | float | Printable] = Field(
        default_factory=dict,
        description="of the template, as GET /templates/{name} has them; a text is read as the type",
    )

    def requested(self) -> RequestedEnvironment:
        """Convert it to the model that planning validates."""
        return RequestedEnvironment(
            name=self.name,
            template=self.template,
            team=self.team,
            ttl=self.ttl,
            collaborators=tuple(self.collaborators),
            host=self.host,
            labels=self.labels,
            parameters=self.parameters,
        )


class UpgradeRequest(BaseModel):
    """Parameters to change with the newer version of the template; those left out stay as they are."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"parameters": {"replicas": 3}}]}
    )

    parameters: dict[Printable, bool | int | float | Printable] = Field(
        default_factory=dict, description="of the template, as in a request"
    )


class ResizeRequest(UpgradeRequest):
    """Another template for an environment in use."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"template": "medium"}]})

    template: Printable = Field(description="one of GET /templates")


#: Requests in one check: each takes a millisecond, and the directory is asked for each person.
MAX_CHECKED = 100


class RequestsToCheck(BaseModel):
    """Requests that are checked together before the first of them is sent."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "environments": [
                        {"name": "lab-1", "template": "small"},
                        {"name": "lab-2", "template": "small"},
                    ]
                }
            ]
        },
    )

    # Their fields are validated one by one, so that the answer has the problems of all of them.
    environments: list[
        Annotated[Any, WithJsonSchema({"$ref": "#/components/schemas/EnvironmentRequest"})]
    ] = Field(min_length=1, max_length=MAX_CHECKED)


class CredentialRequest(BaseModel):
    """A request for a certificate, by the key that it is for. `life`: refuse another life of the name."""

    model_config = ConfigDict(extra="forbid")

    request: str = Field(
        max_length=MAX_REQUEST,
        description="PKCS#10 in PEM, with a key of the curve P-256 or P-384 and the subject "
        "CN=<your address>",
    )
    life: Printable | None = Field(default=None, description="refuse it if the name has another life now")


class ExtensionRequest(BaseModel):
    """The new end: later `by` a length of time, counted from the present end, or `until` a time."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"by": "1d"}, {"until": "2030-01-31T18:00:00+01:00"}]},
    )

    by: Printable | None = Field(default=None, description='such as "1d" or "4h"')
    until: AwareDatetime | None = Field(default=None, description="with its zone (ISO 8601)")
    override: bool = Field(default=False, description="beyond the template's policy; for the platform team")
    reason: Printable = Field(
        default="", max_length=500, description="goes into the audit log; an override needs one"
    )


class SleepPolicyRequest(BaseModel):
    """When an environment falls asleep by itself: `after` an idle time, and outside of the `schedule`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"after": "2h", "schedule": "Mon-Fri 08:00-20:00 Europe/Berlin"}]},
    )

    after: Duration | None = Field(default=None, gt=timedelta(0), description='such as "2h"')
    schedule: Printable | None = Field(
        default=None, max_length=200, description="the hours of the week in which it is awake"
    )

    def policy(self) -> SleepPolicy | None:
        """Return the policy; None if it says nothing."""
        found = SleepPolicy(after=self.after, schedule=self.schedule)
        return None if found == SleepPolicy() else found


class RestoreRequest(BaseModel):
    """The snapshot to restore, by its number; the last one that was taken without it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"snapshot": 2}]})

    snapshot: int | None = Field(default=None, ge=1, description="one of `snapshots` of the environment")


class TransferRequest(BaseModel):
    """The person who gets an environment."""

    model_config = ConfigDict(extra="forbid")

    to: Printable = Field(min_length=1, max_length=254, description="an e-mail address")


class BookingRequest(BaseModel):
    """A booking: room for the seats of an event, from one template, for a time."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "event": "k8s-101",
                    "template": "small",
                    "seats": 20,
                    "from": "2030-01-31T09:00:00+01:00",
                    "until": "2030-01-31T17:00:00+01:00",
                }
            ]
        },
    )

    event: Printable = Field(description="its seats are environments of this name with -01, -02 and so on")
    template: Printable = Field(description="one of GET /templates")
    seats: int = Field(description=f"from 1 to {MAX_SEATS}")
    starts_at: AwareDatetime = Field(alias="from", description="at most 30 days ahead")
    ends_at: AwareDatetime = Field(
        alias="until", description="when all ends; at most the longest time to live of the template later"
    )

    def requested(self) -> RequestedBooking:
        """Convert it to the model that the service validates."""
        return RequestedBooking(
            event=self.event,
            template=self.template,
            seats=self.seats,
            starts_at=self.starts_at,
            ends_at=self.ends_at,
        )


class SeatRequest(BaseModel):
    """The code of a seat."""

    model_config = ConfigDict(extra="forbid")

    code: str = Field(max_length=100, description="as it was given out; case and hyphens do not matter")


class ReconcileRequest(BaseModel):
    """A reconcile sweep. `confirmed` are lives that the platform team lets it adopt or undo."""

    model_config = ConfigDict(extra="forbid")

    dry_run: bool = Field(default=False, description="say what would be done and why, and do nothing")
    confirmed: list[Annotated[str, StringConstraints(pattern=LIFE_PATTERN)]] = Field(
        default=[], max_length=MAX_ORPHANS, description="their lives, as the last sweep has named them"
    )


class RolloutRequest(BaseModel):
    """The upgrade of all environments of a template. The first wave is one environment."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"template": "small", "wave": 5, "stop_after": 1}]}
    )

    template: Printable = Field(max_length=80, description="one of GET /templates")
    wave: int = Field(
        default=DEFAULT_WAVE, ge=1, le=MAX_WAVE, description="environments of each further wave"
    )
    stop_after: int = Field(
        default=DEFAULT_STOP_AFTER, ge=1, le=MAX_ENVIRONMENTS, description="failures that stop it"
    )
    version: int | None = Field(
        default=None, ge=1, description="refuse if the catalogue has another version of the template"
    )
    dry_run: bool = Field(default=False, description="say what would be upgraded and why, and do nothing")


class LeaversRequest(BaseModel):
    """A leaver sweep. `confirmed` are people of whom the platform team says that they have left."""

    model_config = ConfigDict(extra="forbid")

    confirmed: list[Printable] = Field(default=[], max_length=2000, description="their e-mail addresses")


class FreezeRequest(BaseModel):
    """The reason for a freeze of all ends."""

    model_config = ConfigDict(extra="forbid")

    reason: Printable = Field(min_length=1, max_length=500, description="every user can read it")
