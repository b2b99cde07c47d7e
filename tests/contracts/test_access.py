"""Changes of access: which are left after an attempt, and which are done again because of a late response."""

from datetime import UTC, datetime, timedelta

import pytest

from contracts.environment.pending_access import AccessChanges

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(seconds=45)
ADA, BOB = "ada@example.com", "bob@example.com"


def test_the_latest_change_of_a_person_counts() -> None:
    """Ensures that one attempt never both grants and revokes the access of a person."""
    changes = AccessChanges().grant(ADA).revoke(BOB).revoke(ADA).grant(BOB)
    assert (changes.granting, changes.revoking) == ((BOB,), (ADA,))
    assert changes.without(ADA).without(BOB) == AccessChanges()


def test_nothing_is_left_after_an_attempt_without_doubt() -> None:
    done = AccessChanges().grant(ADA).revoke(BOB)
    assert done.after(done, NOW) == AccessChanges()


@pytest.mark.parametrize("again", [True, False])
def test_what_came_during_an_attempt_stays(again: bool) -> None:
    """Ensures that a person removed while they were being added is removed afterwards."""
    done = AccessChanges().grant(ADA)
    now = done.revoke(ADA) if again else done.grant(BOB)
    left = now.after(done, NOW)
    assert (left.granting, left.revoking) == (((), (ADA,)) if again else ((BOB,), ()))


def test_what_is_revoked_before_a_late_response_can_come_is_revoked_again_after_it() -> None:
    lost = AccessChanges().grant(ADA).doubt([ADA], LATER)
    revoking = lost.revoke(ADA)
    left = revoking.after(revoking, NOW + timedelta(seconds=1))
    assert left.revoking == (ADA,)
    assert left.waits_until(NOW + timedelta(seconds=2)) == LATER
    assert left.waits_until(LATER) is None
    assert left.after(left, LATER) == AccessChanges()


def test_a_doubt_about_one_person_holds_up_no_other() -> None:
    changes = AccessChanges().doubt([ADA], LATER).revoke(ADA).revoke(BOB)
    assert changes.waits_until(NOW) is None, "Bob's change would wait"
    left = changes.after(changes, NOW)
    assert left.revoking == (ADA,)


def test_an_attempt_does_not_doubt_its_own_success() -> None:
    """Ensures that a call that was repeated in the same direction needs no second attempt."""
    done = AccessChanges().grant(ADA)
    left = done.doubt([ADA], LATER).after(done, NOW)
    assert not left.is_pending
    assert left.revoke(ADA).after(left.revoke(ADA), NOW).is_pending, "the doubt is forgotten"


def test_a_doubt_during_an_attempt_keeps_the_opposite_change() -> None:
    before = AccessChanges().grant(ADA)
    during = before.doubt([ADA], LATER).revoke(ADA)
    assert during.after(before, NOW).revoking == (ADA,)
