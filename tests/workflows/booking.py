"""Bookings on the house of a test, asked for as the API does; people and catalogue say yes to all."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from temporalio.client import WorkflowHandle

from contracts.booking_workflow import BookingStatus
from contracts.bookings import booking_id
from contracts.capacity.models import ReservationRequest
from contracts.environment.models import Environment
from contracts.standby import STANDBY_WORKFLOW
from contracts.templates.template import Template
from contracts.types.naming import workflow_id
from starter.auth.policy import Principal, Role
from starter.bookings.schemas import BookingCodes, BookingView
from starter.bookings.service import BookingService, RequestedBooking
from starter.environments.reader import EnvironmentReader
from starter.environments.requests.service import EnvironmentStarter
from starter.environments.schemas import Done
from starter.installation_settings import InstallationConfig
from starter.temporal.errors import NoWorker
from tests.workflows.conftest import HURRY, a_start, until
from tests.workflows.house import CapacityBench
from workflows.booking import BookingWorkflow
from workflows.environment.workflow import EnvironmentWorkflow

_T = TypeVar("_T")

PIA = Principal(person="pia", email="pia@example.com", teams=("platform",), role=Role.PLATFORM)


def person(name: str) -> Principal:
    return Principal(person=name, email=f"{name}@example.com", teams=("blue",))


class _Everything:
    """Catalogue, directory and placement of a test: one template, everybody, all hosts."""

    def __init__(self, house: CapacityBench) -> None:
        self._house = house

    def current(self) -> "_Everything":
        return self

    def offered_to(self, *_: Any, **__: Any) -> Sequence[Template]:
        return [a_start("a").environment.template]

    async def find_user(self, email: str) -> object:
        return email

    async def reservation_request(self, environment: Environment) -> ReservationRequest:
        return self._house.ask(environment.name)


async def patiently(call: Callable[[], Awaitable[_T]]) -> _T:
    """The answer to a call, which a busy machine's worker may not give in time; a repeat changes nothing."""
    found: list[_T] = []

    async def answers() -> bool:
        with suppress(NoWorker):
            found.append(await call())
        return bool(found)

    await until(answers, "a worker answers")
    return found[0]


@dataclass
class BookingBench:
    """Books and redeems, each call as if by a separate process."""

    house: CapacityBench

    @property
    def service(self) -> BookingService:
        house, everything = self.house, _Everything(self.house)
        reader = EnvironmentReader(house.client)
        installation = InstallationConfig("testinstallation"[:16], "t", {}, None, True, HURRY)
        return BookingService(
            client=house.client,
            installation=installation,
            catalogue=everything,  # type: ignore[arg-type]
            people=everything,
            placement=everything,  # type: ignore[arg-type]
            reservations=house.reservations,
            environments=reader,
            starter=EnvironmentStarter(house.client, reader, house.reservations),
        )

    def wanted(
        self,
        seats: int = 2,
        event: str = "kurs",
        starts_in: timedelta = timedelta(minutes=-30),
        ends_in: timedelta = timedelta(hours=1),
    ) -> RequestedBooking:
        """A request for an event that has started, unless `starts_in` says otherwise."""
        now = datetime.now(UTC)
        return RequestedBooking(event, "small", seats, now + starts_in, now + ends_in)

    async def book(self, seats: int = 2, event: str = "kurs", **times: timedelta) -> BookingCodes:
        wanted = self.wanted(seats, event, **times)
        return await patiently(lambda: self.service.book(wanted, PIA))

    async def redeem(self, code: str, who: str) -> Done:
        return await patiently(lambda: self.service.redeem(code, person(who)))

    async def read(self, event: str = "kurs") -> BookingView:
        return await patiently(lambda: self.service.reader.read(event))

    async def end(self, event: str = "kurs") -> BookingView:
        return await patiently(lambda: self.service.end(event, PIA))

    async def renew_codes(self, event: str = "kurs") -> BookingCodes:
        return await patiently(lambda: self.service.renew_codes(event, PIA))

    def handle(self, event: str = "kurs") -> WorkflowHandle[BookingWorkflow, BookingStatus]:
        handle: WorkflowHandle[BookingWorkflow, BookingStatus] = self.house.client.get_workflow_handle_for(
            BookingWorkflow.run, booking_id(event)
        )
        return handle

    async def status(self, event: str = "kurs") -> BookingStatus:
        return await self.handle(event).query(BookingWorkflow.status)

    async def held(self, event: str = "kurs") -> int:
        """How many seats are held for the event, taken or not; 0 after its end."""
        held = await patiently(self.house.reservations.list_bookings)
        return sum(hold.number for hold in held.bookings if hold.event == event)

    async def until_standbys(self, number: int) -> None:
        async def ready() -> bool:
            pools = await patiently(self.house.reservations.list_pools)
            return sum(pool.ready for pool in pools) == number

        await until(ready, f"{number} standbys are ready")

    async def open_standbys(self) -> list[str]:
        query = f"WorkflowType = '{STANDBY_WORKFLOW}' AND ExecutionStatus = 'Running'"
        return [run.id async for run in self.house.client.list_workflows(query)]

    async def until_ready(self, name: str) -> None:
        handle: WorkflowHandle[EnvironmentWorkflow, Any] = self.house.client.get_workflow_handle_for(
            EnvironmentWorkflow.run, workflow_id(name)
        )

        async def ready() -> bool:
            return (await handle.query(EnvironmentWorkflow.status)).phase == "ready"

        await until(ready, f"{name} is ready")
