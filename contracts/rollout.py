"""A rollout: the upgrade of all environments of one template, in waves. Pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeVar

from contracts.capacity.models import ReservationRequest
from contracts.environment.payload_limits import template_size
from contracts.templates.parameters import ParameterValue
from contracts.templates.template import Template
from contracts.types.models import Frozen

ROLLOUT_WORKFLOW = "RolloutWorkflow"
#: Environments of the first wave, which shows whether the new version is good at all.
FIRST_WAVE = 1
DEFAULT_WAVE = 5
#: Environments of one wave: their control planes start together, on hosts that have other work.
MAX_WAVE = 10
DEFAULT_STOP_AFTER = 1
#: Environments of one rollout: more would be hours, and the others are for the next rollout.
MAX_ENVIRONMENTS = 500
#: Of the input and the result of the workflow: Temporal refuses 2 MB.
_MAX_INPUT_BYTES = 1_000_000
#: Of all upgrades together, which have the template each: Temporal ends a run with 50 MB.
_MAX_HISTORY_BYTES = 20_000_000

_Entry = TypeVar("_Entry", bound=Frozen)


def rollout_id(template: str) -> str:
    """Return the workflow id, so that one rollout of a template runs at a time."""
    return f"moorage-rollout/{template}"


def template_from_rollout_id(id: str) -> str:
    """Return the template of a rollout by its workflow id."""
    return id.partition("/")[2]


class RolloutOutcome(StrEnum):
    """What has become of one environment."""

    WAITING = "waiting"  #: no wave has reached it
    RUNNING = "upgrading"
    UPGRADED = "upgraded"
    ROLLED_BACK = "rolled back"
    FAILED = "failed"  #: it gave no answer, or no end in its time
    REFUSED = "refused"  #: it cannot be upgraded now, and is as before
    GONE = "gone"
    SKIPPED = "skipped"  #: it was not ready, or cannot be upgraded in place


#: The outcomes that stop a rollout.
FAILURES = frozenset({RolloutOutcome.ROLLED_BACK, RolloutOutcome.FAILED})


class RolloutLine(Frozen):
    """One environment, what has become of it, and why. `wave` is 0 if it is in none."""

    name: str
    life: str
    outcome: RolloutOutcome
    reason: str = ""
    wave: int = 0


class RolloutItem(Frozen):
    """One environment to upgrade: its parameters then, and what it would hold."""

    name: str
    life: str
    parameters: dict[str, ParameterValue] = {}
    request: ReservationRequest


class RolloutInput(Frozen):
    """The argument of the workflow: the version of the template, and the environments in their order.

    `skipped` are those that are not upgraded. `more` had no room in the input.
    """

    template: Template
    actor: str
    wave: int = DEFAULT_WAVE
    stop_after: int = DEFAULT_STOP_AFTER
    items: tuple[RolloutItem, ...] = ()
    skipped: tuple[RolloutLine, ...] = ()
    more: int = 0
    heartbeat_timeout: timedelta = timedelta(seconds=20)


def waiting_lines(rollout: RolloutInput) -> tuple[RolloutLine, ...]:
    """Return the environments to upgrade, each with its wave, before the first wave."""
    return tuple(
        RolloutLine(
            name=item.name,
            life=item.life,
            outcome=RolloutOutcome.WAITING,
            wave=1 if number < FIRST_WAVE else 2 + (number - FIRST_WAVE) // rollout.wave,
        )
        for number, item in enumerate(rollout.items)
    )


class StopInput(Frozen):
    """A person stops the rollout: the wave that runs ends, and no other begins."""

    actor: str


class UpgradeInput(Frozen):
    """The upgrade of one environment to the version of the template."""

    template: Template
    actor: str
    item: RolloutItem


class UpgradeResult(Frozen):
    """How an upgrade has ended."""

    outcome: RolloutOutcome
    reason: str = ""


class RolloutStatus(Frozen):
    """What a rollout has done so far. `stopped` says why it began no further wave."""

    template: str
    version: int
    actor: str
    started_at: datetime | None = None
    dry_run: bool = False
    over: bool = False
    stopped: str = ""
    lines: tuple[RolloutLine, ...] = ()
    more: int = 0

    def count(self, *outcomes: RolloutOutcome) -> int:
        """Return how many environments have one of these outcomes."""
        return sum(line.outcome in outcomes for line in self.lines)

    @property
    def sentence(self) -> str:
        """The state in one line."""
        what = f"{self.template} version {self.version}"
        if self.dry_run:
            would, not_ = self.count(RolloutOutcome.WAITING), self.count(RolloutOutcome.SKIPPED)
            return f"{would} would be upgraded to {what}, {not_} not{self._rest}. Nothing was changed."
        counts = [f"{found} {outcome}" for outcome in RolloutOutcome if (found := self.count(outcome))]
        if not counts:
            return f"No environment has an older version than {what}."
        stopped = f" Stopped: {self.stopped}." if self.stopped else ""
        return f"Upgrade of all to {what}: {', '.join(counts)}{self._rest}.{stopped}"

    @property
    def _rest(self) -> str:
        return f", and {self.more} more for the next upgrade" if self.more else ""


def fit(rollout: RolloutInput) -> RolloutInput:
    """Return the rollout with as many environments as its run can carry; `more` counts the others."""
    each = template_size(rollout.template)
    most = min(MAX_ENVIRONMENTS, _MAX_HISTORY_BYTES // each)
    items = _fitting(rollout.items, most)
    skipped = _fitting(rollout.skipped, MAX_ENVIRONMENTS)
    more = len(rollout.items) - len(items) + len(rollout.skipped) - len(skipped)
    return rollout.model_copy(update={"items": items, "skipped": skipped, "more": more})


def _fitting(entries: Iterable[_Entry], most: int) -> tuple[_Entry, ...]:
    found: list[_Entry] = []
    size = 0
    for entry in entries:
        size += len(entry.model_dump_json().encode())
        if len(found) == most or size > _MAX_INPUT_BYTES // 2:
            break
        found.append(entry)
    return tuple(found)
