"""Ensures that a booking ends with one certificate that is true, whatever befalls it and its seats.

Each seat has one owner, and each code is good once. All cases have one stack, of which the worker and the API
can be killed in any call to Temporal.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta

import pytest
from temporalio.client import Client

from contracts.bookings import booking_id
from contracts.capacity.models import CAPACITY_ID, START_GRACE
from contracts.types.naming import workflow_id
from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from tests.support.courses import STUDENTS, Course
from tests.support.deadline import HANG
from tests.support.fault_points import (
    AMBIGUITIES,
    ENDING_STANDBY,
    MAKING,
    MAKING_STANDBY,
    UNMAKING,
    Call,
    called,
    calls,
    no_faults,
    strike,
)
from tests.support.faulty_process import KILLED, UNANSWERED, CallFault, Moment
from tests.support.stack import ALICE, BOB, CAROL, DAVE, HURRY, client_of, hurried
from tests.support.stand_ins import set_faults
from tests.support.temporal_faults import fault_calls, struck, with_temporal_faults

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

#: What becomes of a call to a system in which the worker is killed.
MOMENTS = {
    "before it is done": Fault(kind=FaultKind.DELAY_BEFORE, seconds=1.5, times=1),
    "after it is done": Fault(kind=FaultKind.DELAY_AFTER, seconds=1.5, times=1),
}
#: Nothing ends meanwhile.
NO_END = Fault(operation="release.uninstall", kind=FaultKind.STATUS, status=503)
#: The calls to Temporal with which the worker ends a booking, in their order.
ENDING = (
    "query_workflow",
    "list_workflows",
    "describe_workflow",
    "signal_workflow",
    "start_workflow_update",
    "fetch_workflow_history_events",
)
#: The calls with which an environment of a booking is made from a standby, in their order.
TAKING: dict[str, Call] = {
    "project": MAKING["project"],
    "identity": MAKING["identity"],
    "take-over": (Part.HOST, "namespace.patch"),
    "import": MAKING["import"],
}
#: The calls with which it ends, in their order.
UNTAKING = {
    step: UNMAKING[step]
    for step in ("import", "vcluster", "namespace", "identity", "role-binding", "group", "project")
}
#: A place that was given to a life which never started is taken back after this time, by the next audit.
GIVEN_BACK = START_GRACE.total_seconds() + HANG


@pytest.fixture(scope="module")
async def booked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack on which people book; its worker and its API look for faults in calls to Temporal."""
    options = hurried(
        people=(ALICE, BOB, CAROL, DAVE, *STUDENTS),
        # A teardown in which the worker is killed in each call takes longer than the others of the tests.
        timeouts=HURRY.model_copy(update={"give_up_after": timedelta(hours=1)}),
        environment={"MOORAGE_CAPACITY__AUDIT": "5s"},
    )
    with with_temporal_faults():
        async with Stack(tmp_path_factory.mktemp("booked"), options) as stack:
            yield stack


@pytest.fixture
async def client(booked: Stack) -> AsyncIterator[Client]:
    yield await client_of(booked)
    no_faults(booked)
    for part in (Part.WORKER, Part.API):
        fault_calls(booked, part)


@pytest.fixture
def course(booked: Stack, client: Client) -> Course:
    return Course(booked, client)


async def replace(stack: Stack, part: Part) -> None:
    """Kill a part, and start another one."""
    await stack.kill(part)
    await stack.start(part)


async def killed_in_each(
    stack: Stack, moment: str, struck_calls: Mapping[str, Call], begin: Callable[[], Awaitable[object]]
) -> None:
    """Begin, and kill the worker in each of the calls, one after the other."""
    before = {call: calls(stack, *call) for call in struck_calls.values()}
    killed = False
    for part, operation in struck_calls.values():
        set_faults(stack.url(part), MOMENTS[moment].model_copy(update={"operation": operation}))
        await (stack.start(Part.WORKER) if killed else begin())
        await called(stack, part, operation, before[part, operation])
        await stack.kill(Part.WORKER)
        killed = True
        set_faults(stack.url(part))
    await stack.start(Part.WORKER)


@pytest.mark.guarantee("1. Killed anywhere")
async def test_while_a_booking_is_asked_for_and_begins(booked: Stack, course: Course) -> None:
    await booked.kill(Part.WORKER)
    asking = asyncio.create_task(course.ask_to_book(2))
    await booked.start(Part.WORKER)
    answer = await asking
    assert answer is not None
    if answer.status_code == 503:
        # A busy machine starts no worker in the time that the API waits for one: the same request goes on.
        await course.book(2)
    else:
        assert answer.status_code == 201, answer.text
        course.note_codes(answer)
    await replace(booked, Part.WORKER)
    await course.has_standbys(2)
    await booked.kill(Part.WORKER)
    taking = asyncio.create_task(course.take(1))
    await booked.start(Part.WORKER)
    await taking
    await course.is_seated(1)
    await course.end()
    await course.is_over()
    await course.holds_nothing()


@pytest.mark.guarantee("1. Killed anywhere")
@pytest.mark.parametrize("moment", MOMENTS)
async def test_while_standbys_of_a_booking_are_made(booked: Stack, course: Course, moment: str) -> None:
    await killed_in_each(booked, moment, MAKING_STANDBY, lambda: course.book(3))
    await course.has_standbys(3)
    await course.take(1)
    await course.is_seated(1)
    await course.end()
    await course.is_over()
    await course.holds_nothing()


@pytest.mark.guarantee("1. Killed anywhere")
@pytest.mark.parametrize("moment", KILLED)
async def test_while_a_standby_of_a_booking_is_started(booked: Stack, course: Course, moment: Moment) -> None:
    fault_calls(booked, Part.WORKER, CallFault("start_workflow", CAPACITY_ID, moment))
    await course.book(2)
    await struck(booked, Part.WORKER)
    await replace(booked, Part.WORKER)
    await course.has_standbys(2)
    await course.end()
    await course.is_over()
    await course.holds_nothing()


@pytest.mark.guarantee("1. Killed anywhere")
@pytest.mark.parametrize("moment", MOMENTS)
async def test_while_a_seat_is_made(booked: Stack, course: Course, moment: str) -> None:
    await course.book(2)
    await course.has_standbys(2)
    await killed_in_each(booked, moment, TAKING, lambda: course.take(1))
    await course.is_seated(1)
    await course.end()
    await course.is_over()
    await course.holds_nothing()


@pytest.mark.guarantee("1. Killed anywhere")
@pytest.mark.parametrize("moment", MOMENTS)
async def test_while_all_seats_end(booked: Stack, course: Course, moment: str) -> None:
    await course.book(2)
    for number in (1, 2):
        await course.take(number)
        await course.is_seated(number)
    await killed_in_each(booked, moment, UNTAKING, course.end)
    await course.is_over()
    await course.holds_nothing()


@pytest.mark.guarantee("1. Killed anywhere")
@pytest.mark.parametrize("moment", MOMENTS)
async def test_while_standbys_of_a_booking_end(booked: Stack, course: Course, moment: str) -> None:
    await course.book(3)
    await course.has_standbys(3)
    await killed_in_each(booked, moment, ENDING_STANDBY, course.end)
    await course.is_over()
    await course.holds_nothing()


@pytest.mark.guarantee("1. Killed anywhere")
@pytest.mark.parametrize("moment", KILLED)
async def test_in_each_call_with_which_a_booking_ends(booked: Stack, client: Client, moment: Moment) -> None:
    """Ensures that for one booking a call: each has a seat and a standby."""
    courses = {call: Course(booked, client) for call in ENDING}
    for course in courses.values():
        await course.book(2)
        await course.take(1)
    for course in courses.values():
        await course.is_seated(1)
        await course.has_standbys(1)
    # The capacity ends the standbys as well: they are still there when their booking does.
    set_faults(booked.url(Part.HOST), NO_END)
    for call, course in courses.items():
        if call == ENDING[-1]:
            no_faults(booked)
        fault_calls(booked, Part.WORKER, CallFault(call, booking_id(course.event), moment))
        await course.end()
        await struck(booked, Part.WORKER)
        await replace(booked, Part.WORKER)
    for course in courses.values():
        await course.is_over()
    await course.holds_nothing()


@pytest.mark.guarantee("1. Killed anywhere")
async def test_the_api_between_a_code_and_its_answer(booked: Stack, course: Course) -> None:
    """Ensures that the same person gets the same seat with the same code, and no other person gets it."""
    await course.book(4)
    await course.has_standbys(4)
    points = {
        1: CallFault("start_workflow_update", booking_id(course.event), Moment.KILLED_BEFORE),
        2: CallFault("start_workflow_update", booking_id(course.event), Moment.KILLED_AFTER),
        3: CallFault("start_update_with_start_workflow", CAPACITY_ID, Moment.KILLED_AFTER),
        4: CallFault("start_workflow", workflow_id(course.seat(4)), Moment.KILLED_AFTER),
    }
    for number, fault in points.items():
        fault_calls(booked, Part.API, fault)
        assert await course.try_code(number, STUDENTS[-number]) is None
        await replace(booked, Part.API)
        await course.take(number, STUDENTS[-number])
    for number in points:
        await course.is_seated(number)
    await course.end()
    await course.is_over(longest=GIVEN_BACK)
    await course.holds_nothing()


@pytest.mark.guarantee("1. Killed anywhere")
async def test_the_api_while_it_books(booked: Stack, client: Client) -> None:
    """Ensures that the same request goes on, and that new codes are good if it has started.

    Without that, its room is free again.
    """
    never, course, again = (Course(booked, client) for _ in range(3))
    fault_calls(booked, Part.API, CallFault("start_workflow", booking_id(again.event), Moment.KILLED_BEFORE))
    assert await again.ask_to_book(2) is None
    await replace(booked, Part.API)
    await again.book(2)
    fault_calls(booked, Part.API, CallFault("start_workflow", booking_id(never.event), Moment.KILLED_BEFORE))
    assert await never.ask_to_book(2) is None
    await replace(booked, Part.API)
    fault_calls(booked, Part.API, CallFault("start_workflow", booking_id(course.event), Moment.KILLED_AFTER))
    assert await course.ask_to_book(2) is None
    await replace(booked, Part.API)
    course.note_codes(await course.answered(ALICE, "POST", f"/bookings/{course.event}/codes"))
    await course.take(2)
    await course.is_seated(2)
    await again.take(1)
    await again.is_seated(1)
    for one in (course, again):
        await one.end()
        await one.is_over()
    await never.is_free(longest=GIVEN_BACK)
    await never.holds_nothing()


@pytest.mark.guarantee("2. Fails anywhere")
async def test_the_control_plane_fails_while_a_booking_ends(booked: Stack, course: Course) -> None:
    await course.book(2)
    await course.take(1)
    await course.is_seated(1)
    set_faults(booked.url(Part.CONTROL_PLANE), Fault(kind=FaultKind.STATUS, status=503))
    await course.end()
    seat = course.seat(1)
    shown = await course.until(
        lambda view: [place["name"] for place in view["left"]] == [seat], "only the seat is left"
    )
    assert (shown["phase"], shown["nothing_left"]) == ("ending", False)
    assert await course.held() == (seat,)
    no_faults(booked)
    await course.is_over()
    await course.holds_nothing()


@pytest.mark.guarantee("2. Fails anywhere")
async def test_temporal_is_killed_while_a_booking_ends(booked: Stack, course: Course) -> None:
    await course.book(2)
    await course.take(1)
    await course.is_seated(1)
    part, operation = UNMAKING["vcluster"]
    before = calls(booked, part, operation)
    await course.end()
    await called(booked, part, operation, before)
    await replace(booked, Part.TEMPORAL)
    await course.is_over()
    await course.holds_nothing()


@pytest.mark.guarantee("3. Cancelled anywhere")
@pytest.mark.parametrize("how", ["ended", "cancelled in Temporal"])
async def test_a_booking_ends_while_its_seats_are_made(
    booked: Stack, client: Client, course: Course, how: str
) -> None:
    """Ensures that for seats and standbys in the making, and for codes that are used at the same moment."""
    strike(booked, MOMENTS["after it is done"], {"vcluster": MAKING["vcluster"]})
    before = calls(booked, *MAKING["vcluster"])
    await course.book(4)
    await course.take(1)
    await course.take(2)
    await called(booked, *MAKING["vcluster"], before)
    late = {number: STUDENTS[-number] for number in (3, 4)}
    end = client.get_workflow_handle(booking_id(course.event)).cancel if how != "ended" else course.end
    answers = await asyncio.gather(*(course.try_code(*one) for one in late.items()), end())
    refused = {}
    for (number, person), answer in zip(late.items(), answers, strict=False):
        assert answer is not None
        if answer.status_code in (200, 202):
            course.people[course.seat(number)] = person
        else:
            assert answer.status_code in (409, 422, 503), answer.text
            refused[course.seat(number)] = person
    await course.is_over(refused)
    await course.holds_nothing()


@pytest.mark.guarantee("3. Cancelled anywhere")
@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_person_deletes_a_seat_while_all_end(booked: Stack, course: Course, moment: str) -> None:
    await course.book(2)
    for number in (1, 2):
        await course.take(number)
        await course.is_seated(number)
    part, operation = UNMAKING["import"]
    set_faults(booked.url(part), MOMENTS[moment].model_copy(update={"operation": operation}))
    before = calls(booked, part, operation)
    seats = [(course.people[seat], f"/environments/{seat}") for seat in course.codes]
    deleted = await course.answered(seats[0][0], "DELETE", seats[0][1])
    assert deleted.status_code == 202, deleted.text
    await called(booked, part, operation, before)
    answer, _ = await asyncio.gather(course.call(seats[1][0], "DELETE", seats[1][1]), course.end())
    assert answer is not None
    assert answer.status_code in (202, 409), answer.text
    view = await course.is_over()
    assert {place["outcome"] for place in view["ended"]} == {"deleted"}
    await course.holds_nothing()


@pytest.mark.guarantee("4. Ambiguous answers")
@pytest.mark.parametrize("kind", AMBIGUITIES)
async def test_answers_lost_while_a_booking_is_made_and_ends(
    booked: Stack, course: Course, kind: str
) -> None:
    strike(booked, AMBIGUITIES[kind], MAKING | MAKING_STANDBY)
    await course.book(2)
    await course.take(1)
    await course.is_seated(1)
    await course.has_standbys(1)
    strike(booked, AMBIGUITIES[kind], UNMAKING | ENDING_STANDBY)
    await course.end()
    await course.is_over()
    await course.holds_nothing()


@pytest.mark.guarantee("4. Ambiguous answers")
@pytest.mark.parametrize("moment", UNANSWERED)
async def test_answers_of_temporal_lost_in_each_call(booked: Stack, course: Course, moment: Moment) -> None:
    """Ensures that a person who asks again gets the same seat, and that the worker goes on by itself."""
    booking = booking_id(course.event)
    of_redeeming = {
        1: CallFault("start_workflow_update", booking, moment),
        2: CallFault("start_update_with_start_workflow", CAPACITY_ID, moment),
        3: CallFault("start_workflow", workflow_id(course.seat(3)), moment),
    }
    fault_calls(booked, Part.WORKER, CallFault("start_workflow", CAPACITY_ID, moment))
    await course.book(len(of_redeeming) + 1)
    await struck(booked, Part.WORKER)
    await course.has_standbys(len(of_redeeming) + 1)
    for number, fault in of_redeeming.items():
        fault_calls(booked, Part.API, fault)
        answer = await course.try_code(number, STUDENTS[-number])
        assert answer is not None
        assert answer.status_code == 503, answer.text
        await course.take(number, STUDENTS[-number])
    for number in of_redeeming:
        await course.is_seated(number)
    fault_calls(booked, Part.WORKER, *(CallFault(call, booking, moment) for call in ENDING))
    await course.end()
    await course.is_over(longest=GIVEN_BACK)
    await course.holds_nothing()


def test_each_call_is_attacked() -> None:
    """Ensures that none of the calls in `tests.support.fault_points` is left out."""
    assert UNTAKING == UNMAKING
