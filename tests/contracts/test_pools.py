"""Warm pools: what is made, what gives way, and who gets which standby."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.capacity.admission import admit, decide, decide_standby_place, resize, sleep, wake
from contracts.capacity.audit import AuditResult
from contracts.capacity.ledger import CapacityLedger, to_epoch_seconds
from contracts.capacity.models import (
    FoundStandby,
    HostCapacity,
    Limits,
    Quotas,
    Reservation,
    ReservationRequest,
    ResizeInput,
    Standby,
    StandbyName,
)
from contracts.capacity.reconciliation import apply_audit
from contracts.capacity.warm_pools import (
    DEMAND_TIME,
    MAX_FAILURES,
    MAX_MAKING,
    WANTED_FOR,
    PoolBook,
    PoolsInput,
    PoolState,
    WantedPool,
    pool_key,
)
from contracts.environment.models import Environment, Spec
from contracts.templates.template import Chart, Template
from contracts.templates.warm_pool import WarmPool, pool_problems
from contracts.types.naming import OwnerMark
from tests.contracts.test_admission import SMALL, an_ask
from tests.workflows.conftest import a_start

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)  # a Monday
TEMPLATE = a_start("a").environment.template


def a_standby_environment(**template: Any) -> Environment:
    return Environment(
        mark=OwnerMark.for_request("testinstallatio", "standby", "small"),
        prefix="t",
        owner="",
        spec=Spec(template="small", team=""),
        template=TEMPLATE.model_copy(update=template),
        ttl=timedelta(days=1),
        host="",
        has_identity_provider=False,
        is_standby=True,
    )


OTHER = a_standby_environment(name="other")


def a_pool(key: str = "k", hosts: tuple[str, ...] = ("one",), **policy: Any) -> WantedPool:
    policy = {"ready": 3} | policy
    return WantedPool(
        key=key, policy=WarmPool(**policy), environment=a_standby_environment(), hosts=hosts, size=SMALL
    )


def a_book(*pools: WantedPool, **hosts: Limits) -> CapacityLedger:
    ledger = CapacityLedger(
        HostCapacity(name=name, total=total) for name, total in (hosts or {"one": Limits()}).items()
    )
    ledger.pools.want(PoolsInput(pools=pools), NOW)
    return ledger


def hold(ledger: CapacityLedger, name: str, *, key: str = "k", host: str = "one", ready: bool = True) -> None:
    """A standby that holds its place."""
    ledger.put(
        Reservation(
            name=name,
            owner="",
            team="",
            template="small",
            host=host,
            size=SMALL,
            ends=to_epoch_seconds(NOW + timedelta(days=1)),
            claims=((f"life-of-{name}", to_epoch_seconds(NOW)),),
        )
    )
    ledger.pools.add(name, Standby(life=f"life-of-{name}", pool=key, is_ready=ready))


def named(name: str) -> StandbyName:
    return StandbyName(name=name, life=f"life-of-{name}")


def a_warm_ask(name: str = "new", **fields: Any) -> ReservationRequest:
    return an_ask(name, pool="k", **fields)


def test_a_ready_standby_is_handed_out_once_with_its_place() -> None:
    ledger = a_book(a_pool(), one=Limits(environments=1))
    hold(ledger, "standby-a")
    decision = admit(ledger, a_warm_ask(), NOW)
    assert (decision.host, decision.standby) == ("one", named("standby-a"))
    assert ledger.get("standby-a") is None
    assert ledger.reserved("host", "one") == SMALL
    assert decide(ledger, a_warm_ask("other"), NOW).refusal


def test_the_oldest_goes_first_and_every_life_gets_another() -> None:
    ledger = a_book(a_pool())
    for name in "abc":
        hold(ledger, f"standby-{name}")
    given = [admit(ledger, a_warm_ask(f"e{number}"), NOW).standby for number in range(4)]
    assert given == [named("standby-a"), named("standby-b"), named("standby-c"), None]


def test_the_same_life_gets_the_same_answer_and_another_life_none() -> None:
    ledger = a_book(a_pool())
    hold(ledger, "standby-a")
    hold(ledger, "standby-b")
    first = admit(ledger, a_warm_ask(), NOW)
    assert admit(ledger, a_warm_ask(), NOW) == first
    again = admit(ledger, a_warm_ask(life="another"), NOW)
    assert (again.host, again.standby) == ("one", None)


def test_what_was_given_is_carried_to_the_next_run() -> None:
    ledger = a_book(a_pool())
    hold(ledger, "standby-a")
    first = admit(ledger, a_warm_ask(), NOW)
    carried = PoolState.model_validate_json(ledger.pools.state.model_dump_json())
    later = CapacityLedger(ledger.hosts.values(), ledger, PoolBook(carried))
    assert admit(later, a_warm_ask(), NOW) == first


@pytest.mark.parametrize(
    ("ask", "standby"),
    [
        (an_ask(), {}),
        (a_warm_ask(), {"key": "outdated"}),
        (a_warm_ask(), {"ready": False}),
        (a_warm_ask(hosts=("two",)), {}),
    ],
    ids=["no pool", "another template", "in the making", "another host"],
)
def test_a_request_that_no_standby_fits_makes_its_own(
    ask: ReservationRequest, standby: dict[str, Any]
) -> None:
    ledger = a_book(a_pool(), one=Limits(), two=Limits())
    hold(ledger, "standby-a", **standby)
    decision = admit(ledger, ask, NOW)
    assert decision.host
    assert decision.standby is None
    assert ledger.get("standby-a")


def test_no_standby_is_handed_out_on_a_host_that_does_not_answer() -> None:
    ledger = a_book(a_pool())
    hold(ledger, "standby-a")
    ledger.hosts["one"] = HostCapacity(name="one", remark="it does not answer")
    assert decide(ledger, a_warm_ask(), NOW).standby is None


def test_the_quotas_of_people_count_for_those_who_get_a_standby() -> None:
    ledger = a_book(a_pool())
    hold(ledger, "standby-a")
    refused = decide(ledger, a_warm_ask(quotas=Quotas(person=Limits(environments=0))), NOW)
    assert refused.refusal
    assert refused.standby is None


def test_standbys_give_way_to_people_and_no_more_of_them_than_needed() -> None:
    ledger = a_book(a_pool(), one=Limits(environments=3))
    hold(ledger, "standby-a")
    hold(ledger, "standby-b", ready=False)
    hold(ledger, "standby-c")
    decision = admit(ledger, an_ask(), NOW)
    assert (decision.host, decision.displaced) == ("one", (named("standby-b"),))
    assert ledger.get("standby-b") is None
    assert "standby-b" not in ledger.pools.standbys
    assert ledger.reserved("host", "one").environments == 3


def test_nothing_gives_way_where_that_would_not_help() -> None:
    ledger = a_book(a_pool(), one=Limits(environments=1))
    admit(ledger, an_ask("theirs", owner="bob@example.com"), NOW)
    decision = admit(ledger, an_ask(), NOW)
    assert decision.refusal
    assert not decision.displaced


def test_a_standby_displaces_no_other() -> None:
    ledger = a_book(a_pool(), one=Limits(environments=1))
    hold(ledger, "standby-a", key="another")
    assert decide_standby_place(ledger, an_ask("standby-b", owner=""), NOW) == ""


def test_a_pool_is_filled_a_few_at_a_time() -> None:
    pool = a_pool(ready=5)
    ledger = a_book(pool)
    assert ledger.pools.missing(pool, NOW) == MAX_MAKING
    hold(ledger, "standby-a", ready=False)
    assert ledger.pools.missing(pool, NOW) == MAX_MAKING - 1
    for name in "bcdef":
        hold(ledger, f"standby-{name}")
    assert ledger.pools.missing(pool, NOW) == 0


def test_a_pool_grows_while_its_standbys_are_taken_and_never_beyond_its_most() -> None:
    pool = a_pool(ready=2, most=4)
    ledger = a_book(pool)
    for number in range(5):
        hold(ledger, f"standby-{number}")
        admit(ledger, a_warm_ask(f"e{number}"), NOW)
        assert ledger.pools.target(pool, NOW) == min(4, 3 + number)
    assert ledger.pools.target(pool, NOW + DEMAND_TIME) == 2


def test_no_standby_is_wanted_outside_of_the_hours() -> None:
    pool = a_pool(hours="Mon-Fri 07:00-19:00 Europe/Berlin")
    ledger = a_book(pool)
    hold(ledger, "standby-a")
    assert ledger.pools.surplus(NOW) == []
    sunday = NOW - timedelta(days=1)
    assert ledger.pools.missing(pool, sunday) == 0
    assert ledger.pools.surplus(sunday) == ["standby-a"]


def test_outdated_standbys_and_those_of_no_pool_are_not_wanted() -> None:
    ledger = a_book(a_pool("new", ready=1))
    hold(ledger, "standby-old", key="old")
    hold(ledger, "standby-new", key="new")
    assert ledger.pools.surplus(NOW) == ["standby-old"]
    ledger.pools.want(PoolsInput(), NOW)
    assert sorted(ledger.pools.surplus(NOW)) == ["standby-new", "standby-old"]


def test_of_too_many_those_in_the_making_go_first() -> None:
    ledger = a_book(a_pool(ready=1))
    hold(ledger, "standby-a")
    hold(ledger, "standby-b", ready=False)
    assert ledger.pools.surplus(NOW) == ["standby-b"]


def test_nothing_is_made_when_no_api_wants_it_any_more() -> None:
    pool = a_pool()
    ledger = a_book(pool)
    assert ledger.pools.missing(pool, NOW + WANTED_FOR)
    assert not ledger.pools.missing(pool, NOW + WANTED_FOR + timedelta(seconds=1))


def test_a_pool_stops_after_failures_in_a_row_until_its_template_changes() -> None:
    pool = a_pool()
    ledger = a_book(pool)
    for number in range(MAX_FAILURES):
        assert ledger.pools.missing(pool, NOW)
        hold(ledger, f"standby-{number}", ready=False)
        ledger.pools.report(f"standby-{number}", f"life-of-standby-{number}", "no such image")
    assert not ledger.pools.missing(pool, NOW)
    [count] = ledger.pools.counts(NOW).pools
    assert (count.has_stopped, count.problem) == (True, "no such image")
    ledger.pools.want(PoolsInput(pools=(a_pool("new"),)), NOW)
    assert ledger.pools.missing(a_pool("new"), NOW)


def test_a_pool_that_has_stopped_is_resumed_and_no_other() -> None:
    ledger = a_book(a_pool(), a_pool("other").model_copy(update={"environment": OTHER}))
    for key in ("k", "other"):
        for number in range(MAX_FAILURES):
            hold(ledger, f"standby-{key}-{number}", key=key, ready=False)
            ledger.pools.report(f"standby-{key}-{number}", f"life-of-standby-{key}-{number}", "no such image")
    for _ in range(2):
        ledger.pools.resume("small")
        assert [pool.has_stopped for pool in ledger.pools.counts(NOW).pools] == [False, True]
    assert ledger.pools.missing(a_pool(), NOW)
    assert not ledger.pools.missing(a_pool("other"), NOW)


def test_a_standby_is_taken_back_once_from_the_life_that_was_given_it() -> None:
    """Ensures that a request of the same life does not get a standby that ends."""
    ledger = a_book(a_pool())
    hold(ledger, "standby-a")
    ask = a_warm_ask()
    admit(ledger, ask, NOW)
    assert ledger.pools.take_back(ask.name, "another life") is None
    assert ledger.pools.take_back(ask.name, ask.life) == named("standby-a")
    assert ledger.pools.take_back(ask.name, ask.life) is None
    assert ledger.pools.given_to(ask.name, ask.life) is None


def test_a_pool_says_how_many_were_handed_out_lately() -> None:
    ledger = a_book(a_pool())
    hold(ledger, "standby-a")
    admit(ledger, a_warm_ask(), NOW)
    assert [ledger.pools.counts(at).pools[0].taken for at in (NOW, NOW + DEMAND_TIME)] == [1, 0]


def test_requests_that_find_no_standby_are_counted_once() -> None:
    ledger = a_book(a_pool())
    hold(ledger, "standby-a")
    outdated = an_ask("outdated", pool="outdated")
    for ask in (a_warm_ask("warm"), a_warm_ask("cold"), a_warm_ask("cold"), an_ask("other"), outdated):
        assert admit(ledger, ask, NOW).host
    refused = a_warm_ask("refused", quotas=Quotas(person=Limits(environments=0)))
    assert admit(ledger, refused, NOW).refusal
    assert [ledger.pools.counts(at).pools[0].missed for at in (NOW, NOW + DEMAND_TIME)] == [1, 0]
    assert ledger.pools.state.missed == {"k": (NOW,)}


def test_a_policy_says_when_its_hours_change() -> None:
    pool = WarmPool(ready=1, hours="Mon-Fri 07:00-19:00 UTC")
    assert pool.next_change(NOW) == NOW.replace(hour=19)
    assert pool.next_change(NOW.replace(hour=20)) == NOW.replace(day=5, hour=7)
    assert WarmPool(ready=1).next_change(NOW) is None


def test_a_standby_that_gets_ready_ends_a_row_of_failures() -> None:
    pool = a_pool()
    ledger = a_book(pool)
    for number in range(2 * MAX_FAILURES):
        hold(ledger, f"standby-{number}", ready=False)
        problem = "" if number % 2 else "no such image"
        ledger.pools.report(f"standby-{number}", f"life-of-standby-{number}", problem)
    [count] = ledger.pools.counts(NOW).pools
    assert not count.has_stopped


def test_a_report_of_another_life_changes_nothing() -> None:
    ledger = a_book(a_pool())
    hold(ledger, "standby-a", ready=False)
    ledger.pools.report("standby-a", "another", "")
    assert not ledger.pools.standbys["standby-a"].is_ready


def test_what_holds_no_place_any_more_is_forgotten() -> None:
    ledger = a_book(a_pool())
    hold(ledger, "standby-a")
    hold(ledger, "standby-b")
    admit(ledger, a_warm_ask(), NOW)
    ledger.remove("standby-b")
    ledger.remove("new")
    ledger.pools.keep_only((held.name, held.lives) for held in ledger)
    assert (ledger.pools.standbys, ledger.pools.given) == ({}, {})


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 2},
        {"chart": Chart(version="0.99.0")},
        {"kubernetes": "1.35"},
        {"values": {"controlPlane": {"distro": {}, "more": 1}}},
    ],
)
def test_another_template_has_another_pool(changed: dict[str, Any]) -> None:
    assert pool_key(a_standby_environment(**changed)) != pool_key(a_standby_environment())


def test_the_pool_does_not_depend_on_who_asks() -> None:
    assert pool_key(a_start("a").environment) == pool_key(a_standby_environment())


@pytest.mark.parametrize(
    ("policy", "problems"),
    [
        ({"ready": 3}, {}),
        ({"ready": 3, "most": 3, "hours": "Mon-Fri 07:00-19:00"}, {}),
        ({"ready": 3, "most": 2}, {"most": "2 is less than the 3 that are to be ready"}),
        ({"ready": 1, "hours": "at noon"}, {"hours": '"at noon" is not a schedule'}),
        ({"ready": 1, "hours": "Mon 07:00-19:00 Mars"}, {"hours": '"Mars" is not a time zone'}),
    ],
)
def test_a_policy_is_checked_as_a_whole(policy: dict[str, Any], problems: dict[str, str]) -> None:
    found = pool_problems(WarmPool(**policy))
    assert found.keys() == problems.keys()
    assert all(found[field].startswith(words) for field, words in problems.items())


def test_a_template_without_a_pool_is_as_before() -> None:
    assert isinstance(TEMPLATE, Template)
    assert TEMPLATE.warm is None


def test_standbys_give_way_to_an_environment_that_wakes() -> None:
    ledger = a_book(a_pool(), one=Limits(cpu=SMALL.cpu))
    admit(ledger, an_ask(), NOW)
    sleep(ledger, "new", "life-of-new", NOW)
    hold(ledger, "standby-a")
    decision = wake(ledger, an_ask(), NOW)
    assert (decision.host, decision.displaced) == ("one", (named("standby-a"),))
    assert ledger.get("standby-a") is None
    assert ledger.reserved("host", "one").cpu == SMALL.cpu


def test_standbys_give_way_to_an_environment_that_grows() -> None:
    ledger = a_book(a_pool(), one=Limits(cpu=2 * SMALL.cpu))
    admit(ledger, an_ask(), NOW)
    hold(ledger, "standby-a")
    large = SMALL.model_copy(update={"cpu": 2 * SMALL.cpu})
    decision = resize(ledger, ResizeInput(request=an_ask(size=large, template="large"), asked_at=NOW), NOW)
    assert (decision.host, decision.displaced) == ("one", (named("standby-a"),))
    assert ledger.reserved("host", "one").cpu == large.cpu


def test_fewest_standbys_give_way() -> None:
    """Of two hosts, the one on which the request displaces fewer is chosen, also if it is the second."""
    both = Limits(cpu=2 * SMALL.cpu)
    ledger = a_book(a_pool(), one=both, two=both)
    hold(ledger, "standby-a")
    hold(ledger, "standby-b")
    hold(ledger, "standby-c", host="two")
    large = SMALL.model_copy(update={"cpu": 2 * SMALL.cpu})
    decision = decide(ledger, an_ask(hosts=("one", "two"), size=large), NOW)
    assert (decision.host, decision.displaced) == ("two", (named("standby-c"),))


def test_no_standby_of_another_host_gives_way() -> None:
    one = Limits(environments=1)
    ledger = a_book(a_pool(), one=one, two=one)
    hold(ledger, "standby-a", host="two")
    hold(ledger, "standby-b", host="one")
    decision = admit(ledger, an_ask(hosts=("one",)), NOW)
    assert (decision.host, decision.displaced) == ("one", (named("standby-b"),))
    assert ledger.get("standby-a")


def test_no_standby_is_made_on_a_host_that_does_not_answer() -> None:
    ledger = a_book(a_pool(), one=Limits(environments=9), two=Limits(environments=1))
    room = ledger.hosts["one"]
    ledger.hosts["one"] = room.model_copy(update={"remark": "it does not answer"})
    ask = an_ask("standby-a", owner="", hosts=("one", "two"))
    assert decide_standby_place(ledger, ask, NOW) == "two"
    assert decide_standby_place(ledger, an_ask("standby-a", owner="", hosts=("one",)), NOW) == ""


def test_a_pool_that_is_wanted_again_begins_without_failures_and_demand() -> None:
    pool = a_pool(ready=1, most=9)
    ledger = a_book(pool)
    for number in range(MAX_FAILURES):
        hold(ledger, f"standby-{number}", ready=False)
        ledger.pools.report(f"standby-{number}", f"life-of-standby-{number}", "no such image")
    hold(ledger, "standby-a")
    admit(ledger, a_warm_ask(), NOW)
    admit(ledger, a_warm_ask("cold"), NOW)
    assert not ledger.pools.missing(pool, NOW)
    ledger.pools.want(PoolsInput(), NOW)
    # What is carried from run to run does not grow with every version of a template.
    left = ledger.pools.state
    assert (left.failures, left.taken, left.missed) == ({}, {}, {})
    ledger.pools.want(PoolsInput(pools=(pool,)), NOW)
    assert (ledger.pools.missing(pool, NOW), ledger.pools.target(pool, NOW)) == (1, 1)


def test_an_audit_hands_out_no_standby_whose_place_another_life_has() -> None:
    ledger = a_book(a_pool())
    hold(ledger, "standby-a")
    ledger.pools.standbys.clear()
    listed = FoundStandby(name="standby-a", life="another", pool="k", is_ready=True)
    apply_audit(ledger, an_audit(ledger, listed), set())
    assert ledger.pools.standbys == {}
    there = FoundStandby(name="standby-a", life="life-of-standby-a", pool="k", is_ready=True)
    apply_audit(ledger, an_audit(ledger, there), set())
    assert ledger.pools.standbys["standby-a"].is_ready


def an_audit(ledger: CapacityLedger, *standbys: FoundStandby) -> AuditResult:
    return AuditResult(hosts=tuple(ledger.hosts.values()), standbys=standbys)
