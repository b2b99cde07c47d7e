"""A booking on a stack, as those who book it and those who have codes see it, and what holds at its end."""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from temporalio.client import Client

from contracts.types.naming import STANDBY_NAME_START
from embedded.stack.stack import Person, Stack
from starter.placement.reservations import Reservations
from starter.temporal.errors import NoWorker, TemporalUnavailable
from tests.lifecycle.databases import Systems
from tests.support.deadline import HANG, pauses
from tests.support.fault_points import assert_one_of_each
from tests.support.stack import ALICE, unique
from tests.support.stand_ins import TLS

#: Each takes one seat: a person has one seat of a booking, and may try few codes.
STUDENTS = tuple(Person(f"student-{number}@example.com", teams=("blue",)) for number in range(1, 200))
_students = itertools.cycle(STUDENTS)
#: The sentence of a code that gives no seat to whom asks.
_NOT_GOOD = "This code is not good"


class Course:
    """One booking from the template small, which has started."""

    def __init__(self, stack: Stack, client: Client) -> None:
        self.event = unique("course")
        self.codes: dict[str, str] = {}
        #: The person of each seat whose code was good.
        self.people: dict[str, Person] = {}
        self.systems = Systems(stack)
        #: Each repeat is the same request.
        self._now = datetime.now(UTC)
        self._stack = stack
        self._reservations = Reservations(client)

    def seat(self, number: int) -> str:
        return f"{self.event}-{number:02}"

    # --- what people ask -------------------------------------------------------------------------------

    async def call(self, person: Person, method: str, path: str, **more: Any) -> httpx.Response | None:
        """One call; None if the API was killed in it, or does not run."""
        headers = {"Authorization": f"Bearer {self._stack.token_of(person.email)}"}
        base = f"{self._stack.api_url}/api/v1"
        async with httpx.AsyncClient(
            base_url=base, headers=headers, timeout=HANG, trust_env=False, verify=TLS
        ) as http:
            try:
                return await http.request(method, path, **more)
            except httpx.TransportError:
                return None

    async def answered(self, person: Person, method: str, path: str, **more: Any) -> httpx.Response:
        """The answer to a call that is repeated while Temporal, a worker or the API does not answer."""
        found: list[httpx.Response] = []

        async def has_answer() -> bool:
            answer = await self.call(person, method, path, **more)
            if answer is not None and answer.status_code != 503:
                found.append(answer)
            return bool(found)

        await _until(has_answer, f"{method} {path} has no answer")
        return found[0]

    async def ask_to_book(self, seats: int) -> httpx.Response | None:
        """Ask for the booking once."""
        begin, end = self._now - timedelta(minutes=5), self._now + timedelta(hours=2)
        body = {"event": self.event, "template": "small", "seats": seats}
        times = {"from": begin.isoformat(), "until": end.isoformat()}
        return await self.call(ALICE, "POST", "/bookings", json=body | times)

    async def book(self, seats: int) -> None:
        """Book it. A stack that has just started knows after a moment what its host has."""

        async def is_booked() -> bool:
            answer = await self.ask_to_book(seats)
            assert answer is not None
            if answer.status_code == 503:
                return False
            assert answer.status_code == 201, answer.text
            self.note_codes(answer)
            return True

        await _until(is_booked, "it is not booked")

    def note_codes(self, answer: httpx.Response) -> None:
        self.codes |= {one["seat"]: one["code"] for one in answer.json()["codes"]}

    async def try_code(self, number: int, person: Person) -> httpx.Response | None:
        """Use the code of a seat once."""
        return await self.call(person, "POST", "/seats", json={"code": self.codes[self.seat(number)]})

    async def take(self, number: int, person: Person | None = None) -> None:
        """Use the code of a seat until there is an answer, which is that seat."""
        name = self.seat(number)
        person = person or self.people.get(name) or next(_students)
        answer = await self.answered(person, "POST", "/seats", json={"code": self.codes[name]})
        assert answer.status_code in (200, 202), answer.text
        assert answer.json()["name"] == name
        self.people[name] = person

    async def end(self) -> None:
        """Ask for its end."""
        answer = await self.answered(ALICE, "DELETE", f"/bookings/{self.event}")
        assert answer.status_code == 202, answer.text

    async def view(self) -> dict[str, Any]:
        """How it is shown."""
        answer = await self.answered(ALICE, "GET", f"/bookings/{self.event}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def until(
        self, holds: Callable[[dict[str, Any]], bool], otherwise: str, longest: float = HANG
    ) -> dict[str, Any]:
        """Wait until it is shown so."""
        found: list[dict[str, Any]] = []

        async def is_so() -> bool:
            found[:] = [await self.view()]
            return holds(found[0])

        await _until(is_so, otherwise, lambda: found, longest)
        return found[0]

    # --- what holds ------------------------------------------------------------------------------------

    async def has_standbys(self, number: int) -> None:
        """Wait until so many standbys are ready, and all that there are have one of each on the host."""

        async def are_ready() -> bool:
            answer = await self.answered(ALICE, "GET", "/pools")
            pools = [pool for pool in answer.json()["pools"] if pool["booking"] == self.event]
            if [(pool["ready"], pool["making"]) for pool in pools] != [(number, 0)]:
                return False
            standbys = [name for name in await self.held() if name.startswith(STANDBY_NAME_START)]
            found = [self.systems.holds(name) for name in standbys]
            return all(one.get("namespace") == one.get("release") == 1 for one in found)

        await _until(are_ready, f"it has not {number} standbys", self.systems.standbys)

    async def is_seated(self, number: int) -> None:
        """Wait until the seat is ready: it has one of each, its person owns it, and its code is used up."""
        name = self.seat(number)
        person = self.people[name]

        async def is_ready() -> bool:
            answer = await self.answered(person, "GET", f"/environments/{name}")
            if answer.status_code != 200:
                return False
            shown = answer.json()
            assert shown["owner"] == person.email
            assert not shown["ended"], shown["problem"]
            return bool(shown["phase"] == "ready")

        await _until(is_ready, f"{name} is not ready", lambda: self.systems.holds(name))
        assert_one_of_each(self.systems.holds(name))
        assert len(self.systems.places(name)) == 1
        await self.is_used_up(number)

    async def is_used_up(self, number: int) -> None:
        """Fail unless the code gives nothing to another person."""
        answer = await self.answered(
            next(_students), "POST", "/seats", json={"code": self.codes[self.seat(number)]}
        )
        assert answer.status_code == 422, answer.text
        assert _NOT_GOOD in answer.text
        owners = {seat["name"]: seat["person"] for seat in (await self.view())["people"]}
        person = self.people.get(self.seat(number))
        assert owners[self.seat(number)] == (person.email if person else "")

    async def is_over(self, refused: Mapping[str, Person] = {}, longest: float = HANG) -> dict[str, Any]:
        """Wait until it is over: its certificate says what is true, and nothing is left of it anywhere.

        People who were `refused` while it ended may have a seat, of which nothing was made.
        """
        view = await self.until(lambda shown: bool(shown["phase"] == "ended"), "it is not over", longest)
        left = {name: found for name in self.codes if (found := self.systems.holds(name))}
        assert left == {}, f"the booking is over, and there is {left}"
        ended = {place["name"]: place for place in view["ended"]}
        assert not any(self.systems.holds(name) for name in ended)
        assert view["nothing_left"], ended
        assert view["left"] == []
        assert len(ended) == len(view["ended"]), "a place is in the certificate twice"
        assert set(self.people) <= set(ended), "a seat is not in the certificate"
        for place in view["ended"]:
            if place["certificate"] is None:
                assert place["name"] in refused, place
            else:
                assert place["certificate"]["nothing_left"], place
        owners = {seat["name"]: seat["person"] for seat in view["people"] if seat["person"]}
        unmade = {name: person.email for name, person in refused.items() if name in owners}
        assert owners == {name: person.email for name, person in self.people.items()} | unmade
        for number in range(1, len(self.codes) + 1):
            answer = await self.answered(
                self.people.get(self.seat(number)) or next(_students),
                "POST",
                "/seats",
                json={"code": self.codes[self.seat(number)]},
            )
            assert answer.status_code == 422, answer.text
        return view

    async def is_free(self, longest: float) -> None:
        """Wait until no room is held for the event, which was never started, and its standbys are gone."""

        async def is_free() -> bool:
            return await self.held() == () and not self.systems.standbys()

        await _until(is_free, "its room is held", longest=longest)
        answer = await self.answered(ALICE, "GET", f"/bookings/{self.event}")
        assert answer.status_code == 404, answer.text

    async def holds_nothing(self) -> None:
        """Fail unless no system has anything, and the capacity holds nothing."""
        assert self.systems.all() == {}
        assert await self.held() == ()

    async def held(self) -> tuple[str, ...]:
        """The names of all that holds a place, and the events that hold room."""
        found: list[tuple[str, ...]] = []

        async def is_known() -> bool:
            try:
                places = await self._reservations.list_reservations()
                bookings = await self._reservations.list_bookings()
            except (NoWorker, TemporalUnavailable):
                return False
            names = [place.name for place in places]
            found.append((*names, *(hold.event for hold in bookings.bookings)))
            return True

        await _until(is_known, "no worker says what is held")
        return found[0]


async def _until(
    holds: Callable[[], Any], otherwise: str, found: Callable[[], object] = lambda: "", longest: float = HANG
) -> None:
    ends = asyncio.get_running_loop().time() + longest
    for pause in pauses(0.1, 0.5):
        if await holds():
            return
        assert asyncio.get_running_loop().time() < ends, f"{otherwise}: {found()}"
        await asyncio.sleep(pause)
