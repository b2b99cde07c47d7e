"""What is repaired, reported and ignored, and whose members are compared in which sweep."""

from datetime import UTC, datetime, timedelta

from contracts.environment.models import Drift
from contracts.phases import DriftKind, StepName
from contracts.reconcile.drift import (
    DEFAULT_REPAIR,
    MAX_MEMBER_LOOKS,
    Deviation,
    DriftedLife,
    DriftInput,
    key_of,
    kind_of,
    member_turn,
    merge_drift,
    settle_found,
)

NOW = datetime(2026, 11, 27, tzinfo=UTC)
ROLE = Deviation(step=StepName.ROLE_BINDING, what="group x has no role")
MISSING = Deviation(step=StepName.IDENTITY, what="bob is missing", members=DriftKind.MEMBERS)
EXTRA = Deviation(
    step=StepName.IDENTITY, what="user 7 is in it", members=DriftKind.EXTRA_MEMBERS, extra=("7",)
)
LOCAL = MISSING.model_copy(update={"step": StepName.ROLE_BINDING})


def test_missing_members_are_repaired_and_extra_ones_reported_unless_the_settings_say_otherwise() -> None:
    found, steps = settle_found((ROLE, MISSING, EXTRA), repair=DEFAULT_REPAIR, ignore=())
    assert steps == (StepName.ROLE_BINDING,)
    assert [one.repairs for one in found] == [False, True, False]
    found, steps = settle_found((MISSING, EXTRA), repair=(DriftKind.EXTRA_MEMBERS,), ignore=())
    assert ([one.repairs for one in found], steps) == ([False, True], ())
    found, _ = settle_found((ROLE, MISSING, EXTRA), repair=(), ignore=(DriftKind.EXTRA_MEMBERS,))
    assert [kind_of(one) for one in found] == [DriftKind.ROLE_BINDING, DriftKind.MEMBERS]


def test_members_alone_do_not_have_the_step_repaired() -> None:
    """Ensures that a role that is only reported stays as it is when the members beside it are repaired."""
    found, steps = settle_found((ROLE, LOCAL), repair=(DriftKind.MEMBERS,), ignore=())
    life = DriftedLife(name="demo", life="1", found=found, repair=steps)
    assert life.is_to_repair
    drift = merge_drift((), DriftInput(life="1", actor="a", found=found, repair=steps), NOW)
    assert [(kind_of(one), one.repairs) for one in drift] == [
        (DriftKind.ROLE_BINDING, False),
        (DriftKind.MEMBERS, True),
    ]


def test_what_waits_for_a_person_is_only_reported() -> None:
    found, steps = settle_found((ROLE, MISSING), repair=DEFAULT_REPAIR, ignore=())
    life = DriftedLife(name="demo", life="1", found=found, repair=steps)
    assert life.is_to_repair
    assert not life.only_reported.is_to_repair
    assert [one.what for one in life.only_reported.found] == [ROLE.what, MISSING.what]


def test_the_members_of_two_groups_have_times_of_their_own() -> None:
    first = merge_drift((), DriftInput(life="1", actor="a", found=(MISSING,)), NOW)
    later = NOW + timedelta(hours=1)
    both = merge_drift(first, DriftInput(life="1", actor="a", found=(LOCAL, MISSING)), later)
    assert [(key_of(one), one.since) for one in both] == [
        ((StepName.ROLE_BINDING, DriftKind.MEMBERS), later),
        ((StepName.IDENTITY, DriftKind.MEMBERS), NOW),
    ]


def test_drift_of_before_has_its_kind() -> None:
    old = Drift.model_validate(
        {"step": "namespace", "system": "host cluster", "what": "w", "since": NOW, "guards": True}
    )
    assert kind_of(old) is DriftKind.GUARDS


def test_every_life_has_its_turn() -> None:
    few = [f"{number}" for number in range(MAX_MEMBER_LOOKS)]
    assert member_turn(few, NOW) == set(few)
    many = [f"{number:04}" for number in range(3 * MAX_MEMBER_LOOKS + 7)]
    turns = [member_turn(many, NOW + number * timedelta(minutes=30)) for number in range(4)]
    assert {len(turn) for turn in turns} == {MAX_MEMBER_LOOKS}
    assert frozenset().union(*turns) == set(many)
    assert member_turn(many, NOW + timedelta(minutes=10)) == turns[0], "a dry run looks at the same ones"
