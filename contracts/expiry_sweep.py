"""What goes into the expiry sweep and what comes back."""

from datetime import datetime, timedelta
from enum import StrEnum

from contracts.models import Frozen

SWEEP_WORKFLOW = "ExpirySweepWorkflow"
#: Every schedule of ours begins so, and only what begins so is ever changed or removed.
SCHEDULE_PREFIX = "moorage/"
SWEEP_SCHEDULE = SCHEDULE_PREFIX + "expiry-sweep"
#: The workflow id of scheduled sweeps, which Temporal adds the time to; and of those that somebody asked for.
SWEEP_SCHEDULED = "moorage-sweep/scheduled"
SWEEP_BY_HAND = "moorage-sweep/by-hand"
SWEEP_DRY_RUN = "moorage-sweep/dry-run"

#: Who did what the sweep did.
THE_SWEEP = "the expiry sweep"
#: Lines that a result holds for each kind of deed; the numbers are always of all. A result is read by people
#: and is a part of the history.
LINES_LENGTH = 100


class SweepInput(Frozen):
    """How to sweep. `ahead`: warnings are given so long before their time, as the next sweep comes later.

    `dry_run` says what would be done and does nothing. `by` is who asked for it, if somebody did. All that
    have expired are told as fast as they answer, `at_once` of them at one time; of those that are told,
    `ends_per_second` begin their teardown.
    """

    dry_run: bool = False
    by: str = ""
    ahead: timedelta = timedelta(seconds=75)
    #: Environments that are asked at one time: enough for thousands a minute, few enough for the server.
    at_once: int = 20
    ends_per_second: float = 2.0
    #: Environments of one page of the list; the progress is kept, and a freeze is seen, page by page.
    page_size: int = 200


class SweepOutcome(StrEnum):
    """What came of one environment."""

    WARNED = "warned"
    ENDED = "ended"
    KEPT = "kept"
    FAILED = "failed"


class SweepLine(Frozen):
    """One environment, and why this came of it."""

    name: str
    why: str


class OutcomeCount(Frozen):
    """How many, and the first of them by name."""

    count: int = 0
    lines: tuple[SweepLine, ...] = ()

    def plus(self, line: SweepLine) -> "OutcomeCount":
        """With one more."""
        lines = (*self.lines, line) if len(self.lines) < LINES_LENGTH else self.lines
        return OutcomeCount(count=self.count + 1, lines=lines)


class SweepResult(Frozen):
    """What a sweep did, or would do. `looked_at` are those for which the time of something had come.

    `frozen` says who has frozen all ends and why, if somebody has.
    """

    now: datetime
    dry_run: bool = False
    open: int = 0
    looked_at: int = 0
    warned: OutcomeCount = OutcomeCount()
    ended: OutcomeCount = OutcomeCount()
    kept: OutcomeCount = OutcomeCount()
    failed: OutcomeCount = OutcomeCount()
    frozen: str = ""
    pages: int = 0
    seconds: float = 0

    def plus(self, deed: SweepOutcome, line: SweepLine) -> "SweepResult":
        """With one more environment looked at."""
        tally: OutcomeCount = getattr(self, deed)
        return self.model_copy(update={"looked_at": self.looked_at + 1, deed.value: tally.plus(line)})

    @property
    def sentence(self) -> str:
        """The whole in one line."""
        would = "would be " if self.dry_run else ""
        return (
            f"{self.looked_at} of {self.open} looked at: {self.warned.count} {would}warned, "
            f"{self.ended.count} {would}ended, {self.kept.count} kept, {self.failed.count} failed"
        )


class SweepPassInput(Frozen):
    """For the activity that does a whole sweep. `now` is Temporal's time at its beginning."""

    sweep: SweepInput
    now: datetime
