"""Faults on purpose: which calls they strike, how often, and whether the thing was done."""

import json
import time
from collections import Counter
from typing import Any, cast

import httpx
import pytest

from embedded.faults import CONTROL_PATH, Fault, FaultInjector, FaultKind, Receive, Scope, Send


class Shop:
    """An application with two operations, which counts what was done."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        self.bodies.append(message.get("body", b""))
        self.done[scope["path"]] += 1
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b'{"made": "something"}'})

    @staticmethod
    def operation_of(method: str, path: str) -> str | None:
        return {"/thing": "thing.create", "/other": "other.create"}.get(path)


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def injector(shop: Shop) -> FaultInjector:
    return FaultInjector(shop, shop.operation_of)


@pytest.fixture
def http(injector: FaultInjector) -> httpx.AsyncClient:
    # Holds no connection, so there is nothing to close. The type of an application is stricter at httpx.
    transport = httpx.ASGITransport(cast(Any, injector))
    return httpx.AsyncClient(transport=transport, base_url="http://shop.test")


async def answered(http: httpx.AsyncClient, *paths: str) -> list[int]:
    return [(await http.post(path, json={})).status_code for path in paths]


async def test_without_faults_everything_passes(http: httpx.AsyncClient, shop: Shop) -> None:
    assert await answered(http, "/thing", "/other", "/thing") == [201, 201, 201]
    assert shop.done == {"/thing": 2, "/other": 1}


@pytest.mark.parametrize(
    ("fault", "status", "done"),
    [
        (Fault(kind=FaultKind.STATUS, status=503), 503, 0),
        (Fault(kind=FaultKind.STATUS_AFTER, status=504), 504, 1),
        (Fault(kind=FaultKind.STATUS_AFTER, status=504, seconds=0.05), 504, 1),
        (Fault(kind=FaultKind.HTML, status=502), 502, 0),
        (Fault(kind=FaultKind.DELAY_BEFORE, seconds=0.01), 201, 1),
        (Fault(kind=FaultKind.DELAY_AFTER, seconds=0.01), 201, 1),
        (Fault(kind=FaultKind.TRUNCATE), 201, 1),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
async def test_fault_answers_so_and_has_done_it_or_not(
    http: httpx.AsyncClient, injector: FaultInjector, shop: Shop, fault: Fault, status: int, done: int
) -> None:
    injector.faults = [fault]
    began = time.monotonic()
    assert await answered(http, "/thing") == [status]
    assert time.monotonic() - began >= fault.seconds
    assert shop.done["/thing"] == done
    assert injector.injected == 1


@pytest.mark.parametrize(("kind", "done"), [(FaultKind.CUT_BEFORE, 0), (FaultKind.CUT_AFTER, 1)])
async def test_cut_leaves_half_an_answer_and_has_done_it_or_not(
    injector: FaultInjector, shop: Shop, kind: FaultKind, done: int
) -> None:
    injector.faults = [Fault(kind=kind)]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await injector({"type": "http", "method": "POST", "path": "/thing"}, receive, send)
    assert dict(sent[0]["headers"])[b"content-length"] == b"1000"
    assert sent[-1]["more_body"], "the answer must not be complete"
    assert shop.done["/thing"] == done


async def test_truncated_answer_is_half_of_it_and_well_formed(
    http: httpx.AsyncClient, injector: FaultInjector
) -> None:
    injector.faults = [Fault(kind=FaultKind.TRUNCATE)]
    answer = await http.post("/thing")
    assert answer.content == b'{"made": "something"}'[:10]
    assert answer.headers["content-length"] == "10"


async def test_status_comes_with_the_delay_that_it_asks_for(
    http: httpx.AsyncClient, injector: FaultInjector
) -> None:
    injector.faults = [Fault(kind=FaultKind.STATUS, status=429, retry_after=7)]
    assert (await http.post("/thing")).headers["retry-after"] == "7"


async def test_fault_strikes_its_next_calls_and_no_more(
    http: httpx.AsyncClient, injector: FaultInjector
) -> None:
    injector.faults = [Fault(operation="thing.*", kind=FaultKind.STATUS, times=2)]
    assert await answered(http, "/other", "/thing", "/thing", "/thing") == [201, 500, 500, 201]
    assert injector.faults == []


async def test_faults_strike_in_their_order(http: httpx.AsyncClient, injector: FaultInjector) -> None:
    injector.faults = [
        Fault(kind=FaultKind.STATUS, status=500, times=1),
        Fault(operation="thing.create", kind=FaultKind.STATUS, status=503),
    ]
    assert await answered(http, "/thing", "/thing", "/other") == [500, 503, 201]


async def test_share_strikes_some_calls_and_spares_others(
    http: httpx.AsyncClient, injector: FaultInjector
) -> None:
    injector.faults = [Fault(kind=FaultKind.STATUS, share=0.5)]
    # The chance that 200 throws of a coin all fall alike is nil.
    assert set(await answered(http, *["/thing"] * 200)) == {201, 500}


async def test_call_without_an_operation_is_never_struck(
    http: httpx.AsyncClient, injector: FaultInjector
) -> None:
    injector.faults = [Fault(kind=FaultKind.STATUS)]
    assert await answered(http, "/nameless") == [201]


async def test_faults_are_set_read_and_cleared_while_it_runs(http: httpx.AsyncClient) -> None:
    fault = {"operation": "thing.create", "kind": "status", "status": 418, "times": 3}
    assert (await http.put(CONTROL_PATH, json=[fault])).json() == (await http.get(CONTROL_PATH)).json()
    assert await answered(http, "/thing") == [418]
    [left] = (await http.get(CONTROL_PATH)).json()
    assert left["times"] == 2
    assert (await http.delete(CONTROL_PATH)).json() == []
    assert await answered(http, "/thing") == [201]


@pytest.mark.parametrize(
    "body",
    [
        [{"kind": "no such kind"}],
        [{"kind": "status", "statuss": 500}],
        [{"kind": "status", "share": 2}],
        {"kind": "status"},
    ],
)
async def test_fault_that_is_none_is_refused_and_leaves_the_others(
    http: httpx.AsyncClient, injector: FaultInjector, body: object
) -> None:
    injector.faults = [Fault(kind=FaultKind.STATUS)]
    refused = await http.put(CONTROL_PATH, json=body)
    assert refused.status_code == 422
    assert json.loads(refused.content)["detail"]
    assert injector.faults == [Fault(kind=FaultKind.STATUS)]


async def test_delayed_call_is_done_as_asked_although_its_caller_is_gone(
    injector: FaultInjector, shop: Shop
) -> None:
    """As uvicorn has it: once the caller is gone, all that is left to receive is that it is gone."""
    injector.faults = [Fault(kind=FaultKind.DELAY_BEFORE, seconds=0.05)]
    received = iter([{"type": "http.request", "body": b"asked", "more_body": False}])

    async def receive() -> dict[str, Any]:
        return next(received, {"type": "http.disconnect"})

    async def send(message: dict[str, Any]) -> None:
        pass

    await injector({"type": "http", "method": "POST", "path": "/thing"}, receive, send)
    assert shop.bodies == [b"asked"]
