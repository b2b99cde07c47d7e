"""Lives that Temporal has forgotten, found by what bears their marks."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from clients.errors import Denied, Unreachable
from clients.host.models import Namespace
from clients.host.protocol import Host
from contracts.environment.models import Outcome
from contracts.environment_workflow import LifecycleTimeouts
from contracts.notifications import LifeRecord
from contracts.templates.template import RetainedVolumes
from contracts.types.naming import OwnerMark
from starter.environments.teardown.forgotten_life import CannotPlan, ForgottenLife, plan_without_run
from starter.environments.teardown.leftover_search import FoundMarks, Marked, MarkSearch
from starter.installation_settings import InstallationConfig
from starter.request_errors import InvalidRequest

INSTALLATION, NAME = "k3x9q0vb", "demo"
ONE, TWO = "1" * 20, "2" * 20
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
BORN = NOW - timedelta(days=9)


def mark(life: str = ONE, name: str = NAME, installation: str = INSTALLATION) -> OwnerMark:
    return OwnerMark(installation=installation, name=name, life=life)


def namespace(of: OwnerMark, annotated: OwnerMark | None = None) -> Namespace:
    return Namespace("mrg-demo", "uid", BORN, of.labels, {"moorage.dev/owner": (annotated or of).text})


class FakeHost:
    """A host with at most one namespace."""

    def __init__(self, name: str, found: Namespace | Exception | None = None) -> None:
        self.name, self.found = name, found

    async def get_namespace(self, name: str) -> Namespace | None:
        assert name == "mrg-demo"
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


class FakeRafay:
    """A control plane with at most one project and one group, by their descriptions."""

    def __init__(self, project: str | None = None, group: str | None = None) -> None:
        self.project, self.group = project, group

    async def find_project(self, name: str) -> object | None:
        return SimpleNamespace(name=name, description=self.project) if self.project is not None else None

    async def find_group(self, name: str) -> object | None:
        return SimpleNamespace(name=name, description=self.group) if self.group is not None else None


class FakeDirectory:
    """A directory with groups, by their external ids."""

    def __init__(self, *marks: str | None) -> None:
        self.marks = marks

    async def groups_by_name(self, name: str) -> list[object]:
        return [SimpleNamespace(display_name=name, external_id=each) for each in self.marks]


def search(
    *hosts: FakeHost, rafay: FakeRafay | None = None, directory: FakeDirectory | None = None
) -> MarkSearch:
    by_name = {host.name: cast(Host, host) for host in hosts}
    return MarkSearch(
        INSTALLATION,
        "mrg",
        by_name,
        rafay=cast(Any, rafay),
        directory=cast(Any, directory),
        has_identity_provider=True,
    )


async def test_search_finds_each_life_where_it_has_left_something() -> None:
    found = await search(
        FakeHost("one", namespace(mark(ONE))),
        FakeHost("two"),
        rafay=FakeRafay(project=mark(TWO).text, group=mark(ONE).text),
        directory=FakeDirectory(mark(TWO).text, None),
    ).find(NAME)
    assert {life: [one.what for one in each] for life, each in found.lives.items()} == {
        ONE: ["group mrg-demo in the control plane", "namespace mrg-demo on host one"],
        TWO: ["group mrg-demo in the identity provider", "project mrg-demo in the control plane"],
    }
    assert found.not_searched == []


@pytest.mark.parametrize(
    "text",
    [
        "", "a project", f"{INSTALLATION}/{NAME}", f"{mark().text}/", f"{INSTALLATION}/{NAME}/x",
        mark(name="demo2").text, mark(installation="otherone1").text, f" {mark().text}", mark().text + "\n",
    ],
)  # fmt: skip
async def test_search_leaves_out_what_is_not_marked_ours(text: str) -> None:
    found = await search(rafay=FakeRafay(project=text, group=text), directory=FakeDirectory(text)).find(NAME)
    assert not found.lives


async def test_search_leaves_out_a_namespace_with_two_different_marks() -> None:
    """Ensures that nothing is promised of a namespace that the teardown leaves alone."""
    for of, annotated in ((mark(), mark(TWO)), (mark(TWO), mark())):
        assert not (await search(FakeHost("one", namespace(of, annotated))).find(NAME)).lives


async def test_search_names_what_it_could_not_search() -> None:
    found = await search(
        FakeHost("one", Unreachable("host cluster one", "read namespace", "refused")),
        FakeHost("two", Denied("host cluster two", "read namespace", "403")),
        FakeHost("three", namespace(mark())),
    ).find(NAME)
    assert list(found.lives) == [ONE]
    assert len(found.not_searched) == 4
    for words in ("host one: ", "host two: ", "for the control plane", "for the identity provider"):
        assert [one for one in found.not_searched if words in one], words


def house(*hosts: str) -> InstallationConfig:
    return InstallationConfig(
        installation=INSTALLATION,
        prefix="mrg",
        hosts={host: {} for host in hosts},
        default_host=None,
        has_identity_provider=True,
        timeouts=LifecycleTimeouts(),
    )


def marks(lives: Mapping[str, list[Marked]], *not_searched: str) -> FoundMarks:
    return FoundMarks(lives, not_searched)


def on(host: str, life: str = ONE) -> Marked:
    return Marked(mark(life).text, f"namespace mrg-demo on host {host}", host, BORN)


PROJECT = Marked(mark().text, "project mrg-demo in the control plane")


def record(life: str = ONE, host: str = "two") -> LifeRecord:
    return LifeRecord(
        name=NAME, life=life, owner="bob@example.com", team="blue", collaborators=("dave@example.com",),
        template="medium", host=host, outcome=Outcome.FAILED, requested_at=BORN - timedelta(days=1),
        ended_at=NOW, audit_log=(),
    )  # fmt: skip


def planned(found: FoundMarks, *records: LifeRecord, hosts: str = "one two", **named: str) -> ForgottenLife:
    return plan_without_run(
        NAME,
        found,
        records,
        house(*hosts.split()),
        life=named.get("life"),
        host=named.get("host"),
        now=NOW,
    )


def test_plan_from_marks_alone() -> None:
    plan = planned(marks({ONE: [on("two"), PROJECT]}, "host one: no answer"))
    environment = plan.before.environment
    assert environment.mark == mark()
    assert (environment.host, environment.derived_name) == ("two", "mrg-demo")
    assert (environment.owner, environment.spec.team, environment.template.name) == ("unknown",) * 3
    assert environment.template.retained_volumes is RetainedVolumes.KEEP, "data is deleted unasked"
    assert environment.has_identity_provider
    assert plan.requested_at == BORN, "older volumes would be taken for its own"
    for words in (ONE, "host two", "project mrg-demo", "host one: no answer"):
        assert words in plan.message


def test_plan_uses_the_record_of_the_life() -> None:
    plan = planned(marks({ONE: [PROJECT]}), record(), record(TWO, "one"))
    environment = plan.before.environment
    assert (environment.owner, environment.spec.team, environment.template.name) == (
        "bob@example.com",
        "blue",
        "medium",
    )
    assert environment.spec.collaborators == ("dave@example.com",)
    assert environment.host == "two"
    assert plan.requested_at == record().requested_at


def test_plan_takes_nothing_older_for_its_own_when_its_age_is_unknown() -> None:
    assert planned(marks({ONE: [PROJECT]}), hosts="one").requested_at == NOW


@pytest.mark.parametrize(
    ("found", "named", "host"),
    [
        ({ONE: [on("two")]}, {}, "two"),
        ({ONE: [on("two")]}, {"host": "two"}, "two"),
        ({ONE: [on("one"), on("two")]}, {"host": "one"}, "one"),
        ({ONE: [PROJECT]}, {"host": "one"}, "one"),
        ({ONE: [on("one")], TWO: [on("two", TWO)]}, {"life": TWO}, "two"),
        ({}, {"life": TWO, "host": "one"}, "one"),
    ],
)
def test_plan_finds_the_host(found: dict[str, list[Marked]], named: dict[str, str], host: str) -> None:
    plan = planned(marks(found), **named)
    assert plan.before.environment.host == host
    assert plan.before.environment.mark.life == named.get("life", ONE)


@pytest.mark.parametrize(
    ("found", "not_searched", "named", "words"),
    [
        ({}, (), {}, "nothing bears its marks"),
        ({}, ("host one: no answer",), {}, "host one: no answer"),
        ({ONE: [on("one")], TWO: [on("two", TWO)]}, (), {}, f"{TWO}: namespace mrg-demo on host two"),
        ({ONE: [on("one"), on("two")]}, (), {}, "one, two"),
        ({ONE: [PROJECT]}, (), {}, "its host is not known: name one of one, two"),
        ({ONE: [PROJECT]}, (), {"host": "three"}, 'there is no host "three": the hosts are one, two'),
        ({ONE: [on("one")]}, (), {"host": "two"}, "on host one, and not on two"),
        ({}, (), {"life": ONE}, "its host is not known"),
    ],
)  # fmt: skip
def test_plan_is_refused_with_what_to_name(
    found: dict[str, list[Marked]], not_searched: tuple[str, ...], named: dict[str, str], words: str
) -> None:
    with pytest.raises(CannotPlan) as refused:
        planned(marks(found, *not_searched), **named)
    assert words in str(refused.value)


def test_plan_ignores_the_record_of_a_host_that_is_not_there_any_more() -> None:
    with pytest.raises(CannotPlan, match="its host is not known"):
        planned(marks({ONE: [PROJECT]}), record(host="former"))


@pytest.mark.parametrize("life", ["demo", ONE + "\n", ONE[:-1]])
def test_text_that_is_no_life_is_a_wrong_field(life: str) -> None:
    with pytest.raises(InvalidRequest, match="is no life") as refused:
        planned(marks({}), life=life)
    assert [problem.field for problem in refused.value.problems] == ["life"]
