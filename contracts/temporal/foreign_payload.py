"""The placeholder for data in Temporal that Moorage did not write."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RejectedPayload:
    """Replaces an activity's result, or a heartbeat, that was rejected. `reason` is a sentence."""

    reason: str
