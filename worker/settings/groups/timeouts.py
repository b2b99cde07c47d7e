"""The settings of the timeouts and retry intervals of environments."""

from datetime import timedelta

from pydantic import (
    Field,
)

from contracts.environment_workflow import LifecycleTimeouts
from contracts.types.durations import format_duration
from worker.settings.types import (
    Group,
    PositiveDuration,
)

#: How much longer than the longest client timeout a teardown waits before its last inspection
#: (`late_response_window`): a request may have been sent at the very end of the timeout, and the system needs
#: a while to show its effect.
LATE_RESPONSE_MARGIN = timedelta(seconds=15)


class LifecycleTimeoutSettings(Group):
    """The timeouts and retry intervals of a life. An environment keeps those that it was started with."""

    late_response_window: PositiveDuration | None = Field(
        default=None,
        description="pause after an answer that never came, before the last inspection; without it, the "
        f"longest timeout above and {format_duration(LATE_RESPONSE_MARGIN)}",
    )
    heartbeat_timeout: PositiveDuration = Field(
        default=LifecycleTimeouts().heartbeat_timeout,
        description="a worker that is silent on a running step for so long is taken for dead",
    )
    first_retry: PositiveDuration = Field(
        default=LifecycleTimeouts().first_retry,
        description="pause before the first retry of a step; then it doubles",
    )
    longest_retry: PositiveDuration = Field(
        default=LifecycleTimeouts().longest_retry, description="longest pause between two tries of a step"
    )
    step_timeout: PositiveDuration | None = Field(
        default=None, description="a ceiling for the time limits of all steps; without it, each has its own"
    )
    undo_timeout: PositiveDuration = Field(
        default=LifecycleTimeouts().undo_timeout,
        description="what one undo may take in one pass of a teardown",
    )
    first_pause: PositiveDuration = Field(
        default=LifecycleTimeouts().first_pause,
        description="pause between the first two passes of a teardown",
    )
    longest_pause: PositiveDuration = Field(
        default=LifecycleTimeouts().longest_pause,
        description="longest pause between two passes of a teardown",
    )
    queue_timeout: PositiveDuration = Field(
        default=LifecycleTimeouts().queue_timeout,
        description="how long a step waits in the task queue of a host or system before it is said that no "
        "worker takes it up",
    )
    give_up_after: PositiveDuration = Field(
        default=LifecycleTimeouts().give_up_after,
        description="when a teardown stops trying and asks for a person",
    )
