"""Ensures that what is promised holds after every step of any sequence of what people, time and faults do.

Hypothesis makes the sequences. Two environments of a template with a warm pool are asked for, resized, put to
sleep, woken, deleted, cancelled, extended, transferred and swept, snapshots of them are taken and restored,
and so are seats of bookings taken, while their people come and go, faults come and go and the worker is
killed; after each step the systems' own databases are looked at.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import httpx
import hypothesis
import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from temporalio.client import Client

from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from tests.chaos.test_people import members
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.support.fault_points import ONE_OF_EACH, STAND_INS, no_faults
from tests.support.leavers import People, sweep_leavers
from tests.support.reconcile import lose_workflow
from tests.support.secret_scan import BRIEF, BRIEF_AND_WARM
from tests.support.stack import BOB, CAROL, TIMEOUT, client_of, hurried, unique
from tests.support.stand_ins import set_faults
from tests.support.warm_pools import end_pool, is_filled

WEATHER = {
    "out of order": Fault(kind=FaultKind.STATUS, status=503, share=0.4),
    "cut after it was done": Fault(kind=FaultKind.CUT_AFTER, share=0.3),
    "throttled": Fault(kind=FaultKind.STATUS, status=429, retry_after=1, share=0.3),
    "too late": Fault(kind=FaultKind.DELAY_AFTER, seconds=TIMEOUT.total_seconds() + 1, share=0.05),
    "refused for good": Fault(operation="cluster.create", kind=FaultKind.STATUS, status=403),
}
NAMES = st.sampled_from(("left", "right"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
#: Without one it is the template's: seconds.
TTLS = st.sampled_from((None, "1h"))
PEOPLE = st.sampled_from(("bob@example.com", "carol@example.com"))
SLEEPING = ("falling_asleep", "asleep", "waking")
LEAVERS = st.sampled_from(("alice@example.com", "bob@example.com", "carol@example.com"))
#: Longest way of an environment to its end once all faults are gone.
MAX_WAIT = 120.0
#: At an environment of which a worker has to say how it stands.
LOOKS = 20
#: Workflows that are terminated in a sequence.
MAX_LOST = 2
#: Bookings in a sequence.
MAX_BOOKINGS = 2

_T = TypeVar("_T")


@pytest.fixture(scope="module")
async def swept_by_hand(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Yield a stack whose environments may live for seconds; only the test runs its sweeps."""
    folder = tmp_path_factory.mktemp("machine")
    (templates := folder / "templates").mkdir()
    (templates / "small.yaml").write_text(BRIEF_AND_WARM)
    (templates / "larger.yaml").write_text(BRIEF.replace('cpu: "1"', 'cpu: "2"'))
    settings = {
        "MOORAGE_TEMPLATES": str(templates),
        "MOORAGE_SWEEP__INTERVAL": "6h",
        "MOORAGE_SWEEP__LEAVERS_INTERVAL": "30d",
        "MOORAGE_SWEEP__LEAVERS_SECOND_LOOK": "1s",
        # One of three people is more than the brake lets leave.
        "MOORAGE_SWEEP__LEAVERS_LIMIT_PERCENT": "100",
        "MOORAGE_RECONCILE__GRACE": "1s",
        "MOORAGE_CAPACITY__AUDIT": "5s",
    }
    async with Stack(folder / "stack", hurried(environment=settings)) as stack:
        yield stack
        await end_pool(stack, templates / "small.yaml", BRIEF)


def _is_without(people: set[str], view: dict[str, Any]) -> bool:
    """Whether none of these people has access."""
    is_owner = view["owner"] in people and not view["owner_left_at"]
    return not is_owner and people.isdisjoint(view["collaborators"])


class Machine(RuleBasedStateMachine):
    """What may happen, and what holds whatever happens."""

    stack: Stack
    asking: Asking
    #: The ways to the API of those who have codes.
    students: Mapping[str, Asking]
    systems: Systems
    people: People
    client: Client
    loop: asyncio.AbstractEventLoop
    #: How often the worker may be killed in a sequence: a new one takes seconds to begin.
    kills: int

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, str] = {}
        self.faulty = False
        self.swept = False
        self.killed = 0
        #: Whether something was asked for since the worker was killed: hypothesis is fond of repetitions.
        self.busy = False
        #: What was asked for each life, and how each life was seen to end.
        self.asked: dict[str, set[str]] = {}
        self.ends: dict[str, str] = {}
        #: Whether people or the directory have changed since the last sweep for leavers.
        self.moved = False
        self.lost = 0
        #: The codes of each booking by its seats, and who has got a seat.
        self.courses: dict[str, dict[str, str]] = {}
        self.seats: dict[str, str] = {}

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run it in the event loop of the stack; the state machine itself runs in another thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    @initialize(ttl=TTLS)
    def begin(self, ttl: str | None) -> None:
        self.names = {name: unique(name) for name in ("left", "right")}
        self.run(is_filled(self.client))
        for name in self.names:
            self.request(name, ttl)

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        answer = self.run(self.asking.call(method, path, **more))
        assert answer.status_code < 500 or answer.status_code == 503, f"{method} {path}: {answer.text}"
        return answer

    def ask(self, name: str, what: str, method: str, path: str = "", **more: Any) -> None:
        answer = self.call(method, f"/environments/{self.names[name]}{path}", **more)
        if answer.status_code == 202:
            self.busy = True
            self.asked.setdefault(answer.json()["life"], set()).add(what)

    @rule(name=NAMES, ttl=TTLS)
    def request(self, name: str, ttl: str | None) -> None:
        body = {"name": self.names[name], "template": "small", "ttl": ttl}
        answer = self.call("POST", "/environments", json=body)
        assert answer.status_code in (200, 202, 409, 503), answer.text
        self.busy = True

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        self.ask(name, "deleted", "DELETE")

    @rule(name=NAMES)
    def cancel(self, name: str) -> None:
        self.ask(name, "cancelled", "POST", "/cancel")

    @rule(name=NAMES, by=st.sampled_from(("1m", "30m")))
    def extend(self, name: str, by: str) -> None:
        self.ask(name, "extended", "POST", "/extend", json={"by": by})

    @rule(name=NAMES, what=st.sampled_from(("sleep", "wake", "snapshots", "restore")))
    def sleep_wake_snapshot_or_restore(self, name: str, what: str) -> None:
        answer = self.call("POST", f"/environments/{self.names[name]}/{what}")
        assert answer.status_code in (202, 404, 409, 503), answer.text
        self.busy = True

    @rule(name=NAMES, template=st.sampled_from(("small", "larger")))
    def resize(self, name: str, template: str) -> None:
        path = f"/environments/{self.names[name]}/resize"
        answer = self.call("POST", path, json={"template": template})
        self.busy = True
        assert answer.status_code in (200, 202, 404, 409, 503), answer.text

    @rule(name=NAMES, method=st.sampled_from(("PUT", "DELETE")), person=PEOPLE)
    def change_people(self, name: str, method: str, person: str) -> None:
        path = f"/environments/{self.names[name]}/collaborators/{person}"
        answer = self.call(method, path)
        self.moved = True
        self.is_answer_about(person, answer)

    @rule(name=NAMES, person=PEOPLE)
    def transfer(self, name: str, person: str) -> None:
        answer = self.call("POST", f"/environments/{self.names[name]}/transfer", json={"to": person})
        self.moved = True
        self.is_answer_about(person, answer)

    def is_answer_about(self, person: str, answer: httpx.Response) -> None:
        """A person whom the directory does not know is refused; one who was just known may not be."""
        unknown = (422,) if person in self.people.away else ()
        assert answer.status_code in (202, 404, 409, 503, *unknown), answer.text

    @rule(person=LEAVERS, how=st.sampled_from(("disable", "delete")))
    def leave(self, person: str, how: str) -> None:
        if person not in self.people.away:
            getattr(self.people, how)(person)
            self.moved = True

    @precondition(lambda self: len(self.courses) < MAX_BOOKINGS)
    @rule(seats=st.sampled_from((1, 2)))
    def book(self, seats: int) -> None:
        event, now = unique("course"), datetime.now(UTC)
        times = {"from": now.isoformat(), "until": (now + timedelta(hours=1)).isoformat()}
        answer = self.call(
            "POST", "/bookings", json={"event": event, "template": "small", "seats": seats} | times
        )
        assert answer.status_code in (201, 409, 503), answer.text
        codes = answer.json()["codes"] if answer.status_code == 201 else ()
        self.courses[event] = {one["seat"]: one["code"] for one in codes}
        self.busy = True

    @precondition(lambda self: any(self.courses.values()))
    @rule(number=st.integers(0, 2 * MAX_BOOKINGS - 1), person=PEOPLE)
    def use_a_code(self, number: int, person: str) -> None:
        codes = [one for course in self.courses.values() for one in course.items()]
        seat, code = codes[number % len(codes)]
        answer = self.run(self.students[person].call("POST", "/seats", json={"code": code}))
        assert answer.status_code in (200, 202, 409, 422, 429, 503), answer.text
        if answer.is_success:
            assert answer.json()["name"] == seat
            assert self.seats.setdefault(seat, person) == person, f"the code of {seat} was good twice"
            self.busy = True

    @precondition(lambda self: bool(self.courses))
    @rule(number=st.integers(0, MAX_BOOKINGS - 1))
    def end_a_booking(self, number: int) -> None:
        event = list(self.courses)[number % len(self.courses)]
        answer = self.call("DELETE", f"/bookings/{event}")
        assert answer.status_code in (202, 404, 503), answer.text
        self.busy = True

    @precondition(lambda self: bool(self.people.away))
    @rule(person=LEAVERS)
    def come_back(self, person: str) -> None:
        if person in self.people.away:
            self.people.restore(person)
            self.moved = True

    @precondition(lambda self: self.moved)
    @rule()
    def sweep_for_leavers(self) -> None:
        """Those who have left lose access where the sweep says so, and no others lose any."""
        self.moved = False
        before = {name: self.shown(name) for name in self.names.values()}
        # Where no people are left, the brake waits for a person: the platform team confirms who has left.
        result = self.run(sweep_leavers(self.asking, confirmed=sorted(self.people.away)))
        if result is None:
            return
        away = set(self.people.away)
        assert set(result["left"]) <= away, f"the directory has {set(result['left']) - away}"
        ended = {(line["name"], line["person"]) for line in result["lines"] if not line["failed"]}
        for name in self.names.values():
            gone = {person for person in away & set(result["left"]) if (name, person) in ended}
            then, now = before[name], self.shown(name, partial(_is_without, gone))
            if then is None or now is None or then["life"] != now["life"] or now["phase"] != "ready":
                continue
            lost = set(then["collaborators"]) - set(now["collaborators"])
            assert lost <= away, f"{name}: {lost - away} are no collaborators any more, and have not left"
            if now["owner_left_at"] and not then["owner_left_at"]:
                assert now["owner"] in away, f"{name}: its owner has not left"
            assert _is_without(gone, now), f"{name}: {gone} have access"

    def shown(
        self, name: str, is_new: Callable[[dict[str, Any]], bool] = lambda _: True
    ) -> dict[str, Any] | None:
        """What is shown of it; None if there is none, or if no worker says how it stands.

        The API shows what it has read a moment before: longer than that is looked for a view that is new.
        """
        for look in range(LOOKS):
            answer = self.call("GET", f"/environments/{name}")
            if answer.status_code == 404:
                return None
            view: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
            # Without an answer of a worker no steps are shown.
            if view.get("steps") and (is_new(view) or look == LOOKS - 1):
                return view
            self.run(asyncio.sleep(0.2))
        return None

    @rule()
    def reconcile(self) -> None:
        """What has a workflow is neither adopted nor undone, whatever the systems answer."""
        self.call("POST", "/reconcile", json={})

    @precondition(lambda self: self.lost < MAX_LOST)
    @rule(name=NAMES)
    def lose_the_workflow(self, name: str) -> None:
        """A terminated workflow is started again, or what it has left is undone."""
        self.lost += 1
        no_faults(self.stack)
        if life := self.run(lose_workflow(self.stack, self.asking, self.names[name])):
            self.asked.setdefault(life, set()).add("deleted")

    @precondition(lambda self: self.busy)
    @rule()
    def sweep(self) -> None:
        self.swept = True
        self.busy = False
        self.call("POST", "/sweeps")

    @rule(what=st.sampled_from(sorted(WEATHER)))
    def fault_on(self, what: str) -> None:
        self.faulty = True
        for part in STAND_INS:
            set_faults(self.stack.url(part), WEATHER[what])

    @precondition(lambda self: self.faulty)
    @rule()
    def fault_off(self) -> None:
        no_faults(self.stack)

    @precondition(lambda self: self.busy and self.killed < self.kills)
    @rule()
    def kill_the_worker(self) -> None:
        self.busy = False
        self.killed += 1
        self.run(self.stack.kill(Part.WORKER))
        self.run(self.stack.start(Part.WORKER))

    @precondition(lambda self: self.busy)
    @rule(seconds=st.sampled_from((1, 3)))
    def let_time_pass(self, seconds: int) -> None:
        self.run(asyncio.sleep(seconds))

    @invariant()
    def nothing_is_there_twice_or_unasked(self) -> None:
        for name in self.names.values():
            # Looked at before it is asked how it stands: what comes into being meanwhile is no fault.
            answer = self.call("GET", f"/environments/{name}")
            held = self.systems.holds(name)
            twice = {kind: held[kind] for kind in ONE_OF_EACH if held.get(kind, 0) > 1}
            assert not twice, f"{name} has twice: {twice}"
            if answer.status_code == 404:
                assert not held, f"{name} was never requested, and yet it has {held}"
            elif answer.status_code == 200 and answer.json()["ended"]:
                self.has_ended(name, answer.json(), held)
            elif answer.status_code == 200 and answer.json()["steps"]:
                self.has_no_pod_asleep(name, answer.json())

    @invariant()
    def each_seat_has_one_owner(self) -> None:
        for event in self.courses:
            answer = self.call("GET", f"/bookings/{event}")
            if answer.status_code != 200:
                continue
            view = answer.json()
            for seat in view["people"]:
                name = seat["name"]
                held = self.systems.holds(name)
                twice = {kind: held[kind] for kind in ONE_OF_EACH if held.get(kind, 0) > 1}
                assert not twice, f"{name} has twice: {twice}"
                assert seat["person"] == self.seats.get(name, seat["person"]), f"{name} has another owner"
                assert view["phase"] != "ended" or not held, f"{event} is over, and there is {held}"
            assert view["nothing_left"] == (view["phase"] == "ended"), view["ended"]

    def has_no_pod_asleep(self, name: str, shown: dict[str, Any]) -> None:
        """What is true of one that sleeps, if it does so before and after it is looked at."""
        if shown["phase"] != "asleep":
            return
        held = self.systems.holds(name)
        now = self.call("GET", f"/environments/{name}")
        view = now.json() if now.status_code == 200 else {}
        if (view.get("phase"), view.get("sleep")) == ("asleep", shown["sleep"]):
            assert not held.keys() & {"pod", "synced pod"}, f"{name} is asleep, and has {held}"

    def has_ended(self, name: str, shown: dict[str, Any], held: dict[str, int]) -> None:
        """What is true of a life that is over."""
        life, outcome = shown["life"], shown["outcome"]
        assert self.ends.setdefault(life, outcome) == outcome, "the outcome of a life has changed"
        assert not held, f"{name} is gone, and there is {held}"
        assert shown["certificate"]["nothing_left"] is True
        asked = self.asked.get(life, set())
        assert (
            outcome in asked or (outcome == "failed" and self.faulty) or (outcome == "expired" and self.swept)
        ), f"{name} is {outcome} without a request: {asked}, {shown['problem']}"

    def teardown(self) -> None:
        """All faults gone, its people have access and no others, and nothing is altered; then all deleted.

        Nothing is left of anything.
        """
        no_faults(self.stack)
        self.run(self.until_people_agree())
        for person in list(self.people.away):
            self.people.restore(person)
        for name in self.names.values():
            self.run(self.until_ended(name))
            assert self.systems.holds(name) == {}
        for event, codes in self.courses.items():
            self.run(self.until_over(event))
            assert not any(self.systems.holds(seat) for seat in codes)

    async def until_over(self, event: str) -> None:
        async with asyncio.timeout(MAX_WAIT):
            while True:
                answer = await self.asking.call("GET", f"/bookings/{event}")
                if answer.status_code == 404 or (
                    answer.status_code == 200 and answer.json()["phase"] == "ended"
                ):
                    return
                for place in answer.json().get("left", ()):
                    await self.asking.call("POST", f"/environments/{place['name']}/resume-teardown")
                await self.asking.call("DELETE", f"/bookings/{event}")
                await asyncio.sleep(0.5)

    async def until_people_agree(self) -> None:
        """After a sweep of a directory that answers, the groups have who has not left, and all of them."""
        async with asyncio.timeout(MAX_WAIT):
            await self.until_swept()
            for name in self.names.values():
                await self.until_members_agree(name)
        await self.until_nothing_is_altered()

    async def until_swept(self) -> None:
        while True:
            result = await sweep_leavers(self.asking, confirmed=sorted(self.people.away))
            if result is not None and not (result["problem"] or result["waiting"] or result["unclear"]):
                return
            await asyncio.sleep(0.5)

    async def until_members_agree(self, name: str) -> None:
        while True:
            answer = await self.asking.call("GET", f"/environments/{name}")
            shown = answer.json() if answer.status_code == 200 else {}
            if shown.get("phase") in SLEEPING:
                # Its people reach the virtual cluster once it is awake.
                await self.asking.call("POST", f"/environments/{name}/wake")
            elif answer.status_code == 404 or shown.get("phase") not in (None, "ready"):
                return  # It is being torn down, or was: `until_ended` looks at that.
            if shown.get("steps") and shown["access"] is None:
                owner = set() if shown["owner_left_at"] else {shown["owner"]}
                assert members(self.stack, name) == owner | set(shown["collaborators"])
                assert not (owner | set(shown["collaborators"])) & set(self.people.away)
                return
            await asyncio.sleep(0.2)

    async def until_nothing_is_altered(self) -> None:
        """Every change of a template and every restore is over; each system has what environments have now.

        The sweep compares guards with the template and groups with the people of now, so it also knows a
        resize that was undone, or done, by half.
        """
        names = set(self.names.values())
        give_up_at = self.loop.time() + MAX_WAIT
        while True:
            shown = [await self.asking.call("GET", f"/environments/{name}") for name in names]
            views = [one.json() for one in shown if one.status_code == 200]
            changing = [view["name"] for view in views if view["change"] or view["restore"]]
            answer = await self.asking.call("POST", "/reconcile", json={"dry_run": True})
            result = (answer.json() if answer.status_code == 200 else {}).get("result") or {"problem": "none"}
            altered = [
                each["what"]
                for one in result.get("drifted", ())
                for each in one["found"]
                # A deleted account stays a member in this directory; `until_members_agree` knows all others.
                if one["name"] in names and each["members"] != "extra-members"
            ]
            skipped = result.get("skipped", ())
            if not (changing or altered or skipped or result["problem"]):
                return
            left = (
                f"{changing} are being changed, {altered} is altered, {skipped} skipped, {result['problem']}"
            )
            assert self.loop.time() < give_up_at, left
            await asyncio.sleep(0.5)

    async def until_ended(self, name: str) -> None:
        async with asyncio.timeout(MAX_WAIT):
            while True:
                answer = await self.asking.call("GET", f"/environments/{name}")
                if answer.status_code == 404 or (answer.status_code == 200 and answer.json()["ended"]):
                    return
                if answer.status_code == 200 and answer.json()["phase"] == "teardown_incomplete":
                    await self.asking.call("POST", f"/environments/{name}/resume-teardown")
                await self.asking.delete(name)
                await asyncio.sleep(0.5)


@asynccontextmanager
async def machine_for(stack: Stack, kills: int) -> AsyncIterator[tuple[type[Machine], Asking]]:
    """The machine of a stack, and Alice's way to its API: hypothesis makes one machine for each sequence."""
    async with Asking(stack) as asking, Asking(stack, BOB) as bob, Asking(stack, CAROL) as carol:
        students = {BOB.email: bob, CAROL.email: carol}
        yield _machine(stack, asking, students, await client_of(stack), kills), asking


def _machine(
    stack: Stack, asking: Asking, students: Mapping[str, Asking], client: Client, kills: int
) -> type[Machine]:
    world = {
        "students": students,
        "stack": stack,
        "asking": asking,
        "client": client,
        "systems": Systems(stack),
        "people": People(stack),
        "loop": asyncio.get_running_loop(),
        "kills": kills,
    }
    return type("Machine", (Machine,), world)


async def drive(stack: Stack, sequences: int, steps: int, *, kills: int, derandomize: bool) -> None:
    """Go through so many sequences of so many steps; derandomized ones are the same ones every time."""
    async with machine_for(stack, kills) as (machine, _):
        settings = hypothesis.settings(
            max_examples=sequences,
            stateful_step_count=steps,
            derandomize=derandomize,
            deadline=None,
            database=None,
            phases=[Phase.generate],  # a sequence takes many seconds: none is made shorter
            suppress_health_check=list(HealthCheck),
        )
        await asyncio.to_thread(run_state_machine_as_test, machine, settings=settings)


async def test_a_short_sequence(swept_by_hand: Stack) -> None:
    await drive(swept_by_hand, sequences=1, steps=12, kills=1, derandomize=True)


async def test_a_sequence_in_which_each_leaves_and_returns(swept_by_hand: Stack) -> None:
    """Ensures that the machine's promises about people hold in a sequence without chance."""
    async with machine_for(swept_by_hand, kills=0) as (made, asking):
        machine = made()
        await asyncio.to_thread(machine.begin, "1h")
        for name in machine.names.values():
            await asking.until_phase(name, "ready")
        alice, bob, carol = "alice@example.com", "bob@example.com", "carol@example.com"

        def live() -> None:
            machine.change_people("left", "PUT", bob)
            machine.leave(bob, "delete")
            machine.sweep_for_leavers()
            left = machine.shown(machine.names["left"], lambda view: not view["collaborators"]) or {}
            assert left["collaborators"] == []
            machine.leave(alice, "disable")
            machine.sweep_for_leavers()
            left = machine.shown(machine.names["left"], lambda view: bool(view["owner_left_at"])) or {}
            assert left["owner_left_at"]
            machine.transfer("left", carol)
            machine.come_back(bob)
            machine.come_back(alice)
            machine.sweep_for_leavers()
            right = machine.shown(machine.names["right"], lambda view: not view["owner_left_at"]) or {}
            assert (right["owner"], right["owner_left_at"]) == (alice, None)
            machine.change_people("right", "PUT", bob)
            machine.nothing_is_there_twice_or_unasked()
            machine.run(machine.until_people_agree())
            assert members(swept_by_hand, machine.names["left"]) == {carol}
            assert members(swept_by_hand, machine.names["right"]) == {alice, bob}
            machine.teardown()

        await asyncio.to_thread(live)


@pytest.mark.chaos
@pytest.mark.guarantee("6. Any sequence")
async def test_many_long_sequences(
    swept_by_hand: Stack, record_property: Callable[[str, object], None]
) -> None:
    sequences, steps = 8, 25
    await drive(swept_by_hand, sequences=sequences, steps=steps, kills=3, derandomize=False)
    record_property("sequences", sequences)
    record_property("steps at most", steps)
