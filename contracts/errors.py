"""The one vocabulary of errors, as types of Temporal application errors.

    permanent: trying again cannot help, a person has to act
    ├── Conflict             something of that name is there and is not ours
    ├── AccessDenied         credentials are wrong, expired or lack a right
    ├── InvalidRequest       a system will not accept what is asked of it
    ├── UnknownPerson        a directory does not know somebody
    └── NeverReady           what was started has failed and says why
    retryable: it may work in a while
    ├── Throttled            the system asked for patience
    ├── Unavailable          it fails, does not answer, or answers nonsense
    ├── NotYet               not there yet, or something holds it
    └── Interrupted          the worker that did it is stopping
    of the workflow
    ├── ProvisioningFailed   it could not be made and was undone; details: an `EnvironmentStatus`
    ├── RequestRefused       an update that the environment does not accept; details: a `Refusal`
    └── Tampered             something in Temporal was not written by Moorage, or not for this workflow

Types stay in clear in a history even under an encrypting codec, so they never hold a name.
"""

from datetime import datetime
from enum import StrEnum

from contracts.models import Frozen


class ErrorType(StrEnum):
    """The type of an application error."""

    CONFLICT = "Conflict"
    ACCESS_DENIED = "AccessDenied"
    INVALID_REQUEST = "InvalidRequest"
    UNKNOWN_PERSON = "UnknownPerson"
    NEVER_READY = "NeverReady"
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
    }
)


class StepErrorDetails(Frozen):
    """The details of an activity's error: what a person needs to know beyond the message."""

    system: str
    remedy: str
    in_doubt: bool


class RefusalReason(StrEnum):
    """Why an environment does not accept an update, or is not begun."""

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


class Refusal(Frozen):
    """The details of a `RequestRefused`: the reason, and the fields that differ, if that is the reason.

    `latest` is the latest end that an extension could have.
    """

    reason: RefusalReason
    message: str
    fields: tuple[str, ...] = ()
    latest: datetime | None = None

    @classmethod
    def taken(cls, name: str) -> "Refusal":
        """Somebody else has the name."""
        return cls(reason=RefusalReason.OTHER_OWNER, message=f"The name {name} is taken: choose another.")

    @classmethod
    def other_spec(cls, name: str, differing: tuple[str, ...]) -> "Refusal":
        """The same person has it, and it is not what they ask for now."""
        message = (
            f"{name} is there already with another {', '.join(differing)}: "
            "ask for the same, choose another name, or delete it first."
        )
        return cls(reason=RefusalReason.OTHER_SPEC, message=message, fields=differing)
