"""Ensures that who fails too often is slowed down, that others are not, and that it costs little memory."""

from starter.auth.rate_limit import Throttle


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_then_one_in_a_while() -> None:
    clock = Clock()
    throttle = Throttle(3, 0.5, clock=clock)
    assert [throttle.record("a") for _ in range(3)] == [None] * 3
    first, second = throttle.record("a"), throttle.record("a")
    assert first
    assert second
    assert (first.retry_after, first.is_first, second.is_first) == (2, True, False)
    assert throttle.record("b") is None
    clock.now = 2.0
    assert throttle.record("a") is None
    again = throttle.record("a")
    assert again
    assert again.is_first
    clock.now = 1000.0
    assert [throttle.record("a") for _ in range(4)].count(None) == 3


def test_many_addresses_are_forgotten_the_oldest_first() -> None:
    throttle = Throttle(1, 0.001, remembered=100)
    for number in range(1000):
        assert throttle.record(str(number)) is None
    assert len(throttle) == 100
    assert throttle.record("999")
    assert throttle.record("0") is None


def test_one_that_costs_more_leaves_less_for_others() -> None:
    clock = Clock()
    throttle = Throttle(10, 1.0, clock=clock)
    assert throttle.record("a", 8) is None
    limited = throttle.record("a", 5)
    assert limited
    assert limited.retry_after == 3
    assert throttle.record("a", 2) is None
    clock.now = 9.0
    # More than the burst: it needs all of it.
    assert throttle.record("a", 99)
    clock.now = 10.0
    assert throttle.record("a", 99) is None
