"""What stands for something in Temporal that Moorage did not write."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tampered:
    """In the place of an activity's result, or of a heartbeat, that was refused; `why` is a sentence."""

    why: str
