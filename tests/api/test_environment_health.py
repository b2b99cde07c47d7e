"""The health of ready environments: which host is asked, how often, and what is reported."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from clients.errors import Denied, Unreachable
from clients.host.models import Health, Namespace
from clients.host.protocol import Host
from contracts.environment.models import Environment, EnvironmentStatus, Phase, Restore
from contracts.host_requests import HostAnswer, HostRequest, HostRequestKind
from contracts.types.naming import OwnerMark
from starter.environments import health as environment_health
from starter.environments import watcher
from starter.environments.health import EnvironmentHealth
from starter.environments.reader import EnvironmentReader, EnvironmentSnapshot
from starter.environments.schemas import EnvironmentRow, Unwell, view_of_status
from starter.environments.watcher import EnvironmentWatcher
from starter.host_workers.requests import HostRequests
from starter.temporal.errors import TemporalUnavailable
from tests.starter.test_chart_check import environment

AT = datetime(2026, 5, 4, 12, tzinfo=UTC)


class Showing:
    """A host that reports a given health, counts the reads, and may take its time."""

    def __init__(self, shown: Health | Exception) -> None:
        self.shown = shown
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.labels: Mapping[str, str] | None = None

    async def get_namespace(self, name: str) -> Namespace | None:
        return Namespace(name, "u", labels=self.labels or environment().mark.labels)

    async def health(self, *_: str) -> Health:
        self.asked += 1
        await self.may_answer.wait()
        if isinstance(self.shown, Exception):
            raise self.shown
        return self.shown


def healths(
    host: Showing, monkeypatch: pytest.MonkeyPatch, *, fresh: float = 0
) -> tuple[EnvironmentHealth, Environment]:
    monkeypatch.setattr(environment_health, "FRESH_SECONDS", fresh)
    monkeypatch.setattr(environment_health, "USABLE_SECONDS", fresh)
    return EnvironmentHealth(cast(dict[str, Host], {"main": host})), environment()


async def test_a_problem_is_reported_with_when_it_was_first_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that the time stays while the problem does, the host's own time wins, and a problem ends."""
    host = Showing(Health("no pod of its StatefulSet is ready"))
    all_of_them, one = healths(host, monkeypatch)
    first = await all_of_them.read(one)
    again = await all_of_them.read(one)
    assert first.problem == "no pod of its StatefulSet is ready"
    assert first.since is not None
    assert again == first
    host.shown = Health("its namespace is being deleted", AT)
    assert await all_of_them.read(one) == host.shown
    host.shown = Health()
    assert await all_of_them.read(one) == Health()


@pytest.mark.parametrize(
    ("shown", "wrong"),
    [
        (Unreachable("host", "read", "no route"), "its host main does not answer"),
        (Denied("host", "read", "no right"), ""),
        (Health(), ""),
    ],
)
async def test_a_host_that_says_nothing(
    monkeypatch: pytest.MonkeyPatch, shown: Health | Exception, wrong: str
) -> None:
    """Ensures that an unreachable host is reported, and that missing rights hide nothing else."""
    all_of_them, one = healths(Showing(shown), monkeypatch)
    assert (await all_of_them.read(one)).problem == wrong


async def test_a_namespace_of_another_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that its good health does not count as ours."""
    host = Showing(Health())
    host.labels = {"team": "red"}
    all_of_them, one = healths(host, monkeypatch)
    assert (await all_of_them.read(one)).problem == "its namespace belongs to another environment"


async def test_many_who_look_ask_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that a host is asked once for all who look at the same time, and for a while after."""
    host = Showing(Health())
    all_of_them, one = healths(host, monkeypatch, fresh=3600)
    await asyncio.gather(*(all_of_them.read(one) for _ in range(20)))
    await all_of_them.read(one)
    assert host.asked == 1


async def test_a_slow_host_delays_no_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that its late answer reaches the next reader."""
    monkeypatch.setattr(environment_health, "ANSWER_TIMEOUT_SECONDS", 0.01)
    host = Showing(Health("its quota is gone"))
    host.may_answer.clear()
    all_of_them, one = healths(host, monkeypatch, fresh=3600)
    assert await all_of_them.read(one) == Health()
    host.may_answer.set()
    await asyncio.gather(*[task for each in all_of_them._known.values() if (task := each.call)])
    assert (await all_of_them.read(one)).problem == "its quota is gone"
    assert host.asked == 1


async def test_no_caller_waits_for_a_host_that_answered_a_while_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that its last answer is shown while it is asked again, and the new one after that."""
    host = Showing(Health("its quota is gone"))
    all_of_them, one = healths(host, monkeypatch)
    monkeypatch.setattr(environment_health, "USABLE_SECONDS", 3600)
    assert (await all_of_them.read(one)).problem == "its quota is gone"
    host.shown = Health()
    host.may_answer.clear()
    assert (await all_of_them.read(one)).problem == "its quota is gone"
    host.may_answer.set()
    await asyncio.gather(*[task for each in all_of_them._known.values() if (task := each.call)])
    assert await all_of_them.read(one) == Health()


async def test_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that what was known of lives that are long gone takes no room for ever."""
    monkeypatch.setattr(environment_health, "MAX_CACHED", 2)
    all_of_them, one = healths(Showing(Health()), monkeypatch)
    for number in range(5):
        mark = one.mark.model_copy(update={"life": f"{number:020x}"})
        await all_of_them.read(cast(Any, one).model_copy(update={"mark": mark}))
    assert len(all_of_them._known) == 2


async def test_a_host_that_the_api_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that nothing is said of it."""
    assert await EnvironmentHealth({}).read(environment()) == Health()


class Requests:
    """The way to the workers beside hosts: it gives a set answer, or fails, and keeps what it was asked."""

    def __init__(self, answer: HostAnswer | Exception) -> None:
        self.answer = answer
        self.sent: list[HostRequest] = []

    async def send(self, request: HostRequest) -> HostAnswer:
        self.sent.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (HostAnswer(), ""),
        (HostAnswer(problem="no pod is ready"), "no pod is ready"),
        (Unreachable("host", "health", "no worker"), "the worker beside its host main does not answer"),
        (TemporalUnavailable("Temporal cannot be reached."), ""),
    ],
    ids=["well", "unwell", "no worker", "no Temporal"],
)
async def test_the_worker_beside_a_host_is_asked_for_one_environment(
    answer: HostAnswer | Exception, problem: str
) -> None:
    requests, one = Requests(answer), environment()
    health = EnvironmentHealth({}, cast(HostRequests, requests), {"main"})
    for _ in range(3):
        assert (await health.read(one)).problem == problem
    [request] = requests.sent
    assert (request.kind, request.host, request.mark) == (HostRequestKind.HEALTH, "main", one.mark)


async def test_lists_ask_no_worker_beside_a_host() -> None:
    requests = Requests(HostAnswer(problem="no pod is ready"))
    health = EnvironmentHealth({}, cast(HostRequests, requests), {"main"})
    [listed] = await health.add_to_rows([row(1)], installation="i" * 12, prefix="mrg")
    assert listed.unwell is None
    assert requests.sent == []


def row(number: int, **changes: Any) -> EnvironmentRow:
    """A row of a list: an environment that is ready."""
    one = environment()
    fields = {
        "name": f"one-{number}", "life": f"{number:020x}", "owner": "a", "team": "b", "template": "small",
        "host": one.host, "phase": Phase.READY, "requested_at": AT,
    }  # fmt: skip
    return EnvironmentRow.model_validate(fields | changes)


class Labelled(Showing):
    """A host whose namespaces are those of the rows."""

    async def get_namespace(self, name: str) -> Namespace | None:
        number = int(name.rpartition("-")[2])
        mark = OwnerMark(installation="i" * 12, name=f"one-{number}", life=f"{number:020x}")
        return Namespace(name, "u", labels=mark.labels)


async def listed(all_of_them: EnvironmentHealth, rows: list[EnvironmentRow]) -> list[str]:
    """Return the problem that is listed for each row."""
    found = await all_of_them.add_to_rows(rows, installation="i" * 12, prefix="mrg")
    return [each.unwell.what if each.unwell else "" for each in found]


async def test_a_list_shows_what_is_wrong_with_usable_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that only usable environments are asked for, and that other rows stay as they are."""
    host = Labelled(Health("its quota is gone"))
    all_of_them, _ = healths(host, monkeypatch)
    rows = [row(1), row(2, phase=Phase.PROVISIONING), row(3, ended=True), row(4, life=""), row(5, host="x")]
    assert await listed(all_of_them, rows) == ["its quota is gone", "", "", "", ""]
    assert host.asked == 1


async def test_lists_ask_hosts_for_a_limited_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that each list asks for the oldest knowledge only, and that repeated lists know all at last."""
    monkeypatch.setattr(environment_health, "MAX_LISTED_CALLS", 2)
    host = Labelled(Health("its quota is gone"))
    all_of_them, _ = healths(host, monkeypatch)
    rows = [row(number) for number in range(5)]
    problems = [await listed(all_of_them, rows) for _ in range(4)]
    assert [each.count("") for each in problems] == [3, 1, 0, 0]
    assert host.asked == 5, "what is known is not asked for again"


async def test_a_list_is_not_delayed_by_a_slow_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that a list waits for all hosts together, and that the next one has the answers."""
    monkeypatch.setattr(environment_health, "ANSWER_TIMEOUT_SECONDS", 0.01)
    host = Labelled(Health("its quota is gone"))
    host.may_answer.clear()
    all_of_them, _ = healths(host, monkeypatch)
    rows = [row(number) for number in range(3)]
    assert await listed(all_of_them, rows) == [""] * 3
    host.may_answer.set()
    await asyncio.gather(*[task for each in all_of_them._known.values() if (task := each.call)])
    assert await listed(all_of_them, rows) == ["its quota is gone"] * 3
    assert host.asked == 3


async def test_a_watched_environment_shows_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that a watcher gets an event when a ready environment fails, and when it is well again."""
    monkeypatch.setattr(watcher, "MIN_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(watcher, "MAX_PAUSE_AT_REST_SECONDS", 0.0)
    host = Showing(Health())
    all_of_them, _ = healths(host, monkeypatch)
    standing = snapshot()

    class Unchanged:
        async def read(self, *_: object) -> EnvironmentSnapshot:
            return standing

    watches = EnvironmentWatcher(cast(EnvironmentReader, Unchanged()), all_of_them)
    followed = watches.follow(standing, 60.0)
    assert (view := await anext(followed)) is not None
    assert view.unwell is None
    host.shown = Health("its quota is gone")
    assert (view := await anext(followed)) is not None
    assert view.unwell == Unwell(what="its quota is gone", since=view.unwell.since if view.unwell else None)
    host.shown = Health()
    assert (view := await anext(followed)) is not None
    assert view.unwell is None
    await followed.aclose()


async def test_a_pause_for_a_restore_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that the host is not asked meanwhile, and that it is asked again afterwards."""
    host = Showing(Health("it is paused"))
    all_of_them, _ = healths(host, monkeypatch)
    restore = Restore(number=1, actor="bob@example.com", started_at=AT)
    standing = snapshot()
    restoring = replace(standing, view=standing.view.model_copy(update={"restore": restore}))
    assert (await all_of_them.add_to(restoring)).view.unwell is None
    assert host.asked == 0
    assert (unwell := (await all_of_them.add_to(standing)).view.unwell)
    assert unwell.what == "it is paused"


async def test_all_watchers_of_an_environment_share_its_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that a hundred who follow one life cost Temporal what one of them costs."""
    monkeypatch.setattr(watcher, "MIN_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(watcher, "MAX_PAUSE_AT_REST_SECONDS", 0.0)
    all_of_them, _ = healths(Showing(Health()), monkeypatch)
    reads, is_asked, may_change = 0, asyncio.Event(), asyncio.Event()
    first = snapshot()
    changed = replace(first, view=first.view.model_copy(update={"phase": Phase.TEARING_DOWN}))

    class Counting:
        async def read(self, *_: object) -> EnvironmentSnapshot:
            nonlocal reads
            reads += 1
            is_asked.set()
            await may_change.wait()
            return changed

    watches = EnvironmentWatcher(cast(EnvironmentReader, Counting()), all_of_them)
    watchers = [watches.follow(first, 60.0) for _ in range(100)]
    for each in watchers:
        assert (view := await anext(each)) is not None
        assert view.phase is Phase.READY
    following = [asyncio.ensure_future(anext(each)) for each in watchers]
    await is_asked.wait()
    assert reads == 1, "more than one of them asks for the change"
    may_change.set()
    views = await asyncio.gather(*following)
    assert all(view is views[0] for view in views)
    for each in watchers:
        await each.aclose()


def snapshot() -> EnvironmentSnapshot:
    """A ready environment, as the reader has it."""
    status = EnvironmentStatus(
        environment=environment(), phase=Phase.READY, requested_at=AT, expires_at=AT, steps=()
    )
    return EnvironmentSnapshot(
        name=environment().name, run_id="r", first_run_id="r", history_length=1, ended=False,
        request_id="q", owner="a", team="b", collaborators=(), status=status, view=view_of_status(status),
    )  # fmt: skip
