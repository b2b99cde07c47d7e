"""Environments and results of sweeps, as services answer them, in states that a stack takes long to reach."""

from datetime import UTC, datetime, timedelta
from typing import Any

from contracts.environment.models import Drift, Phase, Problem, Restore, Snapshot, StepName, StepState
from contracts.reconcile.drift import Deviation, DriftedLife
from contracts.reconcile.models import Orphan, ReconcileResult, Verdict
from contracts.rollout import RolloutLine, RolloutOutcome, RolloutStatus
from contracts.sweeps.expiry import OutcomeCount, SweepLine, SweepResult
from contracts.sweeps.leavers import LeaverSweepResult
from contracts.templates.sleep import SleepPolicy, SleepReason
from starter.auth.policy import Principal, Role
from starter.environments.schemas import (
    CertificateView,
    ChangeView,
    EnvironmentRow,
    EnvironmentView,
    SleepView,
    StepView,
    SystemView,
    Unwell,
)
from tests.page.samples import a_view

BOB = Principal(person="Bob", email="bob@example.com", teams=("blue",))
ALICE = Principal(person="Alice", email="alice@example.com", teams=("blue",), role=Role.PLATFORM)

NOW = datetime.now(UTC)
GIB = 2**30
LONGEST = "a-name-that-has-thirty-letters"
LONG_LABELS = {f"{'long-' * 12}{number}": f"{'value.' * 10}{number}" for number in range(3)} | {"app": "shop"}
PARAMETERS = """
parameters:
  replicas:
    type: integer
    description: Control planes; three survive the loss of a node.
    default: 1
    minimum: 1
    maximum: 3
  store:
    type: choice
    description: Where the state is kept.
    choices: [embedded, deployed]
    default: embedded
  domain:
    type: string
    description: The domain of its ingress.
    example: shop.example.com
  debug:
    type: boolean
    description: Whether it writes all that it does.
    default: false
values:
  controlPlane:
    advanced:
      defaultImageRegistry: ${parameters.domain}
    statefulSet:
      highAvailability:
        replicas: ${parameters.replicas}
    backingStore:
      etcd:
        deploy:
          enabled: ${parameters.debug}
          headlessService:
            annotations: {store: "${parameters.store}"}
"""


def a_problem(step: str = "sleep") -> Problem:
    """A problem with a cause and a remedy, each with a command."""
    return Problem(
        step=step,
        system="host cluster",
        cause="the pod mrg-demo-0 does not end: a finalizer of `example.com/backup` holds it",
        remedy="Look at it with `kubectl describe pod mrg-demo-0`, then try again.",
        type="NotYet",
    )


def an_environment(**changes: Any) -> EnvironmentView:
    """A ready environment of Bob, with all its steps."""
    steps = tuple(
        StepView(
            step=step,
            system="host cluster",
            state=StepState.DONE,
            started_at=NOW - timedelta(minutes=9, seconds=-number),
            ended_at=NOW - timedelta(minutes=9, seconds=-number - 1.2),
        )
        for number, step in enumerate(StepName)
    )
    return a_view(
        **{
            "life": "a" * 20, "template_version": 1, "kubernetes": "v1.36.0", "steps": steps,
            "requested_at": NOW - timedelta(minutes=10), "ready_at": NOW - timedelta(minutes=8),
            "expires_at": NOW + timedelta(hours=7), "extendable_until": NOW + timedelta(days=2),
            "collaborators": ("carol@example.com",), **changes,
        }
    )  # fmt: skip


def _asleep(**changes: Any) -> SleepView:
    return SleepView(**{"actor": "bob@example.com", "asleep_at": NOW - timedelta(hours=1), **changes})


def _drift(step: StepName, what: str, **changes: Any) -> Drift:
    return Drift(step=step, system="host cluster", what=what, since=NOW - timedelta(hours=2), **changes)


_CHANGE = ChangeView(
    template="medium",
    template_version=2,
    kubernetes="v1.36.1",
    actor="bob@example.com",
    started_at=NOW - timedelta(seconds=40),
)


def _snapshot(number: int, hours: float, **changes: Any) -> Snapshot:
    at = NOW - timedelta(hours=hours)
    return Snapshot(
        **{"number": number, "actor": "bob@example.com", "asked_at": at, "taken_at": at, **changes}
    )


_SNAPSHOTS = (
    _snapshot(2, 3, before="the change to medium version 2"),
    _snapshot(3, 2),
    _snapshot(4, 1, taken_at=None, problem=a_problem("snapshot")),
)
_BEFORE_RESTORE = _snapshot(5, 0, before="the restore of snapshot 3")
_RESTORE = Restore(number=3, actor="bob@example.com", started_at=NOW - timedelta(seconds=20))
#: By their names. The names say the states.
ENVIRONMENTS: dict[str, dict[str, Any]] = {
    "asleep": {
        "phase": Phase.ASLEEP,
        "sleep": _asleep(actor="moorage", reason=SleepReason.IDLE),
        "sleep_policy": SleepPolicy(after=timedelta(hours=2), schedule="Mon-Fri 07:00-19:00 Europe/Berlin"),
    },
    "falling-asleep": {
        "phase": Phase.FALLING_ASLEEP,
        "sleep": _asleep(asleep_at=None, problem=a_problem()),
    },
    "could-not-wake": {"phase": Phase.ASLEEP, "sleep": _asleep(problem=a_problem("wake"))},
    "drift": {
        "drift": (
            _drift(StepName.GROUP, "the group mrg-drift is missing", repairs=True),
            _drift(StepName.NAMESPACE, "the network policy default is altered", guards=True),
            _drift(StepName.IMPORT, "the cluster is not imported", repairs=True, problem=a_problem("import")),
        )
    },
    "changing": {"change": _CHANGE, "template_newer": 2},
    "going-back": {
        "change": _CHANGE.model_copy(update={"going_back": True}),
        "change_problem": a_problem("vcluster"),
    },
    "snapshots": {"snapshots": _SNAPSHOTS},
    "restoring": {
        "snapshots": (*_SNAPSHOTS[1:], _BEFORE_RESTORE),
        "restore": _RESTORE.model_copy(update={"way_back": 5}),
    },
    "restore-goes-back": {
        "snapshots": (*_SNAPSHOTS[1:], _BEFORE_RESTORE),
        "restore": _RESTORE.model_copy(
            update={
                "problem": a_problem("restore"),
                "obstacle": a_problem("restore"),
                "next_try_at": NOW + timedelta(minutes=4),
            }
        ),
        "restore_problem": a_problem("restore"),
    },
    "restore-failed": {
        "snapshots": (*_SNAPSHOTS[1:], _BEFORE_RESTORE),
        "restore_problem": a_problem("restore"),
    },
    "orphaned": {
        "phase": Phase.ORPHANED,
        "extendable_until": None,
        "remark": "Its workflow was closed from outside, so nothing was taken down",
        "run_id": "run-7",
    },
    LONGEST: {
        "owner": f"{'wilhelmina-constance.' * 3}b@research.example.com",
        "team": "blue",
        "owner_left_at": NOW,
        "labels": LONG_LABELS,
        "template_newer": 2,
        "drift": (_drift(StepName.GROUP, f"the group {'mrg-' * 30} is missing"),),
        "unwell": Unwell(what=f"the image registry.example.com/{'deep/' * 30}shop:1 cannot be pulled"),
        "change_problem": a_problem("vcluster"),
        "sleep_policy": SleepPolicy(after=timedelta(hours=2)),
        "parameters": {"domain": f"{'shop.' * 20}example.com", "replicas": 3},
    },
}  # fmt: skip
#: Ended lives that nothing was taken down of, as the platform team's page lists them.
ORPHANS = ("orphaned", "orphaned-long-ago", "orphaned-without-a-trace-in-temp")


def a_row(name: str) -> EnvironmentRow:
    """The environment as a row of a list."""
    view = an_environment(name=name, **ENVIRONMENTS.get(name, {"phase": Phase.ORPHANED, "run_id": "run-8"}))
    fields = {field: getattr(view, field) for field in EnvironmentRow.model_fields if hasattr(view, field)}
    return EnvironmentRow(**fields | {"problem": "", "unwell": view.unwell})


def _count(number: int, reason: str) -> OutcomeCount:
    lines = tuple(SweepLine(name=f"env-{each}", reason=reason) for each in range(min(number, 12)))
    return OutcomeCount(count=number, lines=lines)


SWEEP = SweepResult(
    now=NOW, dry_run=True, open=12345, checked=1239,
    warned=_count(1204, "ends in 55m, and no user was warned of that"), ended=_count(3, "its time is over"),
    kept=_count(30, "its owner has extended it"), failed=_count(2, "its workflow does not answer: try again"),
)  # fmt: skip
RECONCILE = ReconcileResult(
    now=NOW, open=1234, skipped=("control plane: it does not answer (HTTP 503)",),
    orphans=tuple(
        Orphan(
            name=f"env-{number}", life=f"{number:020x}", owner="bob@example.com", verdict=verdict,
            reason="no open workflow has this life", first_seen=NOW - timedelta(hours=1),
            found=("group mrg-env in the control plane", f"namespace mrg-env-{'x' * 60} on the host local"),
        )
        for number, verdict in enumerate((*Verdict, Verdict.UNDO))
    ),
    drifted=(
        DriftedLife(
            name="drift", life="a" * 20, repair=(StepName.GROUP,),
            found=(
                Deviation(step=StepName.GROUP, what="the group mrg-drift is missing"),
                Deviation(step=StepName.VCLUSTER, what=f"the release {'mrg-' * 30} is altered"),
            ),
        ),
    ),
    waiting=(f"{0:020x}", f"{1:020x}", "a" * 20), due=(f"{0:020x}", f"{1:020x}"), more=7,
    brake="3 lives are more than 5 % of 30",
)  # fmt: skip
LEAVERS = LeaverSweepResult(
    now=NOW - timedelta(minutes=20), asked=4321,
    left=tuple(f"person-{number}.of-a-department@example.com" for number in range(30)),
    waiting=tuple(f"person-{number}.of-a-department@example.com" for number in range(30)),
    brake="30 of 400 people are more than 5 %: the directory may be wrong",
)  # fmt: skip


def _lines(outcome: RolloutOutcome, number: int, wave: int = 0, reason: str = "") -> tuple[RolloutLine, ...]:
    return tuple(
        RolloutLine(
            name=f"env-{outcome.name.lower()}-{each}",
            life=f"{each:020x}",
            outcome=outcome,
            wave=wave,
            reason=reason,
        )
        for each in range(number)
    )


ROLLOUT_PLAN = RolloutStatus(
    template="plain", version=3, actor=ALICE.email, dry_run=True, over=True, more=1204,
    lines=(
        *_lines(RolloutOutcome.WAITING, 60, 1),
        *_lines(RolloutOutcome.SKIPPED, 2, reason="it is asleep: wake it, and start the next upgrade then"),
    ),
)  # fmt: skip
_ROLLED = (
    *_lines(RolloutOutcome.UPGRADED, 3, 1),
    *_lines(
        RolloutOutcome.ROLLED_BACK,
        1,
        2,
        f"vcluster: the image registry.example.com/{'deep/' * 20}shop:1 is not there",
    ),
    *_lines(RolloutOutcome.REFUSED, 1, 2, "its template is being changed by bob@example.com"),
)
#: By their names, which say the states: what the page of an upgrade of all environments shows.
ROLLOUTS = {
    "running": ROLLOUT_PLAN.model_copy(
        update={
            "template": "running", "dry_run": False, "over": False, "started_at": NOW,
            "lines": (
                *_ROLLED,
                *_lines(RolloutOutcome.RUNNING, 5, 3),
                *_lines(RolloutOutcome.WAITING, 60, 4),
            ),
        }
    ),
    "stopped": ROLLOUT_PLAN.model_copy(
        update={
            "template": "stopped", "dry_run": False, "started_at": NOW, "stopped": "1 upgrade has failed",
            "lines": (*_ROLLED, *_lines(RolloutOutcome.WAITING, 60, 3)),
        }
    ),
    "over": ROLLOUT_PLAN.model_copy(
        update={
            "template": "over", "dry_run": False, "started_at": NOW, "more": 0,
            "lines": _lines(RolloutOutcome.UPGRADED, 12, 1),
        }
    ),
}  # fmt: skip


CERTIFICATE = CertificateView(
    inspected_at=NOW,
    nothing_left=True,
    systems=(
        SystemView(system="control plane"),
        SystemView(system="host cluster", kept=("volume data-0",), forced=("pod mrg-demo-0",)),
    ),
)
