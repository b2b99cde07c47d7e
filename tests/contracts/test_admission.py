"""Admission: who has a place and where. What is promised once is not promised again."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.capacity.admission import admit, decide, decide_wake, reassign, resize, settle, sleep, wake
from contracts.capacity.audit import AuditResult
from contracts.capacity.ledger import CapacityLedger
from contracts.capacity.models import (
    START_GRACE,
    Amount,
    HostCapacity,
    Limits,
    Quotas,
    Reservation,
    ReservationRequest,
    ResizedInput,
    ResizeInput,
)
from contracts.capacity.reconciliation import apply_audit
from contracts.capacity.sizes import size_of
from contracts.capacity.workflow_input import CarriedCapacity
from contracts.environment.chart_values import ETCD, merge_values
from contracts.errors import Refusal, RefusalReason
from contracts.templates.template import Size
from contracts.types.quantities import format_cpu, format_memory

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
SOON = NOW + timedelta(hours=1)
GI = 2**30
SMALL = Amount(environments=1, cpu=4000, memory=8 * GI)


def an_ask(name: str = "new", **fields: Any) -> ReservationRequest:
    """A small one of alice's for team blue, on the host one."""
    return ReservationRequest(
        **{
            "name": name,
            "life": f"life-of-{name}",
            "owner": "alice@example.com",
            "team": "blue",
            "template": "small",
            "size": SMALL,
            "hosts": ("one",),
            "ends_at": SOON,
        }
        | fields
    )


def a_book(*asks: ReservationRequest, **hosts: Limits) -> CapacityLedger:
    """These hold their places on hosts that have so much."""
    book = CapacityLedger(
        HostCapacity(name=name, total=total) for name, total in (hosts or {"one": Limits()}).items()
    )
    for ask in asks:
        assert admit(book, ask, NOW - timedelta(hours=1)).host, f"no place for {ask.name}"
    return book


def refused(book: CapacityLedger, ask: ReservationRequest) -> Refusal:
    verdict = decide(book, ask, NOW)
    assert verdict.refusal, f"it has a place on {verdict.host}"
    assert not verdict.host
    return verdict.refusal


def blue(cpu: int | None = None, memory: int | None = None, environments: int | None = None) -> Quotas:
    return Quotas(team=Limits(cpu=cpu, memory=memory, environments=environments))


def most(environments: int, of: str) -> Quotas:
    return Quotas(**{of: Limits(environments=environments)})


@pytest.mark.parametrize(
    ("quotas", "held", "message"),
    [
        pytest.param(
            blue(cpu=10_000), 2, "new asks for 4 CPU; team blue has 2 of 10 CPU left.", id="team's CPU"
        ),
        pytest.param(
            blue(cpu=1500), 0, "new asks for 4 CPU; team blue has 1.5 of 1.5 CPU left.", id="less than one"
        ),
        pytest.param(
            blue(memory=20 * GI),
            2,
            "new asks for 8Gi of memory; team blue has 4Gi of 20Gi of memory left.",
            id="team's memory",
        ),
        pytest.param(
            blue(cpu=9000, memory=17 * GI),
            2,
            "new asks for 4 CPU and 8Gi of memory; "
            "team blue has 1 of 9 CPU left and 1Gi of 17Gi of memory left.",
            id="both",
        ),
        pytest.param(
            most(2, "person"),
            2,
            "new asks for 1 environment; you have 0 of 2 environments left.",
            id="person's",
        ),
        pytest.param(
            most(1, "template_person"),
            1,
            "new asks for 1 environment; you have 0 of 1 environment from small left.",
            id="person's of a template",
        ),
        pytest.param(
            most(2, "template_team"),
            2,
            "new asks for 1 environment; team blue has 0 of 2 environments from small left.",
            id="team's of a template",
        ),
    ],
)
def test_beyond_a_quota(quotas: Quotas, held: int, message: str) -> None:
    """Ensures that a quota holds, and that the refusal names the request and the rest of the quota."""
    book = a_book(*(an_ask(f"held-{number}") for number in range(held)))
    refusal = refused(book, an_ask(quotas=quotas))
    assert refusal == Refusal(reason=RefusalReason.OVER_QUOTA, message=message)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"owner": "bob@example.com", "quotas": most(1, "person")}, id="another person"),
        pytest.param({"team": "green", "quotas": most(1, "team")}, id="another team"),
        pytest.param({"template": "large", "quotas": most(1, "template_person")}, id="another template"),
        pytest.param({"quotas": most(2, "person")}, id="one more is allowed"),
        pytest.param({"quotas": blue(cpu=8000, memory=16 * GI)}, id="just what is left"),
    ],
)
def test_within_a_quota(other: dict[str, Any]) -> None:
    """Ensures that a quota counts only what it is about, and can be used up."""
    assert decide(a_book(an_ask("held")), an_ask(**other), NOW).host == "one"


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        pytest.param(
            {"one": Limits(cpu=6000)}, "new asks for 4 CPU; host one has 2 of 6 CPU left.", id="one host"
        ),
        pytest.param(
            {"one": Limits(environments=1), "two": Limits(memory=4 * GI)},
            "new asks for 1 environment and 8Gi of memory; "
            "host one has 0 of 1 environment left, host two has 4Gi of 4Gi of memory left.",
            id="each lacks something else",
        ),
        pytest.param(
            {"one": Limits(cpu=6000), "two": None},
            "new asks for 4 CPU; host one has 2 of 6 CPU left, host two has not reported yet what it has.",
            id="one has not reported",
        ),
        pytest.param(
            {"one": Limits(cpu=4000), "three": Limits()},
            "new asks for 4 CPU; host one has 0 of 4 CPU left, host two has not reported yet what it has.",
            id="one is not known",
        ),
    ],
)
def test_no_room(hosts: dict[str, Limits | None], message: str) -> None:
    """Ensures that only a host with known room is chosen, and that the refusal has the numbers."""
    book = a_book(an_ask("held"), one=hosts["one"] or Limits())
    rooms = [
        HostCapacity(name=name, total=total or Limits(), known=total is not None)
        for name, total in hosts.items()
    ]
    book.hosts = {room.name: room for room in rooms}
    wanted = ("one", "two") if len(hosts) > 1 else ("one",)
    refusal = refused(book, an_ask(hosts=wanted))
    assert refusal == Refusal(reason=RefusalReason.NO_ROOM, message=message)


@pytest.mark.parametrize(
    ("hosts", "held_on_one", "chosen"),
    [
        pytest.param({"one": Limits(cpu=20_000), "two": Limits(cpu=40_000)}, 0, "two", id="the bigger"),
        pytest.param({"one": Limits(cpu=40_000), "two": Limits(cpu=20_000)}, 8, "two", id="the emptier"),
        pytest.param({"one": Limits(cpu=4000), "two": Limits(cpu=8000)}, 0, "two", id="what would be left"),
        pytest.param({"one": Limits(), "two": Limits()}, 0, "one", id="alike: the first"),
        pytest.param({"one": Limits(), "two": Limits()}, 1, "two", id="without limits: the fewest"),
        pytest.param({"one": Limits(cpu=3000), "two": Limits(cpu=4000)}, 0, "two", id="the only one"),
        pytest.param(
            {"one": Limits(cpu=40_000, memory=9 * GI), "two": Limits(cpu=10_000, memory=90 * GI)},
            0,
            "two",
            id="by what is scarcest",
        ),
    ],
)
def test_where(hosts: dict[str, Limits], held_on_one: int, chosen: str) -> None:
    """Ensures that of the hosts on which it fits the one is taken that has most to spare."""
    book = a_book(*(an_ask(f"held-{number}") for number in range(held_on_one)), **hosts)
    assert decide(book, an_ask(hosts=("one", "two")), NOW).host == chosen


def test_one_that_does_not_answer_is_the_last_choice() -> None:
    """Ensures that a host with something wrong is taken if there is no other, by its last numbers."""
    book = a_book(one=Limits(cpu=400_000), two=Limits(cpu=4000))
    book.hosts["one"] = book.hosts["one"].model_copy(update={"remark": "it does not answer"})
    assert admit(book, an_ask("first", hosts=("one", "two")), NOW).host == "two"
    assert admit(book, an_ask("second", hosts=("one", "two")), NOW).host == "one"


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        pytest.param([3, 2, 5], NOW + timedelta(hours=2), id="the first to end"),
        pytest.param([3, -1], NOW, id="one whose time is up is ending now"),
    ],
)
def test_when_the_next_ends(ends: list[int], expected: datetime) -> None:
    """Ensures that a refusal says when the next environment ends that is in the way."""
    book = a_book(
        *(an_ask(f"held-{hours}", ends_at=NOW + timedelta(hours=hours)) for hours in ends),
        an_ask("elsewhere", ends_at=NOW, hosts=("two",), owner="bob@example.com"),
        one=Limits(environments=len(ends)),
        two=Limits(),
    )
    verdict = decide(book, an_ask(), NOW)
    assert verdict.refusal, verdict
    assert verdict.next_end == expected
    mine = decide(book, an_ask(hosts=("two",), quotas=most(len(ends), "person")), NOW)
    assert mine.refusal, mine
    assert mine.next_end == expected


def test_nothing_ends_where_nothing_is() -> None:
    """Ensures that what can never fit is not promised a time."""
    verdict = decide(a_book(one=Limits(cpu=100)), an_ask(), NOW)
    assert verdict.refusal, verdict
    assert verdict.next_end is None


# --- names and their lives --------------------------------------------------------------------------------


def test_the_same_life_again() -> None:
    """Ensures that asking again changes nothing: the same place, held once, though the host is full now."""
    book = a_book(one=Limits(environments=1))
    assert {admit(book, an_ask(), NOW).host for _ in range(3)} == {"one"}
    assert book.reserved("host", "one") == SMALL
    assert [one.lives for one in book] == [{"life-of-new"}]


def test_one_name_many_clients() -> None:
    """Ensures that all who ask for one name share one place, and that it is free when the last has no use."""
    book = a_book(one=Limits(environments=1))
    for number in range(20):
        assert admit(book, an_ask(life=f"life-{number}"), NOW).host == "one"
    [held] = book
    assert len(held.lives) == 20
    later = int((NOW + START_GRACE + timedelta(seconds=1)).timestamp())
    assert held.after_life("life-3", later) is None, "claims that never began outlive the life that did"
    soon = held.after_life("life-3", int(NOW.timestamp()))
    assert soon, "one that may still begin has lost its place"
    assert "life-3" not in soon.lives


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param({"owner": "bob@example.com"}, Refusal.taken("held"), id="owner"),
        pytest.param({"template": "large"}, Refusal.other_spec("held", ("template",)), id="template"),
        pytest.param({"team": "green"}, Refusal.other_spec("held", ("team",)), id="team"),
        pytest.param({"hosts": ("two",)}, Refusal.other_spec("held", ("host",)), id="host"),
        pytest.param(
            {"size": SMALL.plus(SMALL)},
            Refusal.other_spec("held", ("template",)),
            id="a template that has changed",
        ),
    ],
)
def test_a_name_that_is_held(asked: dict[str, Any], expected: Refusal) -> None:
    """Ensures that a name that is held is refused as its environment would refuse it."""
    book = a_book(an_ask("held"), one=Limits(), two=Limits())
    assert refused(book, an_ask("held", life="another", **asked)) == expected


def test_the_life_before_is_over() -> None:
    """Ensures that a name is free for anybody as soon as the life that held it is seen to be over."""
    book = a_book(an_ask("held", life="first"), one=Limits(environments=1))
    bobs = an_ask("held", life="second", owner="bob@example.com", ended_life="first", template="large")
    assert admit(book, bobs, NOW).host == "one"
    [held] = book
    assert (held.owner, set(held.lives)) == ("bob@example.com", {"second"})
    assert book.reserved("person", "alice@example.com") == Amount()


def test_another_life_than_the_one_before() -> None:
    """Ensures that a word about a life that is long over does not take the place of the one that is there."""
    book = a_book(an_ask("held", life="second"))
    bobs = an_ask("held", life="third", owner="bob@example.com", ended_life="first")
    assert refused(book, bobs).reason is RefusalReason.OTHER_OWNER


def test_a_new_claim_is_not_taken_for_the_old_one() -> None:
    """Ensures that the finding of an audit about an earlier claim does not remove a later one."""
    held = Reservation("n", "a", "t", "s", "one", SMALL, ends=9, claims=(("life", 100),))
    assert held.without_claim("life", made=50) == held
    assert held.without_claim("life", made=100) is None
    assert held.without_claim("life") is None


# --- sums, packing, sizes ---------------------------------------------------------------------------------

_NAMES = st.sampled_from([f"e{number}" for number in range(12)])
_DEEDS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "end", "drop"]),
        _NAMES,
        st.sampled_from(["a", "b"]),
        st.sampled_from(["blue", "green"]),
        st.integers(min_value=1, max_value=4),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(_DEEDS)
def test_never_more_than_there_is(deeds: list[tuple[str, str, str, str, int]]) -> None:
    """Ensures that in whatever order it is asked and ended, no limit is exceeded and the sums are right."""
    rooms = {"one": Limits(cpu=7), "two": Limits(cpu=9, environments=3)}
    quotas = Quotas(team=Limits(cpu=10), person=Limits(environments=4))
    book = a_book(**rooms)
    for number, (deed, name, owner, team, cpu) in enumerate(deeds):
        held = book.get(name)
        if deed == "ask":
            ask = an_ask(
                name,
                life=f"{name}-{number}",
                owner=owner,
                team=team,
                size=Amount(environments=1, cpu=cpu),
                hosts=("one", "two"),
                quotas=quotas,
                ended_life=min(held.lives) if held and cpu % 2 else "",
            )
            assert decide(book, ask, NOW) == admit(book, ask, NOW), "what was decided is not what was done"
        elif held:
            life = min(held.lives)
            book.set_or_remove(
                name, held.without_claim(life) if deed == "drop" else held.after_life(life, 2**40)
            )
    everything = list(book)
    for key, limits in (
        *((("host", host), total) for host, total in rooms.items()),
        *((("team", team), quotas.team) for team in ("blue", "green")),
        *((("person", owner), quotas.person) for owner in ("a", "b")),
    ):
        held_sum = book.reserved(*key)
        counted = Amount()
        for one in everything:
            counted = counted.plus(one.size) if key in one.keys else counted
        assert held_sum == counted, f"the sum of {key}"
        for field, limit in limits.model_dump(exclude_none=True).items():
            assert getattr(held_sum, field) <= limit, f"{key} has more {field} than there is"
    carried = CarriedCapacity(reservations=tuple(book), hosts=(), audited_at=NOW, next_audit=NOW)
    assert list(CarriedCapacity.model_validate_json(carried.model_dump_json()).reservations) == everything


def test_what_an_environment_holds() -> None:
    """Ensures that the vCluster's own needs are counted beside the template's size."""
    values = {"controlPlane": {"statefulSet": {"resources": {"limits": {"cpu": "1500m", "memory": "2Gi"}}}}}
    size = Size(cpu="500m", memory="1Gi", storage="1Gi", pods=10)
    assert size_of(size, values) == Amount(environments=1, cpu=3000, memory=3 * GI + 170 * 2**20)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (format_cpu(4000), "4"),
        (format_cpu(250), "0.25"),
        (format_cpu(0), "0"),
        (format_memory(0), "0Gi"),
        (format_memory(170 * 2**20), "170Mi"),
        (format_memory(int(3.17 * GI)), "3.2Gi"),
    ],
)
def test_numbers_in_sentences(said: str, expected: str) -> None:
    """Ensures that numbers read well."""
    assert said == expected


BOB = "bob@example.com"


def test_a_place_gets_another_owner_whose_limits_allow_it() -> None:
    book = a_book(an_ask("given"), an_ask("other"))
    quotas = Quotas(person=Limits(environments=1))
    asked = an_ask("given", owner=BOB, quotas=quotas)
    assert reassign(book, asked, NOW).host == "one"
    assert book.reserved("person", BOB).environments == 1
    assert book.reserved("person", "alice@example.com").environments == 1
    assert book.reserved("team", "blue").environments == 2
    assert book.reserved("person", BOB, "small").environments == 1
    assert reassign(book, asked, NOW).host == "one", "a repeat is refused because of itself"
    second = reassign(book, an_ask("other", owner=BOB, quotas=quotas), NOW).refusal
    assert second
    assert second.reason is RefusalReason.OVER_QUOTA
    assert second.message == ("other asks for 1 environment; bob@example.com has 0 of 1 environment left.")
    assert book.reserved("person", BOB).environments == 1, "what was refused is recorded"


def test_the_limits_of_the_team_and_the_host_do_not_stop_a_transfer() -> None:
    """Ensures that an environment over a limit that was lowered since can change hands: nothing is added."""
    book = a_book(an_ask("given"), one=Limits(environments=1))
    quotas = Quotas(team=Limits(environments=0), template_team=Limits(environments=0))
    assert reassign(book, an_ask("given", owner=BOB, quotas=quotas), NOW).host == "one"


@pytest.mark.parametrize("held", [True, False])
def test_the_place_of_another_life_is_not_given_away(held: bool) -> None:
    book = a_book(*([an_ask("given")] if held else []))
    assert reassign(book, an_ask("given", life="another", owner=BOB), NOW).refusal is None
    assert book.reserved("person", BOB).environments == 0
    assert book.reserved("person", "alice@example.com").environments == int(held)


def test_claims_of_other_lives_do_not_go_to_the_new_owner() -> None:
    book = a_book(an_ask("given"), an_ask("given", life="a-retry"))
    reassign(book, an_ask("given", owner=BOB), NOW)
    [held] = book
    assert held.lives == {"life-of-given"}


def test_one_that_sleeps_holds_no_cpu_and_no_memory() -> None:
    """Ensures that it counts as an environment, and leaves the rest to others until it is woken."""
    book = a_book(an_ask("a"), one=Limits(cpu=4000, memory=8 * GI, environments=2))
    sleep(book, "a", "another-life", NOW)
    assert book.reserved("host", "one") == SMALL
    sleep(book, "a", "life-of-a", NOW)
    for key in (("host", "one"), ("person", "alice@example.com"), ("team", "blue", "small")):
        assert book.reserved(*key) == Amount(environments=1)
    assert admit(book, an_ask("b"), NOW).host == "one"
    refusal = decide_wake(book, an_ask("a"), NOW).refusal
    assert refusal
    assert refusal.reason is RefusalReason.NO_ROOM
    assert refusal.message == (
        "a asks for 4 CPU and 8Gi of memory; host one has 0 of 4 CPU left and 0Gi of 8Gi of memory left."
    )
    assert wake(book, an_ask("a"), NOW).next_end == SOON
    sleep(book, "b", "life-of-b", NOW)
    for _ in range(2):
        assert wake(book, an_ask("a"), NOW).host == "one"
        assert book.reserved("host", "one") == SMALL.plus(Amount(environments=1))


def test_one_is_woken_only_within_its_quotas() -> None:
    book = a_book(an_ask("a"), an_ask("b"))
    sleep(book, "a", "life-of-a", NOW)
    quotas = Quotas(person=Limits(cpu=6000, environments=2))
    refusal = wake(book, an_ask("a", quotas=quotas), NOW).refusal
    assert refusal
    assert refusal.message == "a asks for 4 CPU; alice@example.com has 2 of 6 CPU left."
    assert wake(book, an_ask("a", quotas=Quotas(person=Limits(cpu=8000, environments=2))), NOW).host


def test_one_is_woken_on_its_host_whatever_the_others_have() -> None:
    book = a_book(an_ask("a"), one=Limits(cpu=4000), two=Limits(cpu=8000))
    sleep(book, "a", "life-of-a", NOW)
    assert admit(book, an_ask("b"), NOW).host == "one"
    assert wake(book, an_ask("a", hosts=("two",)), NOW).refusal
    sleep(book, "b", "life-of-b", NOW)
    assert wake(book, an_ask("a", hosts=("two",)), NOW).host == "one"


def test_one_whose_reservation_is_lost_gets_it_when_it_is_woken() -> None:
    book = a_book(one=Limits(cpu=4000))
    assert wake(book, an_ask("a"), NOW).host == "one"
    assert book.reserved("host", "one") == SMALL
    assert wake(book, an_ask("b"), NOW).refusal
    unknown = wake(CapacityLedger(), an_ask("a"), NOW).refusal
    assert unknown
    assert unknown.reason is RefusalReason.NOT_KNOWN


def test_a_place_of_one_that_sleeps_is_shared_only_where_there_is_room() -> None:
    """Ensures that a claim for the next life of a name is not given CPU that others have meanwhile."""
    book = a_book(an_ask("a"), one=Limits(cpu=4000))
    sleep(book, "a", "life-of-a", NOW)
    admit(book, an_ask("b"), NOW)
    assert refused(book, an_ask("a", life="next")).reason is RefusalReason.NO_ROOM
    sleep(book, "b", "life-of-b", NOW)
    assert admit(book, an_ask("a", life="next"), NOW).host == "one"
    assert book.reserved("host", "one").cpu == SMALL.cpu


def test_one_that_sleeps_is_transferred_within_what_it_holds() -> None:
    book = a_book(an_ask("a"))
    sleep(book, "a", "life-of-a", NOW)
    quotas = Quotas(person=Limits(cpu=1000, environments=1))
    assert reassign(book, an_ask("a", owner="bob@example.com", quotas=quotas), NOW).host == "one"


@pytest.mark.parametrize("what", ["cpu", "memory"])
@pytest.mark.parametrize("path", [("controlPlane", "statefulSet"), (*ETCD, "statefulSet")])
def test_nothing_reserves_less_than_nothing(what: str, path: tuple[str, ...]) -> None:
    """Ensures that a parameter of a template does not make room for others by a negative limit."""
    values: dict[str, Any] = {"resources": {"limits": {"cpu": "1", "memory": "1Gi", what: -1000}}}
    for key in reversed(path):
        values = {key: values}
    values = merge_values(
        {"controlPlane": {"statefulSet": {"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}}}, values
    )
    if path[:-1] == ETCD:
        values = merge_values(
            values, {"controlPlane": {"backingStore": {"etcd": {"deploy": {"enabled": True}}}}}
        )
    size = Size(cpu="2", memory="2Gi", storage="1Gi", pods=10)
    with pytest.raises(ValueError, match='"-1000" is less than nothing'):
        size_of(size, values)


LARGE = Amount(environments=1, cpu=8000, memory=8 * GI)


def test_a_change_that_is_over_gets_no_room_any_more() -> None:
    """Ensures that a request that arrives after its change has been settled does not hold room for ever."""
    book = a_book(an_ask("a"))
    late = ResizeInput(request=an_ask("a", template="large", size=LARGE), asked_at=NOW)
    settled = ResizedInput(
        name="a",
        life="life-of-a",
        template="small",
        size=SMALL,
        settled_at=NOW + timedelta(milliseconds=8),
    )
    settle(book, settled)
    refusal = resize(book, late, NOW + timedelta(minutes=1)).refusal
    assert refusal
    assert refusal.reason is RefusalReason.NOT_KNOWN
    [held] = book
    assert (held.template, held.size) == ("small", SMALL)

    later = late.model_copy(update={"asked_at": NOW + timedelta(seconds=1)})
    for _ in range(2):
        assert resize(book, later, NOW).host == "one"
    settle(book, settled)
    [held] = book
    assert (held.template, held.size) == ("large", LARGE), "a settlement of before came again"
    settle(book, settled.model_copy(update={"life": "another-life", "settled_at": SOON}))
    settle(book, settled.model_copy(update={"name": "b"}))
    [held] = book
    assert held.size == LARGE


@pytest.mark.parametrize("last", [wake, None])
def test_what_is_said_again_is_the_newest(last: Any) -> None:
    """Ensures that an audit that has read before does not overrule what a life says after it."""
    book = a_book(an_ask("a"))
    sleep(book, "a", "life-of-a", NOW - timedelta(hours=1))
    if last:
        wake(book, an_ask("a"), NOW - timedelta(minutes=30))
    [read] = book
    if last:
        wake(book, an_ask("a"), NOW)
    else:
        sleep(book, "a", "life-of-a", NOW)
    apply_audit(book, AuditResult(slept=(("a", not read.asleep, read.changed),)), set())
    [held] = book
    assert held.asleep is read.asleep
