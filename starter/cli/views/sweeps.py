"""The API's answers about sweeps, as the command line reads them; see `starter.cli.views.base`."""

from datetime import datetime

from contracts.phases import DriftKind, StepName
from starter.cli.views.base import View


class SweepLine(View, frozen=True, kw_only=True):
    """One environment in the result of a sweep, and why it is there."""

    name: str
    reason: str


class OutcomeCount(View, frozen=True, kw_only=True):
    """The environments with one outcome of a sweep. `lines` has only the first."""

    count: int = 0
    lines: tuple[SweepLine, ...] = ()


class SweepResult(View, frozen=True, kw_only=True):
    """The result of a sweep."""

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


class LeaverLine(View, frozen=True, kw_only=True):
    """One environment with a person who has left, and its answer."""

    name: str
    person: str
    result: str
    failed: bool = False


class LeaverSweepResult(View, frozen=True, kw_only=True):
    """What a leaver sweep found and did."""

    now: datetime
    asked: int = 0
    unclear: int = 0
    left: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    brake: str = ""
    problem: str = ""
    lines: tuple[LeaverLine, ...] = ()


class LeaversView(View, frozen=True, kw_only=True):
    """A leaver sweep."""

    id: str = ""
    over: bool
    result: LeaverSweepResult | None = None
    message: str


class Orphan(View, frozen=True, kw_only=True):
    """A life that no open environment owns, and what is to become of it."""

    name: str
    life: str
    owner: str = ""
    found: tuple[str, ...] = ()
    verdict: str
    reason: str
    first_seen: datetime


class Deviation(View, frozen=True, kw_only=True):
    """What is missing or altered of one step."""

    step: StepName
    what: str
    guards: bool = False
    members: DriftKind | None = None
    extra: tuple[str, ...] = ()
    repairs: bool = False


class DriftedLife(View, frozen=True, kw_only=True):
    """A ready environment, and what is missing or altered under it."""

    name: str
    life: str
    found: tuple[Deviation, ...] = ()
    repair: tuple[StepName, ...] = ()


class SettledLine(View, frozen=True, kw_only=True):
    """One orphan, and what a reconcile sweep did about it."""

    name: str
    life: str
    result: str
    verdict: str | None = None
    failed: bool = False


class SurveyedSystem(View, frozen=True, kw_only=True):
    """A system that a reconcile sweep asked; `skipped`: sweeps in a row without a usable answer."""

    system: str
    host: str = ""
    skipped: int = 0


class ReconcileResult(View, frozen=True, kw_only=True):
    """What a reconcile sweep found and did."""

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


class ReconcileView(View, frozen=True, kw_only=True):
    """A reconcile sweep."""

    id: str = ""
    dry_run: bool = False
    over: bool
    result: ReconcileResult | None = None
    message: str


class SweepView(View, frozen=True, kw_only=True):
    """A sweep on request."""

    id: str
    dry_run: bool
    over: bool
    result: SweepResult | None = None
    message: str
