"""The placeholder for data in Temporal that Moorage did not write."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tampered:
    """Replaces an activity's result, or a heartbeat, that was rejected. `why` is a sentence."""

    why: str
