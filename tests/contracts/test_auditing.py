"""What an audit corrects: nothing is taken from a life that is open or may begin; nothing else is kept."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from contracts.capacity.audit import AuditResult
from contracts.capacity.ledger import CapacityLedger, to_epoch_seconds
from contracts.capacity.models import (
    START_GRACE,
    Amount,
    HostCapacity,
    Limits,
    Reservation,
)
from contracts.capacity.reconciliation import (
    MAX_LISTING_DELAY,
    LatestLife,
    apply_audit,
    ended_claims,
    sleep_differs,
)

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
YOUNG = to_epoch_seconds(NOW - START_GRACE + timedelta(seconds=5))
OLD = to_epoch_seconds(NOW - START_GRACE - timedelta(seconds=5))
SIZE = Amount(environments=1, cpu=1000, memory=2**30)


def held(*claims: tuple[str, int], name: str = "env", host: str = "one", owner: str = "alice") -> Reservation:
    return Reservation(name, owner, "blue", "small", host, SIZE, ends=to_epoch_seconds(NOW), claims=claims)


@pytest.mark.parametrize(
    ("claims", "latest", "over"),
    [
        pytest.param([("a", OLD)], LatestLife("a", open=True), [], id="open"),
        pytest.param([("a", YOUNG)], LatestLife("a", open=False), ["a"], id="closed"),
        pytest.param([("a", YOUNG)], None, [], id="young: may begin"),
        pytest.param([("a", OLD)], None, ["a"], id="old: never began"),
        pytest.param([("a", YOUNG)], LatestLife("before", open=False), [], id="young, after an earlier life"),
        pytest.param([("a", OLD)], LatestLife("later", open=True), ["a"], id="old, and another is open"),
        pytest.param(
            [("a", OLD), ("b", YOUNG), ("c", OLD)], LatestLife("a", open=True), ["c"], id="shared by several"
        ),
    ],
)
def test_which_claims_are_over(
    claims: list[tuple[str, int]], latest: LatestLife | None, over: list[str]
) -> None:
    """Ensures that a claim ends with its life, or when it is too old for a life that has not started."""
    assert [life for _, life, _ in ended_claims(held(*claims), latest, NOW)] == over


@pytest.mark.parametrize(
    ("before", "found", "ended", "after"),
    [
        pytest.param(held(("a", 1)), {"ended_claims": (("env", "a", 1),)}, set(), {}, id="over"),
        pytest.param(
            held(("a", 9)),
            {"ended_claims": (("env", "a", 1),)},
            set(),
            {"env": {"a"}},
            id="requested again meanwhile",
        ),
        pytest.param(None, {"adopted": (held(("a", 1)),)}, set(), {"env": {"a"}}, id="taken up"),
        pytest.param(None, {"adopted": (held(("a", 1)),)}, {"a"}, {}, id="over meanwhile: not taken up"),
        pytest.param(
            held(("b", 9)),
            {"adopted": (held(("a", 1)),)},
            set(),
            {"env": {"a", "b"}},
            id="beside one that may begin",
        ),
        pytest.param(
            held(("b", 9), owner="bob"),
            {"adopted": (held(("a", 1)),)},
            set(),
            {"env": {"a"}},
            id="instead of another life's",
        ),
    ],
)
def test_what_is_corrected(
    before: Reservation | None, found: dict[str, object], ended: set[str], after: dict[str, set[str]]
) -> None:
    """Ensures that what was found holds, but for what has changed while it was looked for."""
    book = CapacityLedger(reservations=[before] if before else [])
    apply_audit(book, AuditResult.model_validate(found), ended)
    assert {one.name: set(one.lives) for one in book} == after


def test_a_host_that_does_not_answer_has_what_it_last_said() -> None:
    """Ensures that an outage of a host changes nothing but what the settings say of it."""
    book = CapacityLedger([HostCapacity(name="one", total=Limits(cpu=4000, memory=2**30))])
    silent = HostCapacity(name="one", total=Limits(cpu=9000), known=False, remark="it does not answer")
    apply_audit(book, AuditResult(hosts=(silent,)), set())
    room = book.hosts["one"]
    assert (room.total, room.known) == (Limits(cpu=9000, memory=2**30), True)
    assert room.remark == "it does not answer"
    apply_audit(book, AuditResult(hosts=(HostCapacity(name="two", known=False),)), set())
    assert [(room.name, room.known) for room in book.hosts.values()] == [("two", False)]


@pytest.mark.parametrize(
    ("reserved", "listed", "age", "differs"),
    [
        pytest.param(False, True, 5, True, id="asleep, and holds CPU"),
        pytest.param(True, False, 5, True, id="awake, and holds none"),
        pytest.param(True, True, 5, False, id="asleep"),
        pytest.param(False, None, 5, False, id="falling asleep"),
        pytest.param(True, False, -5, False, id="the list may be late"),
    ],
)
def test_whether_it_sleeps_is_corrected(reserved: bool, listed: bool | None, age: int, differs: bool) -> None:
    changed = to_epoch_seconds(NOW - MAX_LISTING_DELAY) - age
    one = replace(held(("a", OLD)), asleep=reserved, changed=changed)
    assert sleep_differs(one, LatestLife("a", open=True, asleep=listed), NOW) is differs


@pytest.mark.parametrize(("changed", "asleep"), [(7, True), (8, False)])
def test_what_has_changed_since_the_audit_began_stays(changed: int, asleep: bool) -> None:
    book = CapacityLedger(reservations=[replace(held(("a", OLD)), changed=changed)])
    apply_audit(book, AuditResult(slept=(("env", True, 7), ("gone", True, 7))), set())
    assert [one.asleep for one in book] == [asleep]


def test_what_a_life_holds_is_not_taken_from_what_was_read_of_it() -> None:
    """Ensures that an adoption after a transfer does not shrink a change in progress, nor wake a sleeper."""
    larger = replace(
        held(("a", OLD)), size=SIZE.plus(SIZE), template="large", asleep=True, changed=7, settled=8
    )
    book = CapacityLedger(reservations=[larger])
    apply_audit(book, AuditResult(adopted=(held(("a", OLD), owner="bob"),)), set())
    assert list(book) == [replace(larger, owner="bob")]
