"""The input and output of the expiry sweep."""

from datetime import datetime, timedelta
from enum import StrEnum

from contracts.types.models import Frozen

SWEEP_WORKFLOW = "ExpirySweepWorkflow"
#: Every schedule of Moorage has this prefix. Moorage changes or removes no schedule without it.
SCHEDULE_PREFIX = "moorage/"
SWEEP_SCHEDULE = SCHEDULE_PREFIX + "expiry-sweep"
#: The workflow ids of scheduled sweeps, to which Temporal adds the time, and of sweeps that a person started.
SWEEP_SCHEDULED = "moorage-sweep/scheduled"
SWEEP_MANUAL = "moorage-sweep/manual"
SWEEP_DRY_RUN = "moorage-sweep/dry-run"

#: The actor in the audit trail for what the sweep did.
SWEEP_ACTOR = "the expiry sweep"
#: Lines in a result for each outcome; the numbers always count all. People read a result, and it is a part of
#: the history.
MAX_SWEEP_LINES = 100


class SweepInput(Frozen):
    """The options of a sweep.

    `lookahead`: warnings are given this long before their time, because the next sweep comes later. `dry_run`
    returns what the sweep would do and does nothing. `requested_by` is the person who asked for the sweep, if
    a person did. All expired environments get the update as fast as they answer, `concurrency` of them at the
    same time; of those, `ends_per_second` start their teardown.
    """

    dry_run: bool = False
    requested_by: str = ""
    lookahead: timedelta = timedelta(seconds=75)
    #: Environments that get an update at the same time: enough for thousands a minute, few enough for the
    #: server.
    concurrency: int = 20
    ends_per_second: float = 2.0
    #: Environments on one page of the list. After each page the sweep saves its progress and checks for a
    #: freeze.
    page_size: int = 200


class SweepOutcome(StrEnum):
    """The outcome for one environment."""

    WARNED = "warned"
    ENDED = "ended"
    KEPT = "kept"
    FAILED = "failed"


class SweepLine(Frozen):
    """One environment, and the reason for its outcome."""

    name: str
    reason: str


class OutcomeCount(Frozen):
    """The number of environments with one outcome, and the names of the first ones."""

    count: int = 0
    lines: tuple[SweepLine, ...] = ()

    def plus(self, line: SweepLine) -> "OutcomeCount":
        """Return a copy with one more environment."""
        lines = (*self.lines, line) if len(self.lines) < MAX_SWEEP_LINES else self.lines
        return OutcomeCount(count=self.count + 1, lines=lines)


class SweepResult(Frozen):
    """What a sweep did, or would do.

    `checked` counts the environments for which something was due. `frozen` says who has frozen all ends and
    why, if they are frozen.
    """

    now: datetime
    dry_run: bool = False
    open: int = 0
    checked: int = 0
    warned: OutcomeCount = OutcomeCount()
    ended: OutcomeCount = OutcomeCount()
    kept: OutcomeCount = OutcomeCount()
    failed: OutcomeCount = OutcomeCount()
    frozen: str = ""
    pages: int = 0
    seconds: float = 0

    def plus(self, deed: SweepOutcome, line: SweepLine) -> "SweepResult":
        """Return a copy with one more environment."""
        tally: OutcomeCount = getattr(self, deed)
        return self.model_copy(update={"checked": self.checked + 1, deed.value: tally.plus(line)})

    @property
    def sentence(self) -> str:
        """The result in one line."""
        would = "would be " if self.dry_run else ""
        return (
            f"{self.checked} of {self.open} checked: {self.warned.count} {would}warned, "
            f"{self.ended.count} {would}ended, {self.kept.count} kept, {self.failed.count} failed"
        )


class SweepPassInput(Frozen):
    """The input of the activity that does a whole sweep. `now` is Temporal's time at its start."""

    sweep: SweepInput
    now: datetime
