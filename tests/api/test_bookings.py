"""Codes of seats at the door: answered alike, limited for each person and each address, and in the log."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import structlog

from starter.api.routes.bookings import CODES_BURST
from starter.auth.rate_limit import Throttle
from tests.api.application import DEVELOPER, PLATFORM, an_app, bearer
from tests.api.caller import problem
from tests.support.booking_views import CODE, Bookings


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = await an_app(tmp_path)
    app.state.bookings = Bookings()
    app.state.seat_peer_throttle = Throttle(CODES_BURST + 3, 0.001)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://api/api/v1", headers=bearer(DEVELOPER)
    ) as http:
        yield http


async def test_wrong_codes_are_answered_alike_and_are_denied_in_the_log(http: httpx.AsyncClient) -> None:
    with structlog.testing.capture_logs() as lines:
        codes = ("", "K7QF", "ß", CODE[:-1] + "0")
        wrong = [await http.post("/seats", json={"code": code}) for code in codes]
        good = await http.post("/seats", json={"code": CODE})
    assert len({problem(answer, 422)["detail"] for answer in wrong}) == 1
    assert (good.status_code, good.headers["location"]) == (202, "environments/k8s-101-03")
    seats = [line for line in lines if line["event"] == "access"]
    assert [line["verdict"] for line in seats] == ["denied"] * 4 + ["allowed"]
    assert seats[-1]["object"] == "k8s-101-03"
    assert CODE not in str(lines)


@pytest.mark.usefixtures("stopped_throttles")
async def test_who_tries_many_codes_has_to_wait_also_with_a_good_one(http: httpx.AsyncClient) -> None:
    for _ in range(CODES_BURST):
        problem(await http.post("/seats", json={"code": "K7QF"}), 422)
    limited = await http.post("/seats", json={"code": CODE})
    assert problem(limited, 429)["detail"].startswith("too many codes: try again in ")
    assert "Retry-After" in limited.headers


@pytest.mark.usefixtures("stopped_throttles")
async def test_one_address_tries_no_more_codes_than_a_class_does(http: httpx.AsyncClient) -> None:
    for _ in range(CODES_BURST):
        await http.post("/seats", json={"code": "K7QF"})
    others = [await http.post("/seats", json={"code": CODE}, headers=bearer(PLATFORM)) for _ in range(4)]
    assert [answer.status_code for answer in others] == [202, 202, 202, 429]


async def test_a_code_needs_a_person_who_is_signed_in(http: httpx.AsyncClient) -> None:
    answer = await http.post("/seats", json={"code": CODE}, headers={"Authorization": ""})
    problem(answer, 401)


async def test_a_very_long_code_is_not_repeated(http: httpx.AsyncClient) -> None:
    answer = await http.post("/seats", json={"code": "K7QF" * 100})
    assert "K7QF" not in str(problem(answer, 422))
