"""The input and output of the reconcile sweep."""

from datetime import datetime, timedelta
from enum import StrEnum

from contracts.phases import DriftKind, System
from contracts.reconcile.drift import DEFAULT_REPAIR, DriftedLife
from contracts.sweeps.expiry import SCHEDULE_PREFIX
from contracts.types.models import Frozen

RECONCILE_WORKFLOW = "ReconcileWorkflow"
RECONCILE_SCHEDULE = SCHEDULE_PREFIX + "reconcile"
#: The workflow ids of scheduled sweeps, to which Temporal adds the time, and of those that a person started.
RECONCILE_SCHEDULED = "moorage-reconcile/scheduled"
RECONCILE_MANUAL = "moorage-reconcile/manual"
RECONCILE_DRY_RUN = "moorage-reconcile/dry-run"
#: Finds in Temporal the sweeps that have a result, the newest first.
RECONCILE_COMPLETED = (
    f"WorkflowType = '{RECONCILE_WORKFLOW}' AND ExecutionStatus = 'Completed' "
    f"AND WorkflowId != '{RECONCILE_DRY_RUN}'"
)
#: The actor in the audit trail for what the sweep did.
RECONCILE_ACTOR = "the reconcile sweep"
#: Orphans in one result, which is a part of a history; the next sweep sees to the others.
MAX_ORPHANS = 500


class Verdict(StrEnum):
    """What is to become of an orphan, or of an environment under which something has changed."""

    ADOPT = "adopt"  #: it is complete: its workflow is started with the same life
    UNDO = "undo"  #: it is incomplete: it is undone by its marks, after the grace
    REPAIR = "repair"  #: it is open and ready, and a part of it is done again
    LOOK = "look"  #: a person has to look: the sweep cannot decide


class ReconcileInput(Frozen):
    """The options of a sweep.

    `confirmed` are lives that a member of the platform team has seen and confirmed: the brake does not count
    them. More than `limit` others, or more than `limit_percent` of all environments, stop the sweep. An
    incomplete orphan is undone once it has been seen for `grace`. Of what is missing or altered under ready
    environments, these kinds are repaired or ignored; the others are reported.
    """

    dry_run: bool = False
    confirmed: tuple[str, ...] = ()
    requested_by: str = ""
    grace: timedelta = timedelta(minutes=30)
    repair: tuple[DriftKind, ...] = DEFAULT_REPAIR
    ignore: tuple[DriftKind, ...] = ()
    limit: int = 5
    limit_percent: int = 10


class Orphan(Frozen):
    """A life that has left something and that no open environment owns.

    `found` is what bears its marks. `reason` says why the verdict is as it is. `first_seen` is when the first
    of the sweeps in a row has seen it with this verdict.
    """

    name: str
    life: str
    owner: str = ""
    found: tuple[str, ...] = ()
    verdict: Verdict
    reason: str
    first_seen: datetime


class SurveyInput(Frozen):
    """The time of the sweep, and the kinds of drift to repair and to ignore."""

    now: datetime
    repair: tuple[DriftKind, ...] = ()
    ignore: tuple[DriftKind, ...] = ()


class SurveyedSystem(Frozen):
    """A system whose list a sweep asks for; `skipped` counts the sweeps in a row without a usable answer."""

    system: System
    host: str = ""
    skipped: int = 0

    @property
    def label(self) -> str:
        """The system in a sentence."""
        return f"host {self.host}" if self.host else self.system.value


class Survey(Frozen):
    """What a look at all systems has found; `open` is how many environments are open.

    `drifted` are ready environments under which something is missing or altered, or was at the last sweep.

    `skipped` has a reason for each system that did not answer, or contradicted itself: nothing is decided
    about what may be there. `systems` are all whose lists were asked for. `more` orphans are not in the list.
    `frozen` says who has frozen all ends and why; nothing is undone then.
    """

    open: int = 0
    orphans: tuple[Orphan, ...] = ()
    drifted: tuple[DriftedLife, ...] = ()
    more: int = 0
    skipped: tuple[str, ...] = ()
    systems: tuple[SurveyedSystem, ...] = ()
    frozen: str = ""


class SettleInput(Frozen):
    """The orphans to adopt or to undo now, and the environments that are notified of their drift.

    Each is looked at again before.
    """

    orphans: tuple[Orphan, ...] = ()
    drifted: tuple[DriftedLife, ...] = ()
    actor: str
    task_queue: str


class SettledLine(Frozen):
    """One orphan and what was done."""

    name: str
    life: str
    result: str
    verdict: Verdict | None = None
    failed: bool = False


class SettleResult(Frozen):
    """What was done."""

    lines: tuple[SettledLine, ...] = ()


class ReconcileResult(Frozen):
    """What a sweep found and did.

    `waiting` are lives about which nothing was done because of `brake`, the reason in a sentence. `problem`
    says why the sweep could not look, or could not end.
    """

    now: datetime
    dry_run: bool = False
    open: int = 0
    orphans: tuple[Orphan, ...] = ()
    drifted: tuple[DriftedLife, ...] = ()
    more: int = 0
    skipped: tuple[str, ...] = ()
    systems: tuple[SurveyedSystem, ...] = ()
    frozen: str = ""
    due: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    brake: str = ""
    problem: str = ""
    lines: tuple[SettledLine, ...] = ()

    @property
    def sentence(self) -> str:
        """The result in one line."""
        if self.problem:
            return f"nothing was done: {self.problem}"
        found = f"{self.open} open, {len(self.orphans) + self.more} without an open environment"
        if drifted := sum(bool(one.found) for one in self.drifted):
            found += f", {drifted} altered"
        if self.skipped:
            found += f", {len(self.skipped)} systems skipped"
        if self.brake:
            return f"{found}; {len(self.waiting)} wait for a person: {self.brake}"
        if self.dry_run:
            return f"{found}; {len(self.due)} would be adopted, undone or repaired now"
        failed = sum(line.failed for line in self.lines)
        done = sum(line.verdict is not None for line in self.lines)
        return f"{found}; {done} adopted, being undone or repaired, {failed} failed"
