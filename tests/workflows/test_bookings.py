"""Bookings on a real Temporal server: room is held, each code is good once, and all ends together."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from activities import booking_end
from activities.capacity import booking_audit
from contracts.booking_workflow import BookingPhase, BookingStatus
from contracts.bookings import booking_id
from contracts.capacity import reconciliation
from contracts.capacity.audit import ReservationList
from contracts.capacity.models import CAPACITY_ID
from contracts.environment.models import MOORAGE_ACTOR, Outcome, Phase
from contracts.environment_workflow import ActorInput, ExtendInput
from contracts.errors import Refusal, RefusalReason
from contracts.standby import StandbyEnd, StandbyResult
from contracts.temporal import workflow_memo
from contracts.types.naming import STANDBY_NAME_START, name_from_workflow_id, workflow_id
from starter.bookings.codes import hash_code, is_of_booking, make_code, read_code
from starter.bookings.reader import BookingNotFound
from starter.bookings.schemas import BookingCodes
from starter.bookings.service import BookingService, WrongCode
from starter.environments.requests import service as requests_module
from starter.temporal.errors import TemporalUnavailable
from starter.temporal.updates import NoCapacity, Refused
from tests.support.deadline import HANG
from tests.workflows.booking import PIA, BookingBench, patiently, person
from tests.workflows.conftest import accepted_updates, until
from tests.workflows.house import CapacityBench, a_house, most
from tests.workflows.scripted_activities import Outcome as Deed
from tests.workflows.scripted_activities import fails_for_good, waits, waits_for
from tests.workflows.test_pools import LostStarts
from workflows import booking as booking_module
from workflows.capacity import warm_pools as pools_module
from workflows.capacity.workflow import CapacityWorkflow
from workflows.environment.workflow import EnvironmentWorkflow
from workflows.standby import StandbyWorkflow

pytestmark = pytest.mark.slow

SHORT = timedelta(milliseconds=100)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools_module, "QUIET_TIME", SHORT)
    monkeypatch.setattr(pools_module, "LOOK_INTERVAL", timedelta(milliseconds=300))
    monkeypatch.setattr(booking_module, "FIRST_PAUSE", SHORT)
    monkeypatch.setattr(booking_module, "LONGEST_PAUSE", SHORT)
    monkeypatch.setattr(booking_module, "FREEZE_PAUSE", SHORT)
    # A claim whose life has not started, and a hold whose booking has not, are over after this time.
    monkeypatch.setattr(booking_audit, "START_GRACE", timedelta(seconds=1))


@pytest.fixture
async def house(namespace: WorkflowEnvironment) -> AsyncIterator[CapacityBench]:
    async with (
        a_house({"one": most(4)}, audit=timedelta(seconds=1), server=namespace) as house,
        house.worker(),
    ):
        yield house


@pytest.fixture
def bench(house: CapacityBench) -> BookingBench:
    return BookingBench(house)


async def end_of(bench: BookingBench, event: str = "kurs") -> BookingStatus:
    """Wait for the end of the booking; nothing of it holds a place then."""
    try:
        async with asyncio.timeout(HANG):
            status = await bench.handle(event).result()
    except TimeoutError:
        pytest.fail(f"it has not ended: {await bench.status(event)}")
    assert status.phase is BookingPhase.ENDED
    assert await bench.held(event) == 0
    assert not await known_of(bench, status.life)
    return status


async def known_of(bench: BookingBench, life: str) -> list[str]:
    """What the capacity knows of a booking: seats, standbys, and standbys that leave and have no room."""
    handle: WorkflowHandle[Any, Any] = bench.house.client.get_workflow_handle(CAPACITY_ID)
    found: ReservationList = await handle.query(CapacityWorkflow.reservations)
    return [one.name for one in found.reservations if one.booking == life]


async def test_from_the_booking_to_its_one_certificate(bench: BookingBench) -> None:
    made = await bench.book(3)
    assert [one.seat for one in made.codes] == ["kurs-01", "kurs-02", "kurs-03"]
    await bench.until_standbys(3)
    for number, who in enumerate(("ann", "ben")):
        done = await bench.redeem(made.codes[number].code, who)
        assert done.environment
        assert done.environment.owner == f"{who}@example.com"
        await bench.until_ready(done.name)
        handle = bench.house.handle(done.name)
        environment = (await handle.query(EnvironmentWorkflow.status)).environment
        assert environment.standby, "it was made although a standby was ready"
        assert environment.booking
    seats = (await bench.status()).seats
    assert [seat.person for seat in seats] == ["ann@example.com", "ben@example.com", ""]
    await bench.end()
    status = await end_of(bench)
    assert status.ended_by == PIA.email
    ended = {place.name: place for place in status.ended}
    assert {"kurs-01", "kurs-02"} <= set(ended)
    assert ended["kurs-01"].outcome is Outcome.DELETED
    assert all(place.certificate for place in status.ended)
    assert status.nothing_left
    assert not await bench.house.held()
    view = await bench.read()
    assert (view.taken, view.nothing_left) == (2, True)
    # A booking of the same name later has nothing to do with this one.
    assert (await bench.book(2)).booking.taken == 0


async def test_its_room_is_held_from_the_booking_on_and_free_after_it(bench: BookingBench) -> None:
    await bench.book(3, starts_in=timedelta(days=3), ends_in=timedelta(days=4))
    await bench.house.until_audited(2)
    await bench.house.request("demo")
    with pytest.raises(NoCapacity):
        await bench.house.request("other")
    with pytest.raises(NoCapacity) as refused:
        await bench.book(2, "lab")
    assert "lab asks for 2 seats from small; host one has room for 0." in refused.value.refusal.message
    assert "kurs holds 3" in refused.value.refusal.message
    with pytest.raises(BookingNotFound):
        await bench.service.reader.read("lab")
    assert await bench.open_standbys() == []
    await bench.end()
    assert (await end_of(bench)).ended == ()
    await bench.house.request("other")


async def test_bookings_and_requests_race_for_the_last_places(bench: BookingBench) -> None:
    async def book(event: str) -> int:
        try:
            await bench.book(2, event, starts_in=timedelta(days=1), ends_in=timedelta(days=2))
        except NoCapacity:
            return 0
        return 2

    async def ask(name: str) -> int:
        try:
            await bench.house.request(name)
        except NoCapacity:
            return 0
        return 1

    got = await asyncio.gather(*(call(f"{name}") for name in "abcd" for call in (book, ask)))
    assert sum(got) in (3, 4)
    state = await bench.house.state()
    assert state.hosts[0].reserved.environments == sum(got)


async def test_of_two_people_with_one_code_one_gets_the_seat_and_repeats_are_answered(
    bench: BookingBench,
) -> None:
    made = await bench.book(4)
    for number, one in enumerate(made.codes):
        people = [f"p{number}-{turn}" for turn in range(6) for _ in range(2)]
        answers = await asyncio.gather(
            *(bench.redeem(one.code, who) for who in people), return_exceptions=True
        )
        pairs = zip(people, answers, strict=True)
        winners = {who for who, answer in pairs if not isinstance(answer, Exception)}
        assert len(winners) == 1
        assert {type(answer) for answer in answers if isinstance(answer, Exception)} == {WrongCode}
        seat = next(seat for seat in (await bench.status()).seats if seat.name == one.seat)
        assert {seat.person} == {f"{who}@example.com" for who in winners}
    assert (await bench.status()).taken == 4


async def test_the_same_person_gets_the_same_seat_again_also_when_its_environment_has_ended(
    bench: BookingBench,
) -> None:
    made = await bench.book()
    code = made.codes[0].code
    first = await bench.redeem(code, "ann")
    again = await bench.redeem(code.lower().replace("-", " "), "ann")
    assert (again.name, again.life, again.kind) == (first.name, first.life, "joined")
    handle = bench.house.handle("kurs-01")
    await handle.execute_update(EnvironmentWorkflow.delete, ActorInput(life=first.life, actor="ann"))
    await handle.result()
    another = await bench.redeem(code, "ann")
    assert another.name == first.name
    assert another.life != first.life
    assert await bench.held() == 2


async def test_codes_that_are_not_good_are_all_answered_alike_and_leave_no_trace(bench: BookingBench) -> None:
    made = await bench.book(2)
    other = await bench.book(2, "lab")
    await bench.redeem(made.codes[0].code, "ann")
    life = (await bench.status()).life
    before = await accepted_updates(bench.handle())
    for code in (
        "",
        "K7QF",
        "0000-0000-0000-0000",
        make_code(life),
        made.codes[0].code,
        f"{other.codes[0].code[:4]}{made.codes[1].code[4:]}",
        "ß" * 16,
        "A" * 10_000,
    ):
        with pytest.raises(WrongCode):
            await bench.redeem(code, "eve")
    assert await accepted_updates(bench.handle()) == before
    await bench.end()
    await end_of(bench)
    with pytest.raises(WrongCode):
        await bench.redeem(made.codes[1].code, "eve")
    with pytest.raises(WrongCode):
        await bench.redeem(made.codes[0].code, "ann")


async def test_each_person_has_one_seat(bench: BookingBench) -> None:
    made = await bench.book()
    await bench.redeem(made.codes[0].code, "ann")
    with pytest.raises(Refused, match="You have a seat of kurs already, kurs-01"):
        await bench.redeem(made.codes[1].code, "ann")
    await bench.redeem(made.codes[1].code, "ben")


async def test_codes_are_good_from_a_quarter_of_an_hour_before_the_begin(bench: BookingBench) -> None:
    made = await bench.book(starts_in=timedelta(minutes=16))
    with pytest.raises(Refused, match="its codes are good from"):
        await bench.redeem(made.codes[0].code, "ann")
    assert await bench.open_standbys() == []
    soon = await bench.book(2, "lab", starts_in=timedelta(minutes=14))
    await bench.redeem(soon.codes[0].code, "ann")


async def test_new_codes_replace_those_of_free_seats(bench: BookingBench) -> None:
    made = await bench.book(3)
    await bench.redeem(made.codes[0].code, "ann")
    new = await bench.renew_codes()
    assert [one.seat for one in new.codes] == ["kurs-02", "kurs-03"]
    await bench.redeem(made.codes[0].code, "ann")
    with pytest.raises(WrongCode):
        await bench.redeem(made.codes[1].code, "ben")
    assert (await bench.redeem(new.codes[0].code, "ben")).name == "kurs-02"


async def test_no_code_is_in_a_history(bench: BookingBench) -> None:
    made = await bench.book()
    await bench.redeem(made.codes[0].code, "ann")
    for id in (booking_id("kurs"), CAPACITY_ID, workflow_id("kurs-01")):
        history = await bench.house.client.get_workflow_handle(id).fetch_history()
        for one in made.codes:
            assert one.code not in history.to_json()
            assert read_code(one.code) not in history.to_json()


async def test_it_ends_at_its_time_also_in_the_middle_of_provisioning(bench: BookingBench) -> None:
    bench.house.script.before["vcluster.ensure"] = waits
    made = await bench.book(2, ends_in=timedelta(seconds=12))
    await bench.redeem(made.codes[0].code, "ann")
    status = await end_of(bench)
    assert status.ended_by == MOORAGE_ACTOR
    [seat] = [place for place in status.ended if place.name == "kurs-01"]
    assert seat.outcome is Outcome.DELETED
    assert seat.certificate
    assert bench.house.script.world == set()


async def test_its_end_waits_for_the_end_of_a_freeze_and_no_seat_is_given_meanwhile(
    bench: BookingBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = ["audit of the year"]

    async def reason(_: Client) -> str:
        return frozen[0]

    monkeypatch.setattr(booking_end, "freeze_reason", reason)
    made = await bench.book(2, ends_in=timedelta(seconds=12))
    await bench.redeem(made.codes[0].code, "ann")

    async def waits_for_it() -> bool:
        return (await bench.status()).frozen == "audit of the year"

    await until(waits_for_it, "its end waits")
    with pytest.raises(WrongCode):
        await bench.redeem(made.codes[1].code, "ben")
    assert await bench.held() == 2
    frozen[0] = ""
    assert (await end_of(bench)).nothing_left


async def test_a_teardown_that_is_stuck_is_shown_and_ended_when_it_can_be(bench: BookingBench) -> None:
    made = await bench.book(2)
    await bench.redeem(made.codes[0].code, "ann")
    await bench.until_ready("kurs-01")
    bench.house.script.before["vcluster.remove"] = fails_for_good()
    assert (await bench.end()).phase is BookingPhase.ENDING

    async def is_shown() -> bool:
        view = await bench.read()
        return "kurs-01" in [place.name for place in view.left]

    await until(is_shown, "it is shown as left")
    assert (await bench.status()).phase is BookingPhase.ENDING
    assert await bench.held() == 0
    del bench.house.script.before["vcluster.remove"]
    assert (await end_of(bench)).nothing_left


async def test_an_environment_that_could_not_be_made_can_be_asked_for_again_and_has_its_certificate(
    bench: BookingBench,
) -> None:
    bench.house.script.before["project.ensure"] = fails_for_good()
    made = await bench.book(2)
    await bench.redeem(made.codes[0].code, "ann")
    with pytest.raises(Exception, match="Workflow execution failed"):
        await bench.house.handle("kurs-01").result()
    del bench.house.script.before["project.ensure"]
    await bench.redeem(made.codes[0].code, "ann")
    await bench.until_ready("kurs-01")
    bench.house.script.before["project.ensure"] = fails_for_good()
    await bench.redeem(made.codes[1].code, "ben")
    with pytest.raises(Exception, match="Workflow execution failed"):
        await bench.house.handle("kurs-02").result()
    await bench.end()
    ended = {place.name: place for place in (await end_of(bench)).ended}
    assert ended["kurs-02"].outcome is Outcome.FAILED
    assert ended["kurs-02"].certificate


async def test_a_booking_that_is_cancelled_in_temporal_ends_as_well(bench: BookingBench) -> None:
    await bench.book(1)
    await bench.until_standbys(1)
    await bench.handle().cancel()
    assert (await end_of(bench)).ended_by


@pytest.mark.parametrize("has_place", [True, False], ids=["with its place", "after an audit"])
async def test_a_standby_that_was_terminated_keeps_the_booking_open_and_says_what_to_do(
    bench: BookingBench, has_place: bool
) -> None:
    """Ensures that its vCluster, which is still there, is not certified to be gone."""
    await bench.book(1)
    await bench.until_standbys(1)
    [standby] = await bench.open_standbys()
    await bench.house.client.get_workflow_handle(standby).terminate()
    if not has_place:
        await bench.house.until_audited(1)
    await bench.end()
    command = f"moorage teardown {name_from_workflow_id(standby)} --force"

    async def says_it() -> bool:
        return any(command in place.why for place in (await bench.status()).left)

    await until(says_it, "it says what to do")
    await bench.handle().terminate()


async def test_a_seat_that_was_terminated_keeps_the_booking_open_and_says_what_to_do(
    bench: BookingBench,
) -> None:
    made = await bench.book(1)
    await bench.redeem(made.codes[0].code, "ann")
    await bench.until_ready("kurs-01")
    await bench.house.handle("kurs-01").terminate()
    await bench.end()

    async def says_it() -> bool:
        left = (await bench.status()).left
        return any("moorage teardown kurs-01 --force" in place.why for place in left)

    await until(says_it, "it says what to do")
    await bench.handle().terminate()


async def test_a_capacity_workflow_that_was_terminated_holds_its_room_again(bench: BookingBench) -> None:
    made = await bench.book(3)
    await bench.until_standbys(3)
    await bench.redeem(made.codes[0].code, "ann")
    await bench.until_standbys(2)
    await bench.house.client.get_workflow_handle(CAPACITY_ID).terminate()
    await bench.house.request("demo")
    with pytest.raises(NoCapacity):
        await bench.house.request("other")
    assert await bench.held() == 3
    await bench.until_standbys(2)
    done = await bench.redeem(made.codes[1].code, "ben")
    assert done.name == "kurs-02"
    await bench.house.client.get_workflow_handle(CAPACITY_ID).terminate()
    await bench.house.reservations.ensure_started()
    await bench.end()
    assert (await end_of(bench)).nothing_left


async def test_a_booking_that_was_terminated_holds_nothing_any_more(bench: BookingBench) -> None:
    await bench.book(3)
    await bench.until_standbys(3)
    await bench.handle().terminate()

    async def is_free() -> bool:
        return await bench.held() == 0 and not await bench.open_standbys()

    await until(is_free, "its room is free, and its standbys are gone")
    await bench.house.until_held()
    assert "closed from outside" in (await bench.read()).remark


@pytest.mark.parametrize("is_done", [True, False], ids=["after it was done", "before it was done"])
async def test_a_start_whose_answer_is_lost_is_held_if_it_was_done_and_else_given_back(
    bench: BookingBench, monkeypatch: pytest.MonkeyPatch, is_done: bool
) -> None:
    start = Client.start_workflow

    async def losing(client: Client, workflow: Any, *arguments: Any, **options: Any) -> Any:
        if not options["id"].startswith("booking/"):
            return await start(client, workflow, *arguments, **options)
        if is_done:
            await start(client, workflow, *arguments, **options)
        raise RPCError("the connection is lost", RPCStatusCode.UNAVAILABLE, b"")

    monkeypatch.setattr(Client, "start_workflow", losing)
    with pytest.raises(TemporalUnavailable):
        await bench.book(2)
    monkeypatch.setattr(Client, "start_workflow", start)
    assert await bench.held() == 2
    if not is_done:

        async def is_free() -> bool:
            return await bench.held() == 0

        await until(is_free, "its room is free")
        await bench.book(2)
        return
    await bench.house.until_audited(2)
    assert await bench.held() == 2
    with pytest.raises(Refused, match="booked already"):
        await bench.book(2)
    new = await bench.renew_codes()
    await bench.redeem(new.codes[0].code, "ann")


async def test_the_same_request_goes_on_where_the_one_of_before_was_cut_off(
    bench: BookingBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = bench.wanted(2)
    with monkeypatch.context() as patched:
        patched.setattr(BookingService, "_start", is_killed_before_the_start)
        with pytest.raises(TemporalUnavailable):
            await bench.service.book(wanted, PIA)
    for who, other in ((person("bob"), wanted), (PIA, replace(wanted, seats=1))):
        with pytest.raises(Refused, match=r"kurs is held by another request .* or try again after 20.* UTC"):
            await bench.service.book(other, who)
    made = await patiently(lambda: bench.service.book(wanted, PIA))
    assert await bench.held() == 2
    assert (await bench.redeem(made.codes[1].code, "ann")).name == "kurs-02"
    with pytest.raises(Refused, match="booked already"):
        await bench.service.book(wanted, PIA)
    await bench.house.until_audited(2)
    assert await bench.held() == 2


async def test_of_the_same_request_at_the_same_moment_one_books(bench: BookingBench) -> None:
    """Ensures that the others do not give its room back."""
    wanted = bench.wanted(2)
    answers = await asyncio.gather(
        *(patiently(lambda: bench.service.book(wanted, PIA)) for _ in range(4)), return_exceptions=True
    )
    [made] = [one for one in answers if isinstance(one, BookingCodes)]
    assert {type(one) for one in answers} == {BookingCodes, Refused}
    await bench.redeem(made.codes[0].code, "ann")
    assert await bench.held() == 2


async def test_the_same_request_after_the_end_is_another_booking(bench: BookingBench) -> None:
    wanted = bench.wanted(2)
    await patiently(lambda: bench.service.book(wanted, PIA))
    await bench.end()
    first = await end_of(bench)
    again = await patiently(lambda: bench.service.book(wanted, PIA))
    assert again.booking.event == "kurs"
    assert (await bench.status()).life != first.life
    assert await bench.held() == 2


async def test_a_start_that_temporal_rejects_holds_nothing(
    bench: BookingBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def rejecting(*_: Any, **options: Any) -> Any:
        assert options["id"] == booking_id("kurs")
        raise RPCError("it is refused", RPCStatusCode.PERMISSION_DENIED, b"")

    with monkeypatch.context() as patched:
        patched.setattr(Client, "start_workflow", rejecting)
        with pytest.raises(TemporalUnavailable):
            await bench.book(2)
    assert await bench.held() == 0


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_pass_that_fails_or_is_cut_is_made_again(
    bench: BookingBench, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Its answer is lost, or it was never done: what has ended is not ended twice."""
    look, failed = booking_end.Bookings._look, list[str]()

    async def failing(self: Any, name: str, *arguments: Any, **options: Any) -> Any:
        if moment == "before" and name not in failed:
            failed.append(name)
            raise RPCError("the connection is lost", RPCStatusCode.UNAVAILABLE, b"")
        result = await look(self, name, *arguments, **options)
        if name not in failed:
            failed.append(name)
            raise RPCError("the connection is lost", RPCStatusCode.UNAVAILABLE, b"")
        return result

    made = await bench.book(2)
    await bench.redeem(made.codes[0].code, "ann")
    monkeypatch.setattr(booking_end.Bookings, "_look", failing)
    await bench.end()
    status = await end_of(bench)
    assert failed
    assert status.nothing_left


async def is_killed_before_the_start(*_: Any) -> None:
    """What an API that is killed between the place and the start of an environment does then."""
    raise TemporalUnavailable


async def test_a_person_whose_api_was_killed_gets_the_same_standby_by_asking_again(
    bench: BookingBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await bench.book(2)
    await bench.until_standbys(2)
    code = made.codes[0].code
    with monkeypatch.context() as patched:
        patched.setattr(requests_module, "start_environment", is_killed_before_the_start)
        with pytest.raises(TemporalUnavailable):
            await bench.redeem(code, "ann")
    [given] = {name_from_workflow_id(id) for id in await bench.open_standbys()} - {*await bench.house.held()}
    done = await bench.redeem(code, "ann")
    await bench.until_ready("kurs-01")
    environment = (await bench.house.handle("kurs-01").query(EnvironmentWorkflow.status)).environment
    assert environment.standby
    assert environment.standby.name == given
    place = (await bench.house.held())["kurs-01"]
    assert place.lives == {done.life}, "there is a claim of a life that never starts"


@pytest.mark.parametrize("has_ended", [False, True], ids=["it is not started", "it has ended"])
async def test_a_repeat_at_the_same_moment_leads_to_one_life(bench: BookingBench, has_ended: bool) -> None:
    made = await bench.book(2)
    code = made.codes[0].code
    former = ""
    if has_ended:
        former = (await bench.redeem(code, "ann")).life
        handle = bench.house.handle("kurs-01")
        await handle.execute_update(EnvironmentWorkflow.delete, ActorInput(life=former, actor="ann"))
        await handle.result()
    answers = await asyncio.gather(*(bench.redeem(code, "ann") for _ in range(4)))
    [life] = {answer.life for answer in answers}
    assert life not in ("", former)
    assert sorted({answer.kind for answer in answers}) in (["created"], ["created", "joined"])


async def test_a_standby_that_was_given_to_a_person_who_does_not_ask_again_is_replaced(
    bench: BookingBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensures that it ends with the place that is taken back, and not minutes later."""
    made = await bench.book(1)
    await bench.until_standbys(1)
    standby = await the_standby(bench)
    monkeypatch.setattr(requests_module, "start_environment", is_killed_before_the_start)
    with pytest.raises(TemporalUnavailable):
        await bench.redeem(made.codes[0].code, "ann")
    # After this time it cannot start any more, and the next audit takes its place back.
    monkeypatch.setattr(reconciliation, "START_GRACE", timedelta(seconds=1))
    handle = bench.house.client.get_workflow_handle(workflow_id(standby), result_type=StandbyResult)
    async with asyncio.timeout(HANG):
        result = await handle.result()
    assert (result.end, result.reason) == (StandbyEnd.ENDED, "kurs-01, which was given it, has ended")
    await bench.until_standbys(1)
    assert await the_standby(bench) != standby


async def test_a_seat_that_has_a_place_and_may_still_start_keeps_the_booking_open(
    bench: BookingBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensures that for a person whose API was killed before it started the environment."""
    made = await bench.book(2)
    monkeypatch.setattr(requests_module, "start_environment", is_killed_before_the_start)
    with pytest.raises(TemporalUnavailable):
        await bench.redeem(made.codes[0].code, "ann")
    await bench.end()

    async def is_left() -> bool:
        left = {place.name: place.why for place in (await bench.status()).left}
        return left.get("kurs-01") == "it has a place, and may still start"

    await until(is_left, "it is shown as left")
    await bench.house.until_audited(2)
    assert (await bench.status()).phase is BookingPhase.ENDING
    # After this time it cannot start any more, and the next audit takes its place back.
    monkeypatch.setattr(reconciliation, "START_GRACE", timedelta(0))
    status = await end_of(bench)
    [seat] = [place for place in status.ended if place.name == "kurs-01"]
    assert seat.remark == booking_end.NO_RECORD
    assert status.nothing_left


async def test_a_standby_that_no_list_shows_yet_is_in_the_certificate(
    bench: BookingBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensures that although lists are late, and the capacity has ended the standby before anybody looks."""
    held = booking_end.Bookings._held

    async def look_later(self: Any, input: Any) -> frozenset[str]:
        async def is_ended() -> bool:
            return not await patiently(bench.house.reservations.list_pools)

        await until(is_ended, "the capacity has no pool of the booking any more")
        return await held(self, input)

    await bench.book(2)
    await bench.until_standbys(2)
    names = {id.removeprefix("environment/") for id in await bench.open_standbys()}
    monkeypatch.setattr(booking_end.Bookings, "_list_left", list_nothing)
    monkeypatch.setattr(booking_end.Bookings, "_held", look_later)
    await bench.end()
    status = await end_of(bench)
    assert {place.name for place in status.ended} == names
    assert all(place.certificate for place in status.ended)
    assert status.nothing_left
    await bench.house.until_held()


async def list_nothing(*_: Any) -> list[str]:
    """What a list of Temporal shows that is late."""
    return []


async def the_standby(bench: BookingBench) -> str:
    """The name of the only one that there is."""
    found: list[str] = []

    async def is_there() -> bool:
        found[:] = [name for name in await patiently(bench.house.held) if name.startswith(STANDBY_NAME_START)]
        return bool(found)

    await until(is_there, "there is a standby")
    [name] = found
    return name


def holds_up(standby: str, go_on: asyncio.Event) -> Deed:
    """A deed that waits for `go_on` if it is done for this standby."""
    wait = waits_for(go_on)

    async def deed() -> None:
        if activity.info().workflow_id == workflow_id(standby):
            await wait()

    return deed


async def ends_when_it_is_gone(bench: BookingBench, standby: str, go_on: asyncio.Event) -> None:
    """Ensures that the booking waits for the standby alone, whose teardown `go_on` lets end."""

    async def is_left_alone() -> bool:
        status = await bench.status()
        assert status.phase is not BookingPhase.ENDED, "it has ended before the standby"
        return [place.name for place in status.left] == [standby]

    await until(is_left_alone, "it waits for the standby alone")
    go_on.set()
    status = await end_of(bench)
    [place] = [place for place in status.ended if place.name == standby]
    assert place.certificate
    assert status.nothing_left


@pytest.mark.parametrize("why", ["a seat takes its place", "its seat ends before it takes it over"])
async def test_a_standby_that_leaves_before_the_end_is_in_the_certificate(
    bench: BookingBench, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """Ensures that although no list shows it yet."""
    script, go_on = bench.house.script, asyncio.Event()
    is_displaced = why == "a seat takes its place"
    if is_displaced:
        script.before["vcluster.ensure"] = waits
    made = await bench.book(1)
    if not is_displaced:
        await bench.until_standbys(1)
        script.before["project.ensure"] = fails_for_good()
    standby = await the_standby(bench)
    script.before["vcluster.remove"] = holds_up(standby, go_on)
    monkeypatch.setattr(booking_end.Bookings, "_list_left", list_nothing)
    await bench.redeem(made.codes[0].code, "ann")
    if not is_displaced:
        with pytest.raises(Exception, match="Workflow execution failed"):
            await bench.house.handle("kurs-01").result()
    await bench.end()
    await ends_when_it_is_gone(bench, standby, go_on)


async def test_a_standby_that_leaves_before_the_end_because_of_a_freeze_is_in_the_certificate(
    bench: BookingBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensures that for one that the capacity ends at the time at which the booking would have ended."""
    frozen, go_on = ["audit of the year"], asyncio.Event()

    async def reason(_: Client) -> str:
        return frozen[0]

    monkeypatch.setattr(booking_end, "freeze_reason", reason)
    monkeypatch.setattr(booking_end.Bookings, "_list_left", list_nothing)
    await bench.book(1, ends_in=timedelta(seconds=12))
    await bench.until_standbys(1)
    standby = await the_standby(bench)
    bench.house.script.before["vcluster.remove"] = holds_up(standby, go_on)
    handle: WorkflowHandle[Any, Any] = bench.house.client.get_workflow_handle(workflow_id(standby))

    async def leaves() -> bool:
        return (await handle.query(StandbyWorkflow.status)).phase is Phase.TEARING_DOWN

    await until(leaves, "its pool wants it no more")
    assert (await bench.status()).phase is BookingPhase.OPEN
    frozen[0] = ""
    await ends_when_it_is_gone(bench, standby, go_on)


async def test_a_standby_that_was_taken_over_is_forgotten_when_it_has_closed(
    namespace: WorkflowEnvironment,
) -> None:
    """Ensures that without an audit: the booking has ended, and nothing of it is held."""
    hosts, hour = {"one": most(4)}, timedelta(hours=1)
    async with a_house(hosts, audit=hour, server=namespace) as house, house.worker():
        bench = BookingBench(house)
        made = await bench.book(1)
        await bench.until_standbys(1)
        standby = await the_standby(bench)
        await bench.redeem(made.codes[0].code, "ann")
        await bench.until_ready("kurs-01")
        status = await house.handle("kurs-01").query(EnvironmentWorkflow.status)
        house.script.takers[standby] = status.environment.mark
        assert sorted(await known_of(bench, (await bench.status()).life)) == ["kurs-01", standby]
        # It has the room of its standby, and not that of another.
        assert list(await house.held()) == ["kurs-01"]
        assert (await house.state()).reservations == 1
        await bench.end()
        assert [place.name for place in (await end_of(bench)).ended] == ["kurs-01"]


async def test_a_standby_whose_start_was_not_answered_keeps_its_place(
    namespace: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensures that without an audit, for one that has started all the same: the booking waits for it."""
    monkeypatch.setattr(pools_module, "START_TIMEOUT", timedelta(seconds=2))
    losing = LostStarts(True, None)
    monkeypatch.setattr(Client, "start_workflow", losing.wrap(Client.start_workflow))
    monkeypatch.setattr(booking_end.Bookings, "_list_left", list_nothing)
    go_on = asyncio.Event()
    hosts, hour = {"one": most(4)}, timedelta(hours=1)
    async with a_house(hosts, audit=hour, server=namespace) as house, house.worker():
        bench = BookingBench(house)
        house.script.before["kubeconfig.ensure"] = waits
        await bench.book(1)
        await house.script.started["kubeconfig.ensure"].wait()
        standby = await the_standby(bench)
        house.script.before["vcluster.remove"] = holds_up(standby, go_on)
        capacity: WorkflowHandle[Any, Any] = house.client.get_workflow_handle(CAPACITY_ID)

        async def is_given_up() -> bool:
            history = (await capacity.fetch_history()).to_json()
            return "ACTIVITY_TASK_TIMED_OUT" in history or "ACTIVITY_TASK_FAILED" in history

        await until(is_given_up, "its start is given up")
        # It may be there, so its room is free for no other request.
        assert list(await house.held()) == [standby]
        assert (await house.state()).reservations == 1
        await bench.end()
        await ends_when_it_is_gone(bench, standby, go_on)


async def test_a_standby_whose_start_was_not_answered_and_never_was_gives_its_place_back(
    bench: BookingBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools_module, "START_TIMEOUT", timedelta(seconds=2))
    monkeypatch.setattr(reconciliation, "START_GRACE", timedelta(seconds=3))
    losing = LostStarts(False, None)
    monkeypatch.setattr(Client, "start_workflow", losing.wrap(Client.start_workflow))
    await bench.book(1)
    await bench.until_standbys(1)
    standby = await the_standby(bench)
    assert losing.lost
    assert workflow_id(standby) not in losing.lost


async def test_another_worker_goes_on_at_any_moment(namespace: WorkflowEnvironment) -> None:
    """Each worker stops in the middle: after the booking, while a seat is made, and while all ends."""
    async with a_house({"one": most(4)}, audit=timedelta(seconds=1), server=namespace) as house:
        bench = BookingBench(house)
        async with house.worker():
            made = await bench.book(2)
        house.script.before["vcluster.ensure"] = waits
        async with house.worker():
            await bench.redeem(made.codes[0].code, "ann")
            await house.script.started["vcluster.ensure"].wait()
        del house.script.before["vcluster.ensure"]
        async with house.worker():
            assert (await bench.redeem(made.codes[0].code, "ann")).name == "kurs-01"
            await bench.until_ready("kurs-01")
            await bench.end()
        async with house.worker():
            assert (await end_of(bench)).nothing_left


async def test_it_goes_on_in_a_new_run_with_all_that_it_knows(bench: BookingBench) -> None:
    made = await bench.book(2)
    await bench.redeem(made.codes[0].code, "ann")
    first = (await bench.handle().describe()).run_id
    await bench.handle().signal("renew")

    async def another_run() -> bool:
        return (await bench.handle().describe()).run_id != first

    await until(another_run, "it goes on in another run")
    assert (await bench.status()).taken == 1
    assert (await bench.redeem(made.codes[0].code, "ann")).name == "kurs-01"
    with pytest.raises(WrongCode):
        await bench.redeem(made.codes[0].code, "ben")
    [row] = await bench.service.reader.list()
    assert (row.event, row.seats, row.taken) == ("kurs", 2, 1)
    await bench.end()
    await end_of(bench)


async def test_a_seat_is_not_extended_beyond_the_booking_and_keeps_its_template(bench: BookingBench) -> None:
    made = await bench.book(2)
    done = await bench.redeem(made.codes[0].code, "ann")
    await bench.until_ready("kurs-01")
    handle = bench.house.handle("kurs-01")
    ask = ExtendInput(
        life=done.life, actor="pia", until=datetime.now(UTC) + timedelta(hours=2), override=True, reason="x"
    )
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await handle.execute_update(EnvironmentWorkflow.extend, ask)
    assert isinstance(refused.value.cause, ApplicationError)
    refusal = Refusal.model_validate(refused.value.cause.details[0])
    assert refusal.reason is RefusalReason.BEYOND_POLICY
    assert "kurs-01 is a seat of the booking kurs, which ends" in refusal.message


async def test_the_memo_of_a_seat_says_which_booking_it_is_of(bench: BookingBench) -> None:
    made = await bench.book(2)
    await bench.redeem(made.codes[0].code, "ann")
    run = await bench.house.handle("kurs-01").describe()
    assert await run.memo_value(workflow_memo.BOOKING) == (await bench.status()).life
    with contextlib.suppress(WrongCode):
        await bench.service.redeem(made.codes[0].code, person("eve"))


def test_a_code_is_read_as_people_type_it() -> None:
    code = make_code("life")
    assert len(code) == 19
    assert read_code(f" {code.lower()} ") == code.replace("-", "")
    assert read_code("oil0-OIL0-0000-0000") == "0110011000000000"
    assert read_code(code + "0") == ""
    assert is_of_booking(read_code(code), "life")
    assert hash_code("life", code) == hash_code("life", code.lower())
    assert hash_code("life", code) != hash_code("other", code)
    assert len({make_code("life") for _ in range(1000)}) == 1000
