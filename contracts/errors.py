"""The one vocabulary of errors, as types of Temporal application errors.

    permanent: a retry cannot help, a person has to act
    ├── Conflict             a resource of that name exists and is not ours
    ├── AccessDenied         credentials are wrong, expired or lack a right
    ├── InvalidRequest       a system does not accept the request
    ├── UnknownPerson        a directory does not know a person
    ├── NeverReady           what was started has failed and reports why
    └── OtherQueue           the system has a task queue, and this was not it; the workflow takes that one
    retryable: a retry may succeed after some time
    ├── Throttled            the system asked the client to wait
    ├── Unavailable          the system fails, does not respond, or sends an invalid response
    ├── NotYet               the resource is not there yet, or something blocks it
    └── Interrupted          the worker that ran the activity is stopping
    of the workflow
    ├── ProvisioningFailed   provisioning failed and was undone; details: an `EnvironmentStatus`
    ├── RequestRefused       the environment does not accept an update; details: a `Refusal`
    └── Tampered             something in Temporal was not written by Moorage, or not for this workflow

Types stay in clear text in a history even under an encrypting codec, so they never contain a name.
"""

from datetime import datetime
from enum import StrEnum

from contracts.types.models import Frozen


class ErrorType(StrEnum):
    """The type of an application error."""

    CONFLICT = "Conflict"
    ACCESS_DENIED = "AccessDenied"
    INVALID_REQUEST = "InvalidRequest"
    UNKNOWN_PERSON = "UnknownPerson"
    NEVER_READY = "NeverReady"
    OTHER_QUEUE = "OtherQueue"
    THROTTLED = "Throttled"
    UNAVAILABLE = "Unavailable"
    NOT_YET = "NotYet"
    INTERRUPTED = "Interrupted"
    PROVISIONING_FAILED = "ProvisioningFailed"
    REQUEST_REFUSED = "RequestRefused"
    TAMPERED = "Tampered"


PERMANENT = frozenset(
    {
        ErrorType.CONFLICT,
        ErrorType.ACCESS_DENIED,
        ErrorType.INVALID_REQUEST,
        ErrorType.UNKNOWN_PERSON,
        ErrorType.NEVER_READY,
        ErrorType.OTHER_QUEUE,
    }
)


class StepErrorDetails(Frozen):
    """The details of an activity's error: what a person needs besides the message."""

    system: str
    remedy: str
    in_doubt: bool


class RefusalReason(StrEnum):
    """Why an environment rejects an update, or is not started."""

    OTHER_OWNER = "other_owner"
    OTHER_SPEC = "other_spec"
    BEING_TORN_DOWN = "being_torn_down"
    NOT_NOW = "not_now"
    BEYOND_POLICY = "beyond_policy"
    NOT_DUE = "not_due"
    OVER_QUOTA = "over_quota"
    NO_ROOM = "no_room"
    NOT_KNOWN = "not_known"
    OTHER_LIFE = "other_life"
    LEFT_BEHIND = "left_behind"
    FROZEN = "frozen"
    NOT_IN_PLACE = "not_in_place"
    WRONG_CODE = "wrong_code"


class Refusal(Frozen):
    """The details of a `RequestRefused` error.

    `fields` are the fields that differ, if that is the reason. `latest` is the latest end that an extension
    can have.
    """

    reason: RefusalReason
    message: str
    fields: tuple[str, ...] = ()
    latest: datetime | None = None

    @classmethod
    def taken(cls, name: str) -> "Refusal":
        """Return the refusal for a name that another person has."""
        return cls(reason=RefusalReason.OTHER_OWNER, message=f"The name {name} is taken: choose another.")

    @classmethod
    def other_spec(cls, name: str, differing: tuple[str, ...]) -> "Refusal":
        """Return the refusal for an environment of the same person with another spec."""
        message = (
            f"{name} is there already with another {', '.join(differing)}: "
            "ask for the same, choose another name, or delete it first."
        )
        return cls(reason=RefusalReason.OTHER_SPEC, message=message, fields=differing)
