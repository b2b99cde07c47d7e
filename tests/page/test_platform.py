"""The platform team's pages: the numbers of the API's services, for the platform role, all text escaped."""

import csv
import html
import io
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.datastructures import State

from contracts.capacity.models import (
    Amount,
    CapacityState,
    HostCapacity,
    HostState,
    Limits,
    Reservation,
)
from contracts.capacity.warm_pools import MAX_FAILURES, PoolCount
from contracts.environment.models import AuditLogEntry, Outcome, Phase, Problem, StepName, System
from contracts.reconcile.drift import Deviation, DriftedLife
from contracts.reconcile.models import Orphan, ReconcileResult, SurveyedSystem, Verdict
from contracts.rollout import RolloutLine, RolloutOutcome, RolloutStatus
from contracts.sweeps.expiry import OutcomeCount, SweepLine, SweepOutcome, SweepResult
from contracts.templates.warm_pool import WarmPool
from starter.audit_trail.service import AuditTrail
from starter.auth.policy import Principal
from starter.auth.rate_limit import Throttle
from starter.bookings.schemas import booking_view
from starter.environments.rollout import RequestedRollout, RolloutView
from starter.environments.schemas import EnvironmentRow, FreezeView
from starter.expiry.leavers import LeaversView
from starter.expiry.reconcile import ReconcileView
from starter.expiry.sweep_schedule import SweepSchedule
from starter.expiry.sweeps import SweepView
from starter.page.routes.platform.audit import read_moment
from starter.page.routes.platform.problems import by_cause
from starter.page.temporal_links import TemporalLinks
from starter.request_errors import FieldProblem, InvalidRequest
from starter.statistics.life_sources import RecordSource
from starter.statistics.service import Statistics
from tests.api.application import PLATFORM, bearer
from tests.page.browser import SIGNED_IN, csrf_of, own_state, page_app, signed_in
from tests.starter.test_statistics import record
from tests.support.booking_views import CODE, Bookings, an_ended
from tests.support.sign_in import Clock, Provider, running_provider

NOW = datetime.now(UTC)
HOSTILE = "<script>alert('x')</script>"
PAGES = (
    *("/platform", "/platform/problems", "/platform/ends", "/platform/reconcile", "/platform/audit"),
    *("/platform/pools", "/platform/figures", "/platform/rollouts", "/platform/rollouts/small"),
    *("/platform/bookings", "/platform/bookings/k8s-101"),
)
GIB = 2**30


@pytest.fixture(scope="module")
async def provider(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Provider]:
    """An issuer with bob, who is of the platform team, and alice, who is not."""
    folder = tmp_path_factory.mktemp("provider")
    async with running_provider(folder, Clock(), redirect_uris=(SIGNED_IN,)) as running:
        yield running


@dataclass
class Services:
    """What stands in for Temporal behind the services."""

    rows: list[EnvironmentRow] = field(default_factory=list)
    orphans: list[EnvironmentRow] = field(default_factory=list)
    reservations: tuple[Reservation, ...] = ()
    frozen: FreezeView | None = None
    sweeps: list[tuple[bool, str]] = field(default_factory=list)
    result: SweepResult | None = None
    open_since: tuple[datetime, ...] = ()
    views: dict[str, Any] = field(default_factory=dict)
    pools: tuple[PoolCount, ...] = ()
    resumed: list[str] = field(default_factory=list)

    # --- reservations
    async def cached_state(self, _: object) -> CapacityState:
        state: CapacityState = await self.state()
        return state

    async def list_reservations(self) -> tuple[Reservation, ...]:
        return self.reservations

    async def list_pools(self) -> tuple[PoolCount, ...]:
        return self.pools

    async def resume_pool(self, template: str) -> None:
        self.resumed.append(template)
        self.pools = tuple(pool.model_copy(update={"failures": 0, "problem": ""}) for pool in self.pools)

    async def state(self) -> Any:
        held = Amount(environments=2, cpu=1500, memory=3 * GIB)
        known = HostCapacity(name="one", total=Limits(environments=4, cpu=4000, memory=8 * GIB), known=True)
        unknown = HostCapacity(name="two", total=Limits(), known=False, remark=HOSTILE)
        return CapacityState(
            audited_at=NOW,
            hosts=(HostState(capacity=known, reserved=held), HostState(capacity=unknown, reserved=Amount())),
            person=Amount(),
            teams={},
            reservations=2,
        )

    # --- lists
    async def first(self, _: object, filters: Any, __: int) -> tuple[list[EnvironmentRow], bool]:
        return (self.orphans if filters.ended else self.rows), True

    # --- the reader
    async def read(self, name: str) -> Any:
        return self.views.get(name)


class Freeze:
    """The freeze, in memory."""

    def __init__(self) -> None:
        self.frozen: FreezeView | None = None
        self.stops = True

    async def state(self) -> FreezeView | None:
        return self.frozen

    async def schedule(self) -> SweepSchedule:
        return SweepSchedule(
            is_scheduled=True, interval=timedelta(minutes=1), next_at=NOW + timedelta(hours=1)
        )

    async def freeze(self, actor: str, reason: str) -> tuple[FreezeView, bool]:
        self.frozen = self.frozen or FreezeView(by=actor, since=NOW, reason=reason)
        return self.frozen, self.stops

    async def thaw(self, _: str) -> FreezeView | None:
        before, self.frozen = self.frozen, None
        return before


class Sweeps:
    """Sweeps that are over at once."""

    def __init__(self) -> None:
        self.started: list[tuple[bool, str]] = []
        self.result: SweepResult | None = SweepResult(now=NOW)

    async def start(self, *, dry_run: bool, by: str) -> str:
        self.started.append((dry_run, by))
        return "7"

    async def wait(self, run_id: str, *, dry_run: bool) -> SweepView:
        over = self.result is not None
        message = "It is over." if over else "The sweep is under way."
        return SweepView(id=run_id, dry_run=dry_run, over=over, result=self.result, message=message)


class Reconcile:
    """Reconcile sweeps that are over at once."""

    def __init__(self) -> None:
        self.started: list[tuple[bool, tuple[str, ...], str]] = []
        self.result: ReconcileResult | None = None

    async def schedule(self) -> SweepSchedule:
        next_at = NOW + timedelta(minutes=30)
        return SweepSchedule(is_scheduled=True, interval=timedelta(minutes=30), next_at=next_at)

    async def last(self) -> ReconcileView:
        return ReconcileView(over=True, result=self.result, message="The last sweep.")

    async def start(self, *, dry_run: bool, confirmed: tuple[str, ...], by: str) -> ReconcileView:
        self.started.append((dry_run, confirmed, by))
        return await self.wait("8", dry_run=dry_run)

    async def wait(self, run_id: str, *, dry_run: bool) -> ReconcileView:
        over = self.result is not None
        message = "It is over." if over else "The reconcile sweep is under way."
        return ReconcileView(id=run_id, dry_run=dry_run, over=over, result=self.result, message=message)


class Rollouts:
    """Rollouts of a template, of which one may be running."""

    def __init__(self) -> None:
        self.asked: list[tuple[RequestedRollout, bool] | str] = []
        self.result: RolloutStatus | None = None
        self.problem: Exception | None = None

    async def running(self) -> list[str]:
        return [] if self.result is None or self.result.over else [self.result.template]

    async def start(self, requested: RequestedRollout, principal: Principal, *, dry_run: bool) -> RolloutView:
        if self.problem:
            raise self.problem
        self.asked.append((requested, dry_run))
        return await self.read(requested.template)

    async def read(self, template: str) -> RolloutView:
        if self.result is None:
            return RolloutView(over=True, message=f"There was no upgrade of all environments of {template}.")
        return RolloutView(over=self.result.over, result=self.result, message=self.result.sentence)

    async def stop(self, template: str, principal: Principal) -> RolloutView:
        self.asked.append(f"{principal.email} stops {template}")
        return await self.read(template)


@pytest.fixture
def services() -> Services:
    """Two environments on one of two hosts."""
    return Services(reservations=(held("first", 2, owner="a@b.c"), held("second", 400, team="green")))


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """The file of the records: lives that ended an hour ago."""
    path = tmp_path / "audit-log.jsonl"
    add_record(path, 1)
    add_record(path, 2, name="other")
    problem = Problem(step="vcluster", system="host cluster", cause="c", remedy="r", type="NeverReady")
    add_record(path, 3, outcome=Outcome.FAILED, problem=problem, ready_at=None)
    return path


@pytest.fixture(scope="module")
async def shared_app(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> FastAPI:
    url = "https://temporal.test/"
    return await page_app(tmp_path_factory.mktemp("page"), provider.url, MOORAGE_TEMPORAL__WEB_URL=url)


@pytest.fixture
def app(shared_app: FastAPI, services: Services, records: Path) -> Iterator[FastAPI]:
    """The application with its page, and stand-ins for what asks Temporal."""
    with own_state(shared_app):
        _stand_in(shared_app.state, services, records)
        yield shared_app


def _stand_in(state: State, services: Services, records: Path) -> None:
    state.reservations, state.list = services, services
    state.freeze, state.sweeps, state.reconcile = Freeze(), Sweeps(), Reconcile()
    state.rollouts, state.bookings = Rollouts(), Bookings(why=HOSTILE)
    state.leavers = SimpleNamespace(last=_last_leavers)
    state.audit_trail = AuditTrail(services, services, records)  # type: ignore[arg-type]

    async def requested_at() -> tuple[datetime, ...]:
        return services.open_since

    opened: Any = SimpleNamespace(requested_at=requested_at)
    state.statistics = Statistics(RecordSource(records), opened)


async def _last_leavers() -> LeaversView:
    return LeaversView(over=True, message=f"No leaver sweep: {HOSTILE}")


def held(name: str, hours: float, *, owner: str = "bob@example.com", team: str = "blue") -> Reservation:
    """A place on a host whose environment ends after so many hours."""
    return Reservation(
        name=name, owner=owner, team=team, template="small", host="one",
        size=Amount(environments=1, cpu=750, memory=GIB),
        ends=int((NOW + timedelta(hours=hours)).timestamp()),
        claims=(("0" * 20, 0),),
    )  # fmt: skip


def add_record(path: Path, number: int, **changes: object) -> None:
    """Append the record of a life that ended an hour ago, with two lines of the trail."""
    start = NOW - timedelta(hours=2)
    log = tuple(
        AuditLogEntry(at=start + timedelta(minutes=minutes + number), actor="bob@example.com", action=action)
        for minutes, action in ((0, "asked for it"), (30, "gone"))
    )
    fields = {
        "life": f"{number:020x}", "requested_at": start, "usable_at": start + timedelta(seconds=20),
        "ready_at": start + timedelta(seconds=30), "ended_at": start + timedelta(hours=1), "audit_log": log,
    }  # fmt: skip
    with path.open("a") as file:
        file.write(record(**{**fields, **changes}).model_dump_json() + "\n")


def row(name: str, problem: str = "", **changes: object) -> EnvironmentRow:
    """A row of a list."""
    fields = {
        "name": name, "life": "0" * 20, "owner": "bob@example.com", "team": "blue", "template": "small",
        "host": "one", "phase": Phase.PROVISIONING, "requested_at": NOW, "problem": problem, **changes,
    }  # fmt: skip
    return EnvironmentRow.model_validate(fields)


async def text_of(http: httpx.AsyncClient, path: str, status: int = 200) -> str:
    """The text of a page, without tags and with single blanks; nothing in it may be unescaped."""
    answer = await http.get(path)
    assert answer.status_code == status, answer.text
    return readable(answer)


def readable(answer: httpx.Response) -> str:
    """The text that a page shows."""
    assert answer.headers["content-type"].startswith("text/html")
    assert HOSTILE not in answer.text
    assert " style=" not in answer.text
    assert len(answer.content) < 60_000
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())


@pytest.mark.parametrize(
    "path", [*PAGES, "/platform/audit/export", "/platform/sweeps/7", "/platform/reconcile/8"]
)
async def test_pages_are_for_the_platform_team(app: FastAPI, provider: Provider, path: str) -> None:
    async with signed_in(app, provider, "alice") as http:
        answer = await http.get(path)
        assert answer.status_code == 403
        assert "for the platform team" in readable(answer)
    async with signed_in(app, provider, "bob") as http:
        assert (await http.get(path)).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/platform/freeze", "/platform/thaw", "/platform/sweeps", "/platform/reconcile"),
        *("/platform/rollouts", "/platform/rollouts/small/stop", "/platform/pools/small/resume"),
        "/platform/bookings/k8s-101/end",
    ],
)
async def test_changes_are_for_the_platform_team_and_need_the_form(
    app: FastAPI, provider: Provider, path: str
) -> None:
    for person, token in (("alice", True), ("bob", False)):
        async with signed_in(app, provider, person) as http:
            csrf = await csrf_of(http) if token else "guessed"
            answer = await http.post(path, data={"csrf": csrf, "reason": "r", "dry_run": "false"})
            assert answer.status_code == 403, answer.text
    assert app.state.freeze.frozen is None
    assert app.state.reservations.resumed == app.state.bookings.ended == []
    assert app.state.sweeps.started == app.state.reconcile.started == app.state.rollouts.asked == []


async def test_capacity_has_the_numbers_of_the_api(
    app: FastAPI, provider: Provider, services: Services
) -> None:
    async with signed_in(app, provider, "bob") as http:
        text = await text_of(http, "/platform")
        answer = await http.get("/api/v1/capacity?holdings=true", headers=bearer(PLATFORM))
        only_two = await text_of(http, "/platform?host=two")
    view = answer.json()
    [one, two] = view["hosts"]
    assert one["shares"]["cpu"] == {"total": 4000, "held": 1500, "left": 2500}
    assert "Environments 2 of 4 held, 2 free" in text
    assert "CPU 1.5 of 4 held, 2.5 free" in text
    assert "Memory 3Gi of 8Gi held, 5Gi free" in text
    assert "1 ends within a day" in text
    assert two["remark"] == HOSTILE
    assert f"two Gets no environment {HOSTILE}" in text
    for one in view["holdings"]:
        assert f"{one['name']} {one['owner']} {one['team']} small one 0.75 1Gi" in text
    assert text.index("a@b.c") < text.index("second"), "the next to end comes first"
    assert "Nothing is held there." in only_two


async def test_many_holdings_come_in_pages(app: FastAPI, provider: Provider, services: Services) -> None:
    services.reservations = tuple(held(f"env-{number:03}", number) for number in range(120))
    async with signed_in(app, provider, "bob") as http:
        pages = [await text_of(http, f"/platform?offset={offset}") for offset in (0, 50, 100)]
    seen = [name for text in pages for name in re.findall(r"env-\d{3}", text)]
    assert seen == [f"env-{number:03}" for number in range(120)]
    assert "101 to 120 of 120" in pages[2]


async def test_problems_are_grouped_by_cause(app: FastAPI, provider: Provider, services: Services) -> None:
    services.rows = [
        *(row(f"env-{number}", f"vcluster: mrg-env-{number} waits") for number in range(12)),
        row("alone", f"group: {HOSTILE}", next_try_at=datetime.now(UTC) + timedelta(minutes=5)),
        row("waits", "not undone: import", phase=Phase.TEARDOWN_INCOMPLETE),
    ]
    services.orphans = [row("lost", ended=True, phase=Phase.ORPHANED, run_id="run-7")]
    async with signed_in(app, provider, "bob") as http:
        page = await http.get("/platform/problems")
        text = readable(page)
    assert text.index("vcluster: mrg-… waits 12 environments") < text.index(f"group: {HOSTILE}")
    assert "and 2 more" in text
    assert "Next try in" in text
    assert "Waits for you" in text
    assert "Orphaned" in text
    assert "vcluster, host cluster: NeverReady" in text
    assert (
        'href="https://temporal.test/namespaces/default/workflows/environment%2Flost/run-7/history"'
        in page.text
    )


async def test_freeze_and_thaw(app: FastAPI, provider: Provider) -> None:
    async with signed_in(app, provider, "bob") as http:
        csrf = await csrf_of(http)
        refused = await http.post("/platform/freeze", data={"csrf": csrf, "reason": " "})
        assert refused.status_code == 422
        assert 'href="#field-reason"' in refused.text
        assert app.state.freeze.frozen is None
        long = await http.post("/platform/freeze", data={"csrf": csrf, "reason": f"{HOSTILE}{'x' * 500}"})
        assert long.status_code == 422
        api = await http.put("/api/v1/freeze", json={"reason": HOSTILE + "x" * 500}, headers=bearer(PLATFORM))
        assert api.json()["errors"][0]["message"] in readable(long), "the very words of the API"
        done = await http.post("/platform/freeze", data={"csrf": csrf, "reason": f" {HOSTILE} "})
        assert (done.status_code, done.headers["location"]) == (303, "/platform/ends?done=frozen")
        assert app.state.freeze.frozen == FreezeView(by="bob@example.com", since=NOW, reason=HOSTILE)
        text = await text_of(http, done.headers["location"])
        assert "All ends are frozen by bob@example.com since" in text
        assert HOSTILE in text
        again = await http.post("/platform/freeze", data={"csrf": csrf, "reason": "another"})
        assert "Your reason is not kept" in await text_of(http, again.headers["location"])
        swept = await http.post("/platform/sweeps", data={"csrf": csrf, "dry_run": "false"})
        assert swept.status_code == 409
        assert "Thaw first" in readable(swept)
        for note in ("Thawed", "Ends were not frozen"):
            thawed = await http.post("/platform/thaw", data={"csrf": csrf})
            assert note in await text_of(http, thawed.headers["location"])
        app.state.freeze.stops = False
        done = await http.post("/platform/freeze", data={"csrf": csrf, "reason": "r"})
        assert "has not stopped yet" in await text_of(http, done.headers["location"])


async def test_ends_has_what_ends_soon_and_who_has_left(app: FastAPI, provider: Provider) -> None:
    async with signed_in(app, provider, "bob") as http:
        text = await text_of(http, "/platform/ends")
    assert "Runs every 1m Next run in" in text
    assert "first a@b.c" in text
    assert "second" not in text
    assert f"No leaver sweep: {HOSTILE}" in text


async def test_sweep_and_dry_run(app: FastAPI, provider: Provider) -> None:
    sweeps = app.state.sweeps
    result = SweepResult(now=NOW, dry_run=True)
    sweeps.result = result.plus(SweepOutcome.ENDED, SweepLine(name="old", reason=HOSTILE))
    async with signed_in(app, provider, "bob") as http:
        data = {"csrf": await csrf_of(http)}
        started = await http.post("/platform/sweeps", data=data)
        assert started.headers["location"] == "/platform/sweeps/7?dry_run=true"
        text = await text_of(http, started.headers["location"])
        assert f"Would be ended: 1 old : {HOSTILE}" in text
        await http.post("/platform/sweeps", data={**data, "dry_run": "false"})
        assert sweeps.started == [(True, "bob@example.com"), (False, "bob@example.com")]
        sweeps.result = None
        page = await http.get("/platform/sweeps/7")
        assert "The sweep is under way." in readable(page)
        assert '<noscript><meta http-equiv="refresh"' in page.text
        sweeps.result = SweepResult(now=NOW, ended=OutcomeCount(count=0))
        assert "Nothing was due." in await text_of(http, "/platform/sweeps/7")


async def test_audit_trail_is_filtered(app: FastAPI, provider: Provider, services: Services) -> None:
    services.rows = [row("open")]
    log = (AuditLogEntry(at=NOW, actor=HOSTILE, action="added carol@example.com", result=HOSTILE),)
    view = row("open").model_copy(update={"audit_log": log})
    services.views = {"open": SimpleNamespace(view=view)}
    async with signed_in(app, provider, "bob") as http:
        text = await text_of(http, "/platform/audit")
        assert text.index("added carol@example.com") < text.index("gone") < text.index("asked for it")
        assert HOSTILE in text
        for query, shown, hidden in (
            ("person=carol@example.com", "added carol@example.com", "asked for it"),
            ("verb=request", "asked for it", "added carol"),
            ("environment=other", "other", "added carol"),
            (f"since={NOW + timedelta(days=1):%Y-%m-%d}", "No line passes these filters", "asked for it"),
        ):
            text = await text_of(http, f"/platform/audit?{query}")
            assert shown in text, query
            assert hidden not in text, query
        for query, field_name in (
            ("since=soon", "since"),
            ("environment=A_B", "environment"),
            ("verb=x", "verb"),
        ):
            answer = await http.get(f"/platform/audit?{query}")
            assert answer.status_code == 422
            assert f'href="#field-{field_name}"' in answer.text


async def test_audit_trail_has_pages(app: FastAPI, provider: Provider, records: Path) -> None:
    for number in range(10, 80):
        add_record(records, number)
    seen: list[str] = []
    path = "/platform/audit"
    async with signed_in(app, provider, "bob") as http:
        for _ in range(9):
            answer = await http.get(path)
            seen += re.findall(
                r'<tr><td data-label="Time" class="nowrap"><time datetime="([^"]*)', answer.text
            )
            following = re.search(r'href="([^"]*)">Earlier', answer.text)
            if following is None:
                break
            path = html.unescape(following[1])
    assert len(seen) == 2 * 73
    assert seen == sorted(seen, reverse=True)


async def test_export_has_the_lines_and_no_formula(app: FastAPI, provider: Provider, records: Path) -> None:
    log = (AuditLogEntry(at=NOW, actor="=cmd|' /C calc'!A0", action="+1", result="@x"),)
    add_record(records, 9, name="other", audit_log=log)
    async with signed_in(app, provider, "bob") as http:
        answer = await http.get("/platform/audit/export?environment=other")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert re.search(
            r'attachment; filename="moorage-audit-.*\.csv"', answer.headers["content-disposition"]
        )
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        lines = await http.get("/platform/audit/export?environment=other&format=jsonl")
        wrong = await http.get("/platform/audit/export?since=soon")
    assert [one["environment"] for one in rows] == ["other"] * 3
    assert (rows[0]["actor"], rows[0]["action"], rows[0]["result"]) == ("'=cmd|' /C calc'!A0", "'+1", "'@x")
    assert json.loads(lines.text.splitlines()[0])["actor"] == "=cmd|' /C calc'!A0"
    assert wrong.status_code == 422


async def test_figures_are_those_of_the_records(
    app: FastAPI, provider: Provider, services: Services, records: Path
) -> None:
    services.open_since = (NOW, NOW)
    add_record(records, 4, template=HOSTILE)
    async with signed_in(app, provider, "bob") as http:
        page = await http.get("/platform/figures?days=7")
        text = readable(page)
        hours = await text_of(http, "/platform/figures?days=2")
        assert (await http.get("/platform/figures?days=0")).status_code == 422
    assert "From the records of 4 ended lives" in text
    assert page.text.count('<svg class="plot" role="img"') == 5
    assert "small: 30s at the end, between 30s and 30s." in text
    assert HOSTILE in text
    assert "Open at the end of the day: 2 at the end" in text
    assert "vcluster, host cluster: NeverReady 1" in text
    assert "Open at the end of the hour" in hours
    assert "/static/platform.css" in page.text


async def test_figures_without_any_life(app: FastAPI, provider: Provider, tmp_path: Path) -> None:
    source = RecordSource(tmp_path / "no-file.jsonl")
    app.state.statistics = Statistics(source, app.state.statistics._open_environments)
    async with signed_in(app, provider, "bob") as http:
        text = await text_of(http, "/platform/figures")
    assert text.count("There is no data for this period yet.") == 4, "that nothing is open is a figure too"


def test_causes_are_the_same_for_environments_that_differ_in_their_name_only() -> None:
    causes = by_cause([row("a-1", "x: a-1 waits"), row("b-2", "x: b-2 waits"), row("c-3", "y")])
    assert [(cause.text, len(cause.rows)) for cause in causes] == [("x: … waits", 2), ("y", 1)]


@pytest.mark.parametrize(
    ("web_url", "link"),
    [
        (None, ""),
        ("https://t.test/ui/", "https://t.test/ui/namespaces/a%2Fb/workflows/environment%2Fdemo/r/history"),
    ],
)
def test_link_to_a_run(web_url: str | None, link: str) -> None:
    assert TemporalLinks(web_url, "a/b").run("demo", "r") == link


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("", None),
        ("2030-01-31", datetime(2030, 1, 31, tzinfo=UTC)),
        ("2030-01-31T18:00", datetime(2030, 1, 31, 18, tzinfo=UTC)),
        ("2030-01-31T18:00+02:00", datetime(2030, 1, 31, 16, tzinfo=UTC)),
    ],
)
def test_time_of_a_filter(text: str, moment: datetime | None) -> None:
    assert read_moment(text) == moment


FOUND_LIVES = {"lost": "1" * 20, "half": "2" * 20, "odd": "3" * 20, "bent": "4" * 20}
FOUND = ReconcileResult(
    now=NOW,
    open=40,
    orphans=(
        Orphan(
            name="lost", life=FOUND_LIVES["lost"], owner="bob@example.com", verdict=Verdict.ADOPT,
            reason="it is complete", found=("project mrg-lost", HOSTILE), first_seen=NOW,
        ),
        Orphan(
            name="half", life=FOUND_LIVES["half"], verdict=Verdict.UNDO, reason="it is incomplete",
            first_seen=NOW,
        ),
        Orphan(
            name="odd", life=FOUND_LIVES["odd"], verdict=Verdict.LOOK, reason=HOSTILE, first_seen=NOW
        ),
    ),
    drifted=(
        DriftedLife(
            name="bent", life=FOUND_LIVES["bent"], repair=(StepName.GROUP,),
            found=(Deviation(step=StepName.GROUP, what="group mrg-bent is missing"),),
        ),
    ),
    skipped=("identity provider: it does not answer",),
    systems=(SurveyedSystem(system=System.IDENTITY_PROVIDER, skipped=2),),
    due=(FOUND_LIVES["lost"], FOUND_LIVES["bent"]),
    waiting=(FOUND_LIVES["lost"], FOUND_LIVES["bent"]),
    brake="2 of 43 are to be adopted, undone or repaired at once",
)  # fmt: skip


async def test_reconcile_sweep_is_shown_and_confirmed(app: FastAPI, provider: Provider) -> None:
    """Ensures that a confirmation is of the lives that the page has shown, and of no others."""
    sweeps = app.state.reconcile
    async with signed_in(app, provider, "bob") as http:
        ends = await text_of(http, "/platform/ends")
        assert "Reconcile sweep" in ends
        assert "Runs every 30m" in ends
        assert "Last run none so far" in ends
        assert "What the last one found" not in ends
        sweeps.result = FOUND
        ends = await text_of(http, "/platform/ends")
        for words in (
            "Wait for your confirmation 2",
            "Incomplete, in their grace 1",
            "Reported 1",
            FOUND.brake,
        ):
            assert words in ends
        page = await http.get("/platform/reconcile")
        text = readable(page)
        assert "lost of bob@example.com: it is complete; waits for a confirmation, to adopt" in text.replace(
            " :", ":"
        )
        assert "Incomplete, or its life has ended: 1 half" in text
        assert "group mrg-bent is missing; waits for a confirmation, to repair" in text
        assert "identity provider: it does not answer" in text
        assert 'href="/environments/lost"' in page.text
        [form] = re.findall(
            r"<form[^>]*>(?:(?!</form>).)*Adopt, undo or repair these 2.*?</form>", page.text, re.S
        )
        data = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form))
        sent = await http.post("/platform/reconcile", data=data)
        assert sent.headers["location"] == "/platform/reconcile/8?dry_run=false"
        assert sweeps.started == [(False, FOUND.waiting, "bob@example.com")]
        data = {"csrf": await csrf_of(http)}
        sent = await http.post("/platform/reconcile", data=data)
        assert sent.headers["location"] == "/platform/reconcile/8?dry_run=true"
        assert sweeps.started[1:] == [(True, (), "bob@example.com")]
        sweeps.result = FOUND.model_copy(update={"dry_run": True})
        dry = await text_of(http, sent.headers["location"])
        assert "Dry run of the reconcile sweep" in dry
        assert "Adopt, undo or repair these" not in dry, "a dry run confirms nothing"
        wrong = await http.post("/platform/reconcile", data={**data, "confirmed": HOSTILE})
        assert wrong.status_code == 422
        sweeps.result = None
        page = await http.get("/platform/reconcile/8")
        assert "The reconcile sweep is under way." in readable(page)
        assert '<noscript><meta http-equiv="refresh"' in page.text
        sweeps.result = ReconcileResult(now=NOW, open=3)
        assert "Everything is as it should be." in await text_of(http, "/platform/reconcile")


def _line(name: str, outcome: RolloutOutcome, wave: int, reason: str = "") -> RolloutLine:
    return RolloutLine(name=name, life=name, outcome=outcome, wave=wave, reason=reason)


PLANNED = RolloutStatus(
    template="small", version=5, actor="bob@example.com", dry_run=True, over=True,
    lines=(
        _line("first", RolloutOutcome.WAITING, 1), _line("second", RolloutOutcome.WAITING, 2),
        _line("sleeps", RolloutOutcome.SKIPPED, 0, HOSTILE),
    ),
)  # fmt: skip
ROLLED = PLANNED.model_copy(
    update={
        "dry_run": False,
        "over": False,
        "started_at": NOW,
        "lines": (
            _line("first", RolloutOutcome.UPGRADED, 1),
            _line("broken", RolloutOutcome.ROLLED_BACK, 2, f"vcluster: {HOSTILE}"),
            _line("runs", RolloutOutcome.RUNNING, 2),
            *(_line(f"env-{number:03}", RolloutOutcome.WAITING, 3 + number // 2) for number in range(60)),
        ),
    }
)


async def test_a_rollout_is_planned_confirmed_and_started(app: FastAPI, provider: Provider) -> None:
    """Ensures that a confirmation is of the version and the waves that the dry run has shown."""
    rollouts = app.state.rollouts
    async with signed_in(app, provider, "bob") as http:
        text = await text_of(http, "/platform/rollouts")
        assert "Upgrade all environments of a template" in text
        assert "In progress" not in text
        rollouts.result = PLANNED
        data = {"csrf": await csrf_of(http), "template": "small", "wave": "3", "stop_after": "2"}
        page = await http.post("/platform/rollouts", data=data)
        text = readable(page)
        assert rollouts.asked == [(RequestedRollout("small", wave=3, stop_after=2), True)]
        assert "2 would be upgraded to small version 5, 1 not" in text
        assert "second 2 Would be upgraded" in text
        assert f"sleeps none Not upgraded {HOSTILE}" in text
        [form] = re.findall(r"<form[^>]*>(?:(?!</form>).)*Upgrade these 2.*?</form>", page.text, re.S)
        shown = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form))
        sent = await http.post("/platform/rollouts", data=shown)
        assert sent.headers["location"] == "/platform/rollouts/small"
        assert rollouts.asked[1:] == [(RequestedRollout("small", wave=3, stop_after=2, version=5), False)]
        rollouts.result = PLANNED.model_copy(update={"lines": PLANNED.lines[2:]})
        nothing = readable(await http.post("/platform/rollouts", data=data))
        assert "Upgrade these" not in nothing, "there is nothing to confirm"


async def test_a_running_rollout_is_shown_and_stopped(app: FastAPI, provider: Provider) -> None:
    rollouts = app.state.rollouts
    async with signed_in(app, provider, "bob") as http:
        assert "There was no upgrade of all" in await text_of(http, "/platform/rollouts/small")
        rollouts.result = ROLLED
        page = await http.get("/platform/rollouts/small")
        text = readable(page)
        assert '<noscript><meta http-equiv="refresh"' in page.text
        for words in ("Version 5", "Started by bob@example.com", "Waves 2 of 32 started", "Waiting 60"):
            assert words in text
        broken = f"broken 2 Rolled back vcluster: {HOSTILE}"
        assert text.index(broken) < text.index("runs 2 Being upgraded") < text.index("env-000 3 Waiting")
        assert 'href="/environments/broken"' in page.text
        assert "1 to 50 of 63" in text
        assert "first 1 Upgraded" in await text_of(http, "/platform/rollouts/small?offset=50")
        assert "Upgrade of all environments of small" in await text_of(http, "/platform/rollouts")
        sent = await http.post("/platform/rollouts/small/stop", data={"csrf": await csrf_of(http)})
        assert sent.headers["location"] == "/platform/rollouts/small"
        assert rollouts.asked == ["bob@example.com stops small"]
        rollouts.result = ROLLED.model_copy(update={"over": True, "stopped": "bob has stopped it"})
        page = await http.get("/platform/rollouts/small")
        assert "Stopped: bob has stopped it." in readable(page)
        assert "/stop" not in page.text
        assert "<noscript>" not in page.text


@pytest.mark.parametrize(
    ("changes", "field_name"),
    [({"wave": "99"}, "wave"), ({"stop_after": "none"}, "stop_after")],
)
async def test_a_rollout_that_is_typed_wrong(
    app: FastAPI, provider: Provider, changes: dict[str, str], field_name: str
) -> None:
    async with signed_in(app, provider, "bob") as http:
        data = {"csrf": await csrf_of(http), "template": "small", "wave": "5", "stop_after": "1", **changes}
        answer = await http.post("/platform/rollouts", data=data)
    assert answer.status_code == 422
    assert f'href="#field-{field_name}"' in answer.text
    assert f'id="field-{field_name}"' in answer.text
    assert app.state.rollouts.asked == []


async def test_another_version_than_that_of_the_dry_run_is_refused(app: FastAPI, provider: Provider) -> None:
    problem = FieldProblem(field="version", message=f"small has version 6 now {HOSTILE}")
    app.state.rollouts.problem = InvalidRequest([problem])
    async with signed_in(app, provider, "bob") as http:
        data = {"csrf": await csrf_of(http), "template": "small", "version": "5", "dry_run": "false"}
        answer = await http.post("/platform/rollouts", data=data)
    assert answer.status_code == 422
    assert "small has version 6 now" in readable(answer)
    assert 'href="#field-version"' in answer.text
    assert 'id="field-version"' in answer.text


def a_pool_count(**fields: Any) -> PoolCount:
    pool = {
        "template": "small",
        "key": "k",
        "policy": WarmPool(ready=3, most=10),
        "hosts": ("one",),
        "ready": 2,
        "making": 1,
        "wanted": 4,
        "taken": 7,
    }
    return PoolCount(**pool | fields)


async def test_warm_pools_say_how_to_keep_one(app: FastAPI, provider: Provider) -> None:
    async with signed_in(app, provider, "bob") as http:
        text = await text_of(http, "/platform/pools")
    assert "No template keeps a warm pool" in text
    assert "warm: {ready: 3, most: 10}" in text


async def test_warm_pools_show_how_each_stands(app: FastAPI, provider: Provider, services: Services) -> None:
    never = WarmPool(ready=3, hours=f"{(NOW + timedelta(days=2)):%a} 07:00-19:00")
    services.pools = (
        a_pool_count(),
        a_pool_count(template="larger", policy=never, ready=0, making=0, wanted=0),
    )
    async with signed_in(app, provider, "bob") as http:
        text = await text_of(http, "/platform/pools")
    assert "Filling 3 ready, up to 10 while they are taken quickly, on one" in text
    assert "2 ready, 1 in the making, 4 wanted 7 handed out in the last ten minutes." in text
    assert "Outside of its hours" in text
    assert "Its hours begin" in text
    assert "Resume" not in text


async def test_a_pool_that_has_stopped_says_why_and_is_resumed(
    app: FastAPI, provider: Provider, services: Services
) -> None:
    services.pools = (a_pool_count(), a_pool_count(template="broken", failures=MAX_FAILURES, problem=HOSTILE))
    async with signed_in(app, provider, "bob") as http:
        page = await http.get("/platform/pools")
        assert HOSTILE not in page.text
        text = readable(page)
        assert text.index("broken Stopped") < text.index("small Filling")
        assert f"It makes no more, because the last ones failed: {HOSTILE}" in text
        sent = await http.post("/platform/pools/broken/resume", data={"csrf": await csrf_of(http)})
        assert sent.headers["location"] == "/platform/pools"
        assert services.resumed == ["broken"]
        assert "Stopped" not in await text_of(http, "/platform/pools")
        unknown = await http.post("/platform/pools/none/resume", data={"csrf": await csrf_of(http)})
        assert unknown.status_code == 404
        assert 'The template "none" keeps no warm pool: ' in readable(unknown)
    assert services.resumed == ["broken"]


async def test_bookings_say_who_has_come_and_what_is_not_gone(app: FastAPI, provider: Provider) -> None:
    async with signed_in(app, provider, "bob") as http:
        text = await text_of(http, "/platform/bookings")
        for row in ("k8s-101 small 2 of 3", "Open", "ending small", "Ending", "over small", "Over"):
            assert row in text
        text = await text_of(http, "/platform/bookings/k8s-101")
        assert "k8s-101-01 ann@example.com" in text
        assert "k8s-101-03 free" in text
        page = await http.get("/platform/bookings/ending")
        assert HOSTILE not in page.text
        assert HOSTILE in readable(page)
        assert "End ending now" not in readable(page)
        assert (await http.get("/platform/bookings/none")).status_code == 404
        sent = await http.post("/platform/bookings/k8s-101/end", data={"csrf": await csrf_of(http)})
        assert sent.headers["location"] == "/platform/bookings/k8s-101"
    assert app.state.bookings.ended == ["k8s-101 by bob@example.com"]


@pytest.mark.parametrize(
    ("left", "says"), [((), "Nothing is left."), (("ns/x",), "Not all of it is certified as gone.")]
)
async def test_a_booking_that_is_over_is_one_certificate(
    app: FastAPI, provider: Provider, left: tuple[str, ...], says: str
) -> None:
    app.state.bookings.views["over"] = booking_view(an_ended(left))
    async with signed_in(app, provider, "bob") as http:
        text = await text_of(http, "/platform/bookings/over")
    assert "Certificate of over" in text
    assert says in text
    assert ("ns/x" in text) == bool(left)
    assert "no environment was made, or Temporal has forgotten it" in text


@pytest.mark.usefixtures("stopped_throttles")
async def test_the_code_of_a_seat_leads_to_its_environment(app: FastAPI, provider: Provider) -> None:
    async with signed_in(app, provider, "alice") as http:
        csrf = await csrf_of(http)
        assert "Take a seat" in await text_of(http, "/seat")
        wrong = await http.post("/seat", data={"csrf": csrf, "code": "K7QF"})
        assert wrong.status_code == 422
        assert "This code is not good" in readable(wrong)
        assert "K7QF-" in wrong.text  # the example
        assert (await http.post("/seat", data={"code": CODE})).status_code == 403
        good = await http.post("/seat", data={"csrf": csrf, "code": CODE})
        assert (good.status_code, good.headers["location"]) == (303, "/environments/k8s-101-03")
        app.state.seat_throttle = Throttle(1, 0.1)
        answers = [await http.post("/seat", data={"csrf": csrf, "code": code}) for code in ("K7QF", CODE)]
        assert [answer.status_code for answer in answers] == [422, 429]
