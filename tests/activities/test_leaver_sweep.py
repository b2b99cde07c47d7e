"""A leavers' sweep at size: 2,000 owners, and a directory with a limit by minute, on a clock of the test."""

import math
import re
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import formatdate
from typing import Any, cast

import httpx
import pytest
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.testing import ActivityEnvironment

from activities import activity_context
from activities.activity_context import ActivityContext
from activities.errors import Interrupted
from activities.sweeps import leavers as leaver_sweep
from activities.sweeps.leavers import PAGE_SIZE, PEOPLE_PER_CHECKPOINT, LeaverSweep
from clients.identity.client_credentials import ClientCredentials
from clients.identity.entra import Entra
from clients.identity.okta import Okta
from clients.identity.scim import Scim
from clients.transport.http import Credentials
from contracts.sweeps.leavers import LeaverSweepInput, LookInput, LookResult
from contracts.temporal import search_attributes
from tests.support.stand_ins import TLS
from workflows.sweeps.leavers import LOOK_ATTEMPT_TIMEOUT

pytestmark = pytest.mark.slow

OWNERS = 2000
#: Where the number does not matter: two minutes of a sweep.
FEW = 600
#: Of each owner.
ENVIRONMENTS = 2
#: What is left of Okta's limit for one API token, which by default has half of an org's 600 calls a minute.
#: https://developer.okta.com/docs/reference/rl2-limits/
OKTA_PER_MINUTE = 300
#: Of one call, in seconds.
LATENCY = 0.08
LIMIT = timedelta(seconds=5)


@dataclass
class Clock:
    """The time, which only sleeping and calls move."""

    now: float = 1_900_000_000.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(leaver_sweep, "time", clock)
    monkeypatch.setattr(activity_context, "sleep", clock.sleep)
    return clock


@dataclass
class Provider:
    """A directory with so many calls of a kind in a minute, counted as Okta and Graph count them."""

    clock: Clock
    limit: int
    #: People who are not there, and those whose address is no login.
    gone: frozenset[str] = frozenset()
    renamed: frozenset[str] = frozenset()
    #: Calls that other programs make in each minute.
    others: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    #: Calls by kind and minute, and the number of those that were too many.
    windows: Counter[tuple[str, int]] = field(default_factory=Counter)
    refused: int = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.clock.now += LATENCY
        kind = "by login" if request.url.path.count("/") == 4 else "search"
        minute = int(self.clock.now // 60)
        self.calls[kind] += 1
        self.windows[kind, minute] += 1
        if self.windows[kind, minute] + self.others > self.limit:
            self.refused += 1
            return self._too_many(minute)
        if request.url.host == "scim.example.com":
            return self._scim(request)
        return self._okta(request) if request.url.host == "acme.okta.com" else self._graph(request)

    def _too_many(self, minute: int) -> httpx.Response:
        headers = {
            "X-Rate-Limit-Limit": str(self.limit),
            "X-Rate-Limit-Remaining": "0",
            "X-Rate-Limit-Reset": str((minute + 1) * 60),
            "Date": formatdate(math.floor(self.clock.now), usegmt=True),
        }
        return httpx.Response(429, json={"errorCode": "E0000047", "errorSummary": "x"}, headers=headers)

    def _okta(self, request: httpx.Request) -> httpx.Response:
        searched = request.url.params.get("search")
        person = searched.split('"')[1] if searched else request.url.path.rpartition("/")[2]
        user = {"id": f"00u{person}", "status": "ACTIVE", "profile": {"login": person, "email": person}}
        if searched:
            user["profile"] = {"login": f"login of {person}", "email": person}
            return httpx.Response(200, json=[user] if person in self.renamed else [])
        if person in self.gone | self.renamed:
            return httpx.Response(404, json={"errorCode": "E0000007", "errorSummary": "Not found"})
        return httpx.Response(200, json=user)

    def _scim(self, request: httpx.Request) -> httpx.Response:
        # Users are found by one condition or by several, whatever the case of their letters is.
        conditions = re.findall(
            r'(userName|emails\.value) eq "([^"]*)"', request.url.params.get("filter", "")
        )
        named = {value.lower() for _, value in conditions}
        people = sorted(name for name in named if name.startswith("person.") and name not in self.gone)
        users = [
            {"id": name, "userName": name, "active": True, "emails": [{"value": name}]} for name in people
        ]
        total = len(users) if conditions else OWNERS
        return httpx.Response(
            200, json={"totalResults": total, "itemsPerPage": len(users), "Resources": users}
        )

    def _graph(self, request: httpx.Request) -> httpx.Response:
        person = request.url.params["$filter"].split("'")[1]
        user = {"id": person, "userPrincipalName": person, "mail": person, "accountEnabled": True}
        return httpx.Response(200, json={"value": [] if person in self.gone else [user]})

    @property
    def busiest_minute(self) -> int:
        return max(self.windows.values())


class _Credentials:
    async def headers(self) -> Mapping[str, str]:
        return {}

    async def renew_after_refusal(self, _refused: Mapping[str, str]) -> bool:
        return False

    async def close(self) -> None:
        pass


def okta(provider: Provider) -> Any:
    client = Okta("https://acme.okta.com", "00token", timeout=LIMIT, verify=TLS)
    return _behind(client, provider)


def entra(provider: Provider) -> Any:
    credentials = cast(ClientCredentials, cast(Credentials, _Credentials()))
    client = Entra("https://graph.microsoft.com/v1.0", credentials, timeout=LIMIT, verify=TLS)
    return _behind(client, provider)


def scim(provider: Provider) -> Any:
    return _behind(Scim("https://scim.example.com/v2", "token", timeout=LIMIT, verify=TLS), provider)


def _behind(client: Any, provider: Provider) -> Any:
    http = client._http._http
    http._transport, http._mounts = httpx.MockTransport(provider.answer), {}
    return client


class _Run:
    """An open environment as a list of Temporal has it."""

    def __init__(self, number: int) -> None:
        pairs = [SearchAttributePair(search_attributes.OWNER, owner(number))]
        self.typed_search_attributes = TypedSearchAttributes(pairs)

    async def memo_value(self, _key: str, default: str, **_: Any) -> str:
        return default


class Environments:
    """The open environments in pages; it counts how many of them are held at one time."""

    def __init__(self, owners: int) -> None:
        self._owners = owners
        self.page_size = 0
        self.most = 0
        self._held: weakref.WeakSet[_Run] = weakref.WeakSet()

    def list_workflows(self, _query: str, *, page_size: int, **_: Any) -> AsyncIterator[_Run]:
        self.page_size = page_size
        return self._pages(page_size)

    async def _pages(self, size: int) -> AsyncIterator[_Run]:
        for first in range(0, self._owners * ENVIRONMENTS, size):
            page = [_Run(number % self._owners) for number in range(first, first + size)]
            self._held.update(page)
            while page:
                yield page.pop(0)
                self.most = max(self.most, len(self._held))


def owner(number: int) -> str:
    return f"person.number-{number:05}@department.example.com"


@dataclass
class Sweeping:
    """One activity after the other, as Temporal has it, with what their heartbeats keep."""

    directory: Any
    owners: int
    checkpoint: str = ""
    largest: int = 0
    heartbeats: int = 0
    #: After so many heartbeats the worker shuts down.
    stops_after: float = math.inf

    def __post_init__(self) -> None:
        self.environments = Environments(self.owners)

    async def look(self, **batch: Any) -> LookResult:
        environment = ActivityEnvironment()
        sweep = LeaverSweep(cast(Client, self.environments), self.directory)
        context = ActivityContext(time_left=None, checkpoint=self.checkpoint)

        def kept(details: Any) -> None:
            self.heartbeats += 1
            self.checkpoint = details.checkpoint
            self.largest = max(self.largest, len(details.checkpoint))
            if self.heartbeats >= self.stops_after:
                context.stop(is_final=False)

        async def work() -> LookResult:
            activity_context.set_current(context)
            pace = LeaverSweepInput().lookups_per_minute
            return await sweep.look(LookInput(lookups_per_minute=pace, **batch))

        environment.on_heartbeat = kept
        result: LookResult = await environment.run(work)
        return result


@pytest.mark.parametrize("connect", [okta, entra, scim])
async def test_many_owners_stay_under_the_limit(clock: Clock, connect: Any, record_property: Any) -> None:
    """Ensures one call a person at an even pace, and that one page of environments is held at a time."""
    gone = frozenset(owner(number) for number in range(0, OWNERS, 100))
    provider = Provider(clock, OKTA_PER_MINUTE, gone=gone)
    sweeping, started = Sweeping(connect(provider), OWNERS), clock.now
    result = await sweeping.look()
    took = clock.now - started
    assert (result.asked, set(result.missing), result.unclear) == (OWNERS, gone, ())
    assert provider.refused == 0
    assert provider.busiest_minute <= OKTA_PER_MINUTE
    assert provider.calls.total() <= OWNERS + len(gone)
    assert OWNERS / OKTA_PER_MINUTE * 60 <= took + LATENCY < LOOK_ATTEMPT_TIMEOUT.total_seconds() / 4
    assert sweeping.environments.page_size == PAGE_SIZE
    assert sweeping.environments.most <= PAGE_SIZE
    record_property(f"seconds of a sweep of {OWNERS} owners", round(took))


async def test_people_whose_address_is_no_login_take_two_calls_of_two_limits(clock: Clock) -> None:
    renamed = frozenset(owner(number) for number in range(FEW))
    provider = Provider(clock, OKTA_PER_MINUTE, renamed=renamed)
    result = await Sweeping(okta(provider), FEW).look()
    assert (result.missing, result.unclear) == ((), ())
    assert provider.calls == {"by login": FEW, "search": FEW}
    assert provider.refused == 0
    assert provider.busiest_minute <= OKTA_PER_MINUTE


async def test_a_rate_limit_that_other_programs_use_up_delays_the_sweep_and_removes_no_access(
    clock: Clock,
) -> None:
    """Ensures that a refused call waits until the time that the directory states, and is asked once more."""
    provider = Provider(clock, OKTA_PER_MINUTE, others=OKTA_PER_MINUTE * 2 // 3)
    started = clock.now
    result = await Sweeping(okta(provider), FEW).look()
    assert (result.asked, result.missing, result.unclear) == (FEW, (), ())
    minutes = (clock.now - started) / 60
    assert 0 < provider.refused <= minutes + 1, "it goes on asking within a minute that is used up"
    assert clock.now - started < LOOK_ATTEMPT_TIMEOUT.total_seconds()


async def test_a_worker_that_ends_in_the_middle_costs_few_calls_twice(clock: Clock) -> None:
    """Ensures that the next attempt continues, also while many are missing, and keeps no heavy state."""
    gone = frozenset(owner(number) for number in range(FEW))
    provider = Provider(clock, OKTA_PER_MINUTE, gone=gone)
    sweeping = Sweeping(entra(provider), FEW, stops_after=30)
    with pytest.raises(Interrupted):
        await sweeping.look()
    asked_before = provider.calls.total()
    assert 0 < asked_before < FEW
    sweeping.stops_after = math.inf
    result = await sweeping.look()
    assert set(result.missing) == gone
    assert provider.calls.total() <= FEW + PEOPLE_PER_CHECKPOINT
    assert sweeping.largest * OWNERS / FEW < 256 * 1024, "Temporal warns of larger payloads"


async def test_batches_look_up_each_person_once(clock: Clock) -> None:
    """Ensures that every batch continues after the one before it, and that the last one says that it is."""
    gone = frozenset(owner(number) for number in range(0, FEW, 100))
    provider = Provider(clock, OKTA_PER_MINUTE, gone=gone)
    looked = LookResult()
    sizes: list[int] = []
    while not sizes or looked.last:
        batch = await Sweeping(entra(provider), FEW).look(after=looked.last, at_most=250)
        sizes.append(batch.asked)
        looked = looked.plus(batch)
    assert sizes == [250, 250, 100]
    assert (looked.asked, looked.missing, looked.back) == (FEW, tuple(sorted(gone)), ())
    assert provider.calls.total() == FEW


async def test_a_batch_that_has_all_people_is_the_last(clock: Clock) -> None:
    provider = Provider(clock, OKTA_PER_MINUTE)
    assert (await Sweeping(entra(provider), 50).look(at_most=50)).last == ""
    assert (await Sweeping(entra(provider), 50).look(at_most=49)).last == owner(48)
    assert (await Sweeping(entra(provider), 50).look(after=owner(49), at_most=50)).asked == 0
