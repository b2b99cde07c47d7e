"""The seats of a booking: how long people wait for one when all type their codes in the same second."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from benchmarks.support.harness import TRIES, Ground, ground
from contracts.types.naming import STANDBY_NAME_START
from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Person
from tests.lifecycle.databases import Systems
from tests.support.stand_ins import TLS, set_faults

SEATS = 40
EVENT = "course"
TARGET_SECONDS = 6.0
#: What a call to the control plane and to the directory takes, in seconds, as on the end-to-end cluster.
LATENCY = 0.15
TRAINER = Person("trainer@example.com", teams=("blue",), role="platform")


async def measure_seats(folder: Path) -> dict[str, Any]:
    """Book the seats, wait until a standby is ready for each, and have them all taken at once."""
    people = [Person(f"person-{number}@example.com", teams=("blue",)) for number in range(SEATS)]
    async with ground(folder, people=(TRAINER, *people)) as here:
        now = datetime.now(UTC)
        body = {
            "event": EVENT, "template": "small", "seats": SEATS,
            "from": (now + timedelta(minutes=5)).isoformat(), "until": (now + timedelta(hours=2)).isoformat(),
        }  # fmt: skip
        booked = (await _answer(here.api.post("/bookings", json=body))).json()
        await _until(here, lambda pool: pool["ready"] == SEATS)
        _slow_down(here)
        asked = time.time()
        codes = [each["code"] for each in booked["codes"]]
        async with httpx.AsyncClient(base_url=str(here.api.base_url), verify=TLS, trust_env=False) as http:
            taken = await asyncio.gather(
                *(
                    _take(http, here.stack.token_of(one.email), code)
                    for one, code in zip(people, codes, strict=True)
                )
            )
        await here.until("EnvPhase = 'ready'", SEATS)
        waited = sorted([await _usable_after(here, name, asked) for name in taken])
        systems = Systems(here.stack)
        from_pool = sum(any(STANDBY_NAME_START in place for place in systems.places(name)) for name in taken)
    p95 = waited[int(len(waited) * 0.95) - 1]
    return {
        "what": f"{SEATS} seats of a booking, taken in the same second",
        "to usable": f"p50 {waited[len(waited) // 2]:.2f} s, p95 {p95:.2f} s, last {waited[-1]:.2f} s",
        "different seats": len(set(taken)),
        "from a standby": from_pool,
        "a call to the control plane or the directory": f"{LATENCY * 1000:.0f} ms",
        "target": f"p95 < {TARGET_SECONDS:g} s, none twice, none without a standby",
        "reached": p95 < TARGET_SECONDS and len(set(taken)) == from_pool == SEATS,
    }


def _slow_down(here: Ground) -> None:
    for part in (Part.CONTROL_PLANE, Part.DIRECTORY):
        set_faults(here.stack.url(part), Fault(kind=FaultKind.DELAY_BEFORE, seconds=LATENCY))


async def _take(http: httpx.AsyncClient, token: str, code: str) -> str:
    """Take the seat of a code, as the command line does; return its name."""
    headers = {"Authorization": f"Bearer {token}"}
    for _ in range(TRIES):
        answer = await http.post("/seats", json={"code": code}, headers=headers, timeout=60)
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
        await asyncio.sleep(1)
    assert answer.is_success, answer.text
    return str(answer.json()["name"])


async def _usable_after(here: Ground, name: str, asked: float) -> float:
    view = (await _answer(here.api.get(f"/environments/{name}"))).json()
    return datetime.fromisoformat(view["usable_at"]).timestamp() - asked


async def _until(here: Ground, is_so: Callable[[dict[str, Any]], bool]) -> None:
    async with asyncio.timeout(600):
        while True:
            answer = await here.api.get("/pools")
            pools = answer.json().get("pools", [])
            if any(is_so(pool) for pool in pools if pool["booking"] == EVENT):
                return
            await asyncio.sleep(1)


async def _answer(call: Awaitable[httpx.Response]) -> httpx.Response:
    answer = await call
    assert answer.is_success, answer.text
    return answer
