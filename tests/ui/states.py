"""The pages in states that a stack takes long to reach: the application, whose services answer values.

The browser asks an address that does not exist, and each of its requests goes straight to the application.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
from fastapi import FastAPI
from playwright.async_api import Browser, Route

from contracts.capacity.models import Amount, CapacityState, HostCapacity, HostState, Limits
from contracts.environment import Drift, Outcome, Phase, Problem, StepName, StepState
from contracts.expiry_sweep import OutcomeCount, SweepLine, SweepResult
from contracts.leaver_rules import LeaverSweepResult
from contracts.reconcile.drift import Deviation, DriftedLife
from contracts.reconcile.models import Orphan, ReconcileResult, Verdict
from contracts.sleep_rules import SleepPolicy, SleepReason
from contracts.types.labels import are_selected
from starter.auth.policy import Principal, Role
from starter.environments.lists.listing import Filters
from starter.environments.schemas import (
    CertificateView,
    ChangeView,
    EnvironmentPage,
    EnvironmentRow,
    EnvironmentView,
    FreezeView,
    HistoryView,
    LifeView,
    SleepView,
    StepView,
    SystemView,
    Unwell,
)
from starter.expiry.leavers import LeaversView
from starter.expiry.reconcile import ReconcileView
from starter.expiry.sweep_schedule import SweepSchedule
from starter.expiry.sweeps import SweepView
from starter.statistics.life_sources import RecordSource
from starter.statistics.service import Statistics
from tests.page.browser import SILENT, SITE, browser_of, page_app
from tests.page.samples import a_view
from tests.starter.test_catalogue import GOOD
from tests.starter.test_statistics import record
from tests.ui.browser import Person, person
from tests.ui.inspection import DESKTOP

BOB = Principal(person="Bob", email="bob@example.com", teams=("blue",))
ALICE = Principal(person="Alice", email="alice@example.com", teams=("blue",), role=Role.PLATFORM)

NOW = datetime.now(UTC)
GIB = 2**30
LONGEST = "a-name-that-has-thirty-letters"
LONG_LABELS = {f"{'long-' * 12}{number}": f"{'value.' * 10}{number}" for number in range(3)} | {"app": "shop"}
_PARAMETERS = """
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


def _view(**changes: Any) -> EnvironmentView:
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


def _row(name: str) -> EnvironmentRow:
    view = _view(name=name, **ENVIRONMENTS.get(name, {"phase": Phase.ORPHANED, "run_id": "run-8"}))
    fields = {field: getattr(view, field) for field in EnvironmentRow.model_fields if hasattr(view, field)}
    return EnvironmentRow(**fields | {"problem": "", "unwell": view.unwell})


def _count(number: int, reason: str) -> OutcomeCount:
    lines = tuple(SweepLine(name=f"env-{each}", reason=reason) for each in range(min(number, 12)))
    return OutcomeCount(count=number, lines=lines)


_SWEEP = SweepResult(
    now=NOW, dry_run=True, open=12345, checked=1239,
    warned=_count(1204, "ends in 55m, and nobody was warned of that"), ended=_count(3, "its time is over"),
    kept=_count(30, "its owner has extended it"), failed=_count(2, "its workflow does not answer: try again"),
)  # fmt: skip
_RECONCILE = ReconcileResult(
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
_LEAVERS = LeaverSweepResult(
    now=NOW - timedelta(minutes=20), asked=4321,
    left=tuple(f"person-{number}.of-a-department@example.com" for number in range(30)),
    waiting=tuple(f"person-{number}.of-a-department@example.com" for number in range(30)),
    brake="30 of 400 people are more than 5 %: the directory may be wrong",
)  # fmt: skip


class Services:
    """What the API's services answer. `frozen` is the freeze of all ends, `taken` the names in use."""

    def __init__(self) -> None:
        self.taken: set[str] = set()
        self.frozen: FreezeView | None = None

    # --- the details of one environment
    async def read(self, name: str, _: object) -> EnvironmentView:
        return _view(name=name, **ENVIRONMENTS[name])

    # --- the list
    async def page(self, _: object, filters: Filters, **__: object) -> EnvironmentPage:
        wanted = {"owner": filters.owner, "team": filters.team, "template": filters.template}
        views = [_view(name=name, **fields) for name, fields in ENVIRONMENTS.items()]
        names = [
            view.name
            for view in views
            if all(value in (None, getattr(view, field)) for field, value in wanted.items())
            and are_selected(view.labels, filters.labels)
            and view.name.startswith(filters.name or "")
        ]
        return EnvironmentPage(environments=tuple(map(_row, names)), frozen=self.frozen, next="more")

    async def first(self, _: object, filters: Filters, __: int) -> tuple[list[EnvironmentRow], bool]:
        return ([_row(name) for name in ORPHANS] if filters.ended else []), True

    async def add_to_rows(self, rows: Sequence[EnvironmentRow], **_: str) -> tuple[EnvironmentRow, ...]:
        return tuple(rows)

    def stop(self) -> None:
        """Nothing runs."""

    # --- capacity
    async def state(self, *_: object) -> CapacityState:
        total = Limits(environments=2000, cpu=4_000_000, memory=16_000 * GIB)
        host = HostCapacity(name="local", total=total, known=True)
        held = Amount(environments=1204, cpu=1_234_500, memory=9_876 * GIB)
        return CapacityState(
            audited_at=NOW, hosts=(HostState(capacity=host, reserved=held),), person=Amount(), teams={},
            reservations=1204,
        )  # fmt: skip

    cached_state = state

    async def list_reservations(self) -> tuple[object, ...]:
        return ()

    # --- the reader
    async def latest(self, name: str) -> EnvironmentView | None:
        return _view(name=name) if name in self.taken else None


class Ends:
    """The freeze and the sweeps."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def cached_state(self) -> FreezeView | None:
        return self._services.frozen

    state = cached_state

    async def freeze(self, actor: str, reason: str) -> tuple[FreezeView, bool]:
        self._services.frozen = FreezeView(by=actor, since=NOW, reason=reason)
        return self._services.frozen, True

    async def thaw(self, _: str) -> FreezeView | None:
        before, self._services.frozen = self._services.frozen, None
        return before

    async def schedule(self) -> SweepSchedule:
        next_at = None if self._services.frozen else NOW + timedelta(minutes=1)
        interval = timedelta(minutes=1)
        return SweepSchedule(is_scheduled=True, interval=interval, next_at=next_at, last_at=NOW)

    def stop(self) -> None:
        """Nothing runs."""


_CERTIFICATE = CertificateView(
    inspected_at=NOW,
    nothing_left=True,
    systems=(
        SystemView(system="control plane"),
        SystemView(system="host cluster", kept=("volume data-0",), forced=("pod mrg-demo-0",)),
    ),
)


async def _history(name: str, _: object) -> HistoryView:
    view = _view(
        name=name,
        phase=Phase.GONE,
        outcome=Outcome.DELETED,
        ended=True,
        ended_at=NOW,
        certificate=_CERTIFICATE,
    )
    return HistoryView(name=name, lives=(LifeView.of(view),))


async def _last_leavers() -> LeaversView:
    return LeaversView(over=True, result=_LEAVERS, message=_LEAVERS.sentence)


async def _last_reconcile() -> ReconcileView:
    return ReconcileView(over=True, result=_RECONCILE, message=_RECONCILE.sentence)


async def _reconcile(run_id: str, *, dry_run: bool) -> ReconcileView:
    if run_id == "running":
        return ReconcileView(
            id=run_id, dry_run=dry_run, over=False, message="The reconcile sweep is under way."
        )
    result = _RECONCILE.model_copy(update={"dry_run": dry_run, "waiting": (), "brake": ""})
    return ReconcileView(id=run_id, dry_run=dry_run, over=True, result=result, message=result.sentence)


async def _sweep(run_id: str, *, dry_run: bool) -> SweepView:
    results = {
        "running": None,
        "nothing": SweepResult(now=NOW, open=30),
        "frozen": _SWEEP.model_copy(
            update={"frozen": "All ends are frozen by alice@example.com: we migrate."}
        ),
    }
    result = results.get(run_id, _SWEEP)
    message = result.sentence if result else "The sweep is under way."
    return SweepView(id=run_id, dry_run=dry_run, over=result is not None, result=result, message=message)


async def application(folder: Path) -> FastAPI:
    """The application of the pages, with these services."""
    templates = folder / "templates"
    templates.mkdir()
    (templates / "plain.yaml").write_text(GOOD)
    (templates / "parameters.yaml").write_text(GOOD + _PARAMETERS)
    records = folder / "audit-log.jsonl"
    start = NOW - timedelta(hours=2)
    times = {"requested_at": start, "usable_at": start, "ended_at": start + timedelta(hours=1)}
    ready = {"ready_at": start + timedelta(seconds=30)}
    failed = {"ready_at": None, "outcome": Outcome.FAILED, "problem": a_problem("vcluster")}
    lives = [
        record(life=f"{number:020x}", **times, **(ready if number < 4 else failed)).model_dump_json()
        for number in range(6)
    ]
    records.write_text("\n".join(lives) + "\n")
    url = "https://temporal.test/"
    app = await page_app(folder, SILENT, MOORAGE_TEMPLATES=str(templates), MOORAGE_TEMPORAL__WEB_URL=url)
    services, state = Services(), app.state
    state.details = state.list = state.health = state.reservations = state.reader = services
    state.freeze = Ends(services)
    state.services = services
    state.sweeps = SimpleNamespace(wait=_sweep)
    state.reconcile = SimpleNamespace(schedule=state.freeze.schedule, last=_last_reconcile, wait=_reconcile)
    state.history = SimpleNamespace(read=_history)
    state.leavers = SimpleNamespace(last=_last_leavers)

    async def requested_at() -> tuple[datetime, ...]:
        return ()

    state.statistics = Statistics(
        RecordSource(records), cast(Any, SimpleNamespace(requested_at=requested_at))
    )
    return app


@asynccontextmanager
async def visitor(
    browser: Browser, app: FastAPI, principal: Principal, **options: Any
) -> AsyncIterator[Person]:
    """A browser of a person who has signed in at the application."""
    site = cast(Any, SimpleNamespace(url=lambda _: SITE))
    async with (
        browser_of(app, principal) as http,
        person(browser, site, principal.email, viewport=DESKTOP, **options) as someone,
    ):
        await someone.page.context.route(f"{SITE}/**", lambda route: _answer(route, http))
        yield someone


async def _answer(route: Route, http: httpx.AsyncClient) -> None:
    request = route.request
    if "/live?" in request.url:
        # Nothing changes.
        await route.fulfill(content_type="text/event-stream", body="event: end\ndata: \n\n")
        return
    body = {"content-type": request.headers["content-type"]} if request.post_data else {}
    answer = await http.request(request.method, request.url, content=request.post_data, headers=body)
    dropped = {"content-encoding", "content-length", "set-cookie", "transfer-encoding"}
    headers = {name: value for name, value in answer.headers.items() if name not in dropped}
    await route.fulfill(status=answer.status_code, headers=headers, body=answer.content)
