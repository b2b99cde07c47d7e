"""The pages in states that a stack takes long to reach: the application, whose services answer values.

The browser asks an address that does not exist, and each of its requests goes straight to the application.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
from fastapi import FastAPI
from playwright.async_api import Browser, Route

from contracts.capacity.models import Amount, CapacityState, HostCapacity, HostState, Limits
from contracts.capacity.warm_pools import MAX_FAILURES, PoolCount
from contracts.environment.models import Outcome, Phase
from contracts.sweeps.expiry import SweepResult
from contracts.templates.warm_pool import WarmPool
from contracts.types.labels import are_selected
from starter.auth.policy import Principal
from starter.environments.lists.listing import Filters
from starter.environments.rollout import RequestedRollout, RolloutView
from starter.environments.schemas import (
    EnvironmentPage,
    EnvironmentRow,
    EnvironmentView,
    FreezeView,
    HistoryView,
    LifeView,
)
from starter.expiry.leavers import LeaversView
from starter.expiry.reconcile import ReconcileView
from starter.expiry.sweep_schedule import SweepSchedule
from starter.expiry.sweeps import SweepView
from starter.statistics.life_sources import RecordSource
from starter.statistics.service import Statistics
from tests.page.browser import SILENT, SITE, browser_of, page_app
from tests.starter.test_catalogue import GOOD
from tests.starter.test_statistics import record
from tests.support.booking_views import Bookings
from tests.ui.browser import Person, person
from tests.ui.inspection import DESKTOP
from tests.ui.state_values import (
    CERTIFICATE,
    ENVIRONMENTS,
    GIB,
    LEAVERS,
    NOW,
    ORPHANS,
    PARAMETERS,
    RECONCILE,
    ROLLOUT_PLAN,
    ROLLOUTS,
    SWEEP,
    a_problem,
    a_row,
    an_environment,
)


class Services:
    """What the API's services answer.

    `frozen` is the freeze of all ends, `taken` the names in use, `upgrading` the templates whose environments
    are being upgraded.
    """

    def __init__(self) -> None:
        self.taken: set[str] = set()
        self.upgrading: list[str] = []
        self.frozen: FreezeView | None = None

    # --- the details of one environment
    async def read(self, name: str, _: object) -> EnvironmentView:
        return an_environment(name=name, **ENVIRONMENTS[name])

    # --- the list
    async def page(self, _: object, filters: Filters, **__: object) -> EnvironmentPage:
        wanted = {"owner": filters.owner, "team": filters.team, "template": filters.template}
        views = [an_environment(name=name, **fields) for name, fields in ENVIRONMENTS.items()]
        names = [
            view.name
            for view in views
            if all(value in (None, getattr(view, field)) for field, value in wanted.items())
            and are_selected(view.labels, filters.labels)
            and view.name.startswith(filters.name or "")
        ]
        return EnvironmentPage(environments=tuple(map(a_row, names)), frozen=self.frozen, next="more")

    async def first(self, _: object, filters: Filters, __: int) -> tuple[list[EnvironmentRow], bool]:
        if filters.ended:
            return [a_row(name) for name in ORPHANS], True
        if filters.stuck:
            return [], True
        return list((await self.page(None, filters)).environments), False

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

    async def list_pools(self) -> tuple[PoolCount, ...]:
        hours = WarmPool(ready=3, hours=f"{NOW + timedelta(days=2):%a} 07:00-19:00 Europe/Berlin")
        plain = PoolCount(
            template="small", key="k", policy=WarmPool(ready=30, most=100), hosts=("local",),
            ready=12, making=2, wanted=1204, taken=1190,
        )  # fmt: skip
        closed = {"template": "large", "policy": hours, "ready": 0, "making": 0, "wanted": 0, "taken": 0}
        cause = "vCluster: the image registry.example.com/a-very-long-name/of-an-image:1.36 is not there."
        stopped = {"template": "ci", "ready": 0, "failures": MAX_FAILURES, "problem": cause}
        return plain, plain.model_copy(update=closed), plain.model_copy(update=stopped)

    # --- the reader
    async def latest(self, name: str) -> EnvironmentView | None:
        return an_environment(name=name) if name in self.taken else None


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


class Upgrades:
    """The upgrades of all environments of a template, whose name is the state of the upgrade."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def running(self) -> list[str]:
        return self._services.upgrading

    async def start(self, requested: RequestedRollout, _: Principal, *, dry_run: bool) -> RolloutView:
        plan = ROLLOUT_PLAN
        if requested.template != plan.template:
            plan = plan.model_copy(update={"template": requested.template, "lines": (), "more": 0})
        return RolloutView(over=True, result=plan, message=plan.sentence)

    async def read(self, template: str) -> RolloutView:
        result = ROLLOUTS.get(template)
        if result is None:
            return RolloutView(over=True, message=f"There was no upgrade of all environments of {template}.")
        return RolloutView(over=result.over, result=result, message=result.sentence)


async def _history(name: str, _: object) -> HistoryView:
    view = an_environment(
        name=name,
        phase=Phase.GONE,
        outcome=Outcome.DELETED,
        ended=True,
        ended_at=NOW,
        certificate=CERTIFICATE,
    )
    return HistoryView(name=name, lives=(LifeView.of(view),))


async def _last_leavers() -> LeaversView:
    return LeaversView(over=True, result=LEAVERS, message=LEAVERS.sentence)


async def _last_reconcile() -> ReconcileView:
    return ReconcileView(over=True, result=RECONCILE, message=RECONCILE.sentence)


async def _reconcile(run_id: str, *, dry_run: bool) -> ReconcileView:
    if run_id == "running":
        return ReconcileView(
            id=run_id, dry_run=dry_run, over=False, message="The reconcile sweep is under way."
        )
    result = RECONCILE.model_copy(update={"dry_run": dry_run, "waiting": (), "brake": ""})
    return ReconcileView(id=run_id, dry_run=dry_run, over=True, result=result, message=result.sentence)


async def _sweep(run_id: str, *, dry_run: bool) -> SweepView:
    results = {
        "running": None,
        "nothing": SweepResult(now=NOW, open=30),
        "frozen": SWEEP.model_copy(
            update={"frozen": "All ends are frozen by alice@example.com: we migrate."}
        ),
    }
    result = results.get(run_id, SWEEP)
    message = result.sentence if result else "The sweep is under way."
    return SweepView(id=run_id, dry_run=dry_run, over=result is not None, result=result, message=message)


async def application(folder: Path) -> FastAPI:
    """The application of the pages, with these services."""
    templates = folder / "templates"
    templates.mkdir()
    (templates / "plain.yaml").write_text(GOOD)
    (templates / "parameters.yaml").write_text(GOOD + PARAMETERS)
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
    state.bookings = Bookings()
    state.freeze = Ends(services)
    state.rollouts = Upgrades(services)
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
