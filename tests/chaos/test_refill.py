"""Ensures that each standby ends ready or gone, whatever befalls a step of it, and that its pool goes on.

All cases have one stack. Each wants another version of the template, so that one standby ends and another is
made.
"""

from collections.abc import AsyncIterator

import pytest

from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from tests.chaos.test_killed import MOMENTS, killed_in
from tests.support.fault_points import (
    AMBIGUITIES,
    ENDING_STANDBY,
    MAKING_STANDBY,
    called,
    calls,
    no_faults,
    strike,
)
from tests.support.stack import client_of, hurried
from tests.support.stand_ins import set_faults
from tests.support.warm_pools import PoolOfOne

pytestmark = pytest.mark.chaos

#: A worker that is killed before a call is done, and one that is killed after it.
KILLED = ("not done", "done, not answered")
REFUSED = Fault(kind=FaultKind.STATUS, status=403, times=1)


@pytest.fixture(scope="module")
async def refilled(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack whose templates keep no pool."""
    async with Stack(tmp_path_factory.mktemp("refilled"), hurried()) as stack:
        yield stack


@pytest.fixture
async def pool(refilled: Stack) -> AsyncIterator[PoolOfOne]:
    """A pool that a test wants; after the test nothing of it is left, and the pool can be filled again."""
    pool = PoolOfOne(refilled, await client_of(refilled))
    yield pool
    no_faults(refilled)
    await pool.want()
    await pool.is_whole()
    await pool.is_gone()


@pytest.mark.guarantee("1. Killed anywhere")
async def test_while_a_standby_is_started(refilled: Stack, pool: PoolOfOne) -> None:
    await pool.want()
    await refilled.kill(Part.WORKER)
    await refilled.start(Part.WORKER)
    await pool.is_whole()


@pytest.mark.guarantee("1. Killed anywhere")
@pytest.mark.parametrize("moment", KILLED)
@pytest.mark.parametrize("step", MAKING_STANDBY)
async def test_while_a_standby_is_made(refilled: Stack, pool: PoolOfOne, step: str, moment: str) -> None:
    await killed_in(refilled, *MAKING_STANDBY[step], MOMENTS[moment], pool.want)
    await pool.is_whole()


@pytest.mark.guarantee("1. Killed anywhere")
@pytest.mark.parametrize("moment", KILLED)
@pytest.mark.parametrize("step", ENDING_STANDBY)
async def test_while_a_standby_ends(refilled: Stack, pool: PoolOfOne, step: str, moment: str) -> None:
    await pool.want()
    await pool.is_whole()
    await killed_in(refilled, *ENDING_STANDBY[step], MOMENTS[moment], pool.want_none)
    await pool.is_gone()


@pytest.mark.guarantee("2. Fails anywhere")
@pytest.mark.parametrize("step", MAKING_STANDBY)
async def test_a_standby_that_fails_is_undone_and_another_made(
    refilled: Stack, pool: PoolOfOne, step: str
) -> None:
    strike(refilled, REFUSED, {step: MAKING_STANDBY[step]})
    await pool.want()
    failed = await pool.the_standby()
    await pool.is_whole()
    assert failed not in await pool.names()


@pytest.mark.guarantee("2. Fails anywhere")
@pytest.mark.parametrize("step", ENDING_STANDBY)
async def test_the_end_of_a_standby_that_fails_for_a_while(
    refilled: Stack, pool: PoolOfOne, step: str
) -> None:
    await pool.want()
    await pool.is_whole()
    strike(refilled, REFUSED, {step: ENDING_STANDBY[step]})
    await pool.is_gone()


@pytest.mark.guarantee("3. Cancelled anywhere")
@pytest.mark.parametrize("moment", [FaultKind.DELAY_BEFORE, FaultKind.DELAY_AFTER])
@pytest.mark.parametrize("step", MAKING_STANDBY)
async def test_a_standby_cancelled_in_a_step(
    refilled: Stack, pool: PoolOfOne, step: str, moment: FaultKind
) -> None:
    part, operation = MAKING_STANDBY[step]
    set_faults(refilled.url(part), Fault(operation=operation, kind=moment, seconds=1.5, times=1))
    before = calls(refilled, part, operation)
    await pool.want()
    await called(refilled, part, operation, before)
    await pool.cancel(await pool.the_standby())


@pytest.mark.guarantee("3. Cancelled anywhere")
async def test_a_standby_cancelled_while_it_waits(pool: PoolOfOne) -> None:
    await pool.want()
    [name] = await pool.is_ready()
    await pool.cancel(name)


@pytest.mark.guarantee("4. Ambiguous answers")
@pytest.mark.parametrize("kind", AMBIGUITIES)
async def test_answers_lost_while_a_standby_is_made(refilled: Stack, pool: PoolOfOne, kind: str) -> None:
    strike(refilled, AMBIGUITIES[kind], MAKING_STANDBY)
    await pool.want()
    await pool.is_whole()


@pytest.mark.guarantee("4. Ambiguous answers")
@pytest.mark.parametrize("kind", AMBIGUITIES)
async def test_answers_lost_while_a_standby_ends(refilled: Stack, pool: PoolOfOne, kind: str) -> None:
    await pool.want()
    await pool.is_whole()
    strike(refilled, AMBIGUITIES[kind], ENDING_STANDBY)
    await pool.is_gone()
