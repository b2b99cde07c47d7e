"""Ensures that one name is one environment for all who come through the API."""

import asyncio

import httpx
import pytest

from embedded.stack.stack import Stack
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.support.stack import ALICE, BOB, unique

pytestmark = pytest.mark.slow


async def test_the_same_key_again_is_the_same_request(asking: Asking) -> None:
    name = unique("key")
    first = await asking.request(name, key="k-1")
    again = await asking.request(name, key="k-1")
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["life"] == again.json()["life"]
    await asking.until_phase(name, "ready")
    await asking.delete(name)
    await asking.until(name, lambda now: now["ended"], "ended")

    late = await asking.request(name, key="k-1")
    assert late.status_code == 200, f"a late retry is answered with the outcome: {late.text}"
    assert (await asking.show(name))["phase"] == "gone", "a late retry has made it again"


async def test_another_person_is_refused(stack: Stack, asking: Asking) -> None:
    name = unique("taken")
    await asking.request(name)
    async with Asking(stack, BOB) as bob:
        answer = await bob.request(name)
    assert answer.status_code == 409
    assert ALICE.email not in answer.text
    await asking.delete(name)


async def test_another_spec_is_refused_with_its_fields(asking: Asking) -> None:
    name = unique("other")
    await asking.request(name)
    answer = await asking.request(name, ttl="2h")
    assert answer.status_code == 409
    assert "ttl" in answer.text
    await asking.delete(name)


async def test_twenty_clients_at_once_get_one_environment(asking: Asking, systems: Systems) -> None:
    name = unique("crowd")

    async def ask(number: int) -> httpx.Response:
        answer = await asking.request(name, key=f"k-{number}")
        while (
            answer.status_code == 503
        ):  # Temporal is slow: each asks again with the key, as the command does.
            await asyncio.sleep(float(answer.headers["Retry-After"]))
            answer = await asking.request(name, key=f"k-{number}")
        return answer

    answers = await asyncio.gather(*map(ask, range(20)))
    others = [answer.text for answer in answers if answer.status_code not in (200, 202)]
    assert not others
    assert len({answer.json()["life"] for answer in answers}) == 1
    await asking.until_phase(name, "ready")
    assert systems.holds(name)["project"] == 1
    await asking.delete(name)
    await asking.until_phase(name, "gone")


async def test_during_its_teardown_it_is_refused_and_after_it_made_again(asking: Asking) -> None:
    name = unique("phoenix")
    await asking.request(name)
    await asking.until_phase(name, "ready")
    await asking.delete(name)
    answer = await asking.request(name, key="k-2")
    assert answer.status_code == 409
    assert "torn down" in answer.text
    await asking.until_phase(name, "gone")
    assert (await asking.request(name, key="k-3")).status_code == 202
    await asking.until_phase(name, "ready")
    await asking.delete(name)
    await asking.until_phase(name, "gone")
