"""A course on a whole stack: booked, taken by two people with their codes, ended, and nothing left of it."""

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from embedded.stack.stack import Stack
from tests.api.caller import Caller, problem
from tests.cli.test_commands import Cli
from tests.lifecycle.databases import Systems
from tests.support.stack import ALICE, BOB, unique
from tests.workflows.conftest import until

pytestmark = pytest.mark.slow


def when(**later: float) -> str:
    return (datetime.now(UTC) + timedelta(**later)).isoformat()


def cli(stack: Stack, home: Path, email: str) -> Cli:
    return Cli(home, MOORAGE_URL=stack.api_url, MOORAGE_TOKEN=stack.token_of(email))


async def shown(caller: Caller, event: str) -> dict[str, Any]:
    answer = await caller.http.get(f"/bookings/{event}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def until_over(caller: Caller, event: str) -> dict[str, Any]:
    async def over() -> bool:
        return bool((await shown(caller, event))["phase"] == "ended")

    await until(over, "the booking is over")
    return await shown(caller, event)


async def test_a_course_from_the_booking_to_its_certificate(
    stack: Stack, alice: Caller, bob: Caller, carol: Caller, systems: Systems, tmp_path: Path
) -> None:
    """Ensures that seats take over standbys, that all ends together, and that no system has anything left."""
    event, codes_file = unique(), tmp_path / "codes"
    trainer, student = cli(stack, tmp_path, ALICE.email), cli(stack, tmp_path, BOB.email)
    times = ("--from", when(minutes=5), "--until", when(hours=2))
    wrong = await trainer("book", event, "--template", "small", "--seats", "0", *times)
    assert wrong.code == 2
    assert "0 is not a number of seats: from 1 to 99" in wrong.err
    denied = await student("book", event, "--template", "small", "--seats", "2", *times)
    assert denied.code == 4
    three = ("book", event, "-t", "small", "--seats", "3", *times)
    booked = await trainer(*three, "--codes-file", str(codes_file))
    assert booked.code == 0, booked.err
    assert stat.S_IMODE(codes_file.stat().st_mode) == 0o600
    codes = dict(line.split() for line in codes_file.read_text().splitlines())
    assert list(codes) == [f"{event}-{number:02}" for number in (1, 2, 3)]
    assert not any(code in booked.out + booked.err for code in codes.values())
    again = await trainer(*three)
    assert again.code == 1
    assert f"moorage bookings {event} --new-codes" in again.err

    async def standbys_are_ready() -> bool:
        pools = (
            (await alice.http.get("/pools")).json().get("pools", [])
        )  # on a busy machine it may say: ask again
        return [pool["ready"] for pool in pools if pool["booking"] == event] == [3]

    await until(standbys_are_ready, "a standby is ready for each seat")
    first, second = f"{event}-01", f"{event}-02"
    seated = await student("seat", codes[first], "-o", "json")
    assert seated.code == 0, seated.err
    assert json.loads(seated.out)["phase"] == "ready"
    assert any(place.startswith("t-standby-") or "standby-" in place for place in systems.places(first))
    taken = await carol.http.post("/seats", json={"code": codes[second]})
    assert taken.status_code == 202, taken.text
    assert taken.json()["environment"]["labels"] == {"booking": event}
    used = problem(await carol.http.post("/seats", json={"code": codes[first]}), 422)
    assert used["errors"][0]["field"] == "code"
    repeated = await carol.http.post("/seats", json={"code": codes[second].lower()})
    assert (repeated.status_code, repeated.json()["life"]) == (200, taken.json()["life"])
    await carol.until(second, lambda view: view.phase == "ready")
    problem(await bob.http.get(f"/bookings/{event}"), 403)
    view = await shown(alice, event)
    assert [seat["person"] for seat in view["people"]] == ["bob@example.com", "carol@example.com", ""]
    listed = await trainer("bookings", "-o", "json")
    row = next(one for one in json.loads(listed.out)["bookings"] if one["event"] == event)
    assert (row["seats"], row["taken"], row["phase"]) == (3, 2, "open")

    assert (await trainer("bookings", event, "--end", "--yes")).code == 0
    over = await until_over(alice, event)
    assert over["nothing_left"]
    assert {first, second} <= {one["name"] for one in over["ended"]}
    assert all(one["certificate"]["nothing_left"] for one in over["ended"])
    for name in codes:
        assert systems.holds(name) == {}
    assert systems.standbys() == {}
    printed = await trainer("bookings", event)
    assert "nothing left" in printed.out
    assert problem(await bob.http.post("/seats", json={"code": codes[first]}), 422)


async def test_bad_bookings_name_each_field(alice: Caller) -> None:
    body = {"event": "Kurs!", "template": "none", "seats": 100, "from": when(days=40), "until": when(days=41)}
    found = problem(await alice.http.post("/bookings", json=body), 422)
    assert {error["field"] for error in found["errors"]} == {"event", "template", "seats", "from"}
    long = {"event": "kurs", "template": "small", "seats": 1, "from": when(days=1), "until": when(days=29)}
    found = problem(await alice.http.post("/bookings", json=long), 422)
    assert [error["field"] for error in found["errors"]] == ["until"]
    problem(await alice.http.post("/bookings", json=body | {"from": "soon"}), 422)
    problem(await alice.http.get("/bookings/none"), 404)
    problem(await alice.http.delete("/bookings/none"), 404)
    problem(await alice.http.post("/bookings/none/codes"), 404)
    many = {
        "event": unique(),
        "template": "small",
        "seats": 99,
        "from": when(days=1),
        "until": when(days=1, hours=8),
    }
    answer = await alice.http.post("/bookings", json=many)
    if answer.status_code == 409:
        assert "asks for 99 seats from small; host" in problem(answer, 409)["detail"]
        return
    await alice.http.delete(f"/bookings/{many['event']}")
