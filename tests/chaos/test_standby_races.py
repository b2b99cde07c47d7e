"""Ensures that a standby has one owner, however many environments take it over at the same moment.

The compare-and-swap is raced over HTTP, against the stand-in of the host; the races of the ledger are in
`tests/contracts/test_pool_races.py`.
"""

import asyncio
import json
import random
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from activities.parts.release_change import release_labels
from activities.parts.standby_claim import offer, take_over, withdraw
from clients.host.models import Health, Namespace, Release, ReleaseStatus
from clients.host.protocol import Host
from clients.simulated_host.host import SimulatedHost
from contracts.environment.chart_values import compose_values
from contracts.environment.models import Environment
from contracts.types.naming import ANNOTATION_OWNER, ANNOTATION_STANDBY, OFFERED, OwnerMark
from tests.contracts.test_pools import a_standby_environment
from tests.support.deadline import HANG
from tests.support.stand_ins import TLS, running_stand_ins

pytestmark = pytest.mark.chaos

RACES = 1000
TOKEN = "a-token-of-the-host"
STANDBY = a_standby_environment().model_copy(update={"host": "one"})


class RacedHost:
    """A host whose namespaces are asked over HTTP; what no race changes is not asked."""

    name = "one"

    def __init__(self, real: Host) -> None:
        self._real = real
        name = STANDBY.host_name
        labels = release_labels(STANDBY, compose_values(STANDBY, {}))
        self._release = Release(name=name, namespace=name, status=ReleaseStatus.DEPLOYED, labels=labels)

    async def get_namespace(self, name: str) -> Namespace | None:
        return await self._real.get_namespace(name)

    async def swap_namespace(
        self, seen: Namespace, labels: Mapping[str, str], annotations: Mapping[str, str | None]
    ) -> bool:
        return await self._real.swap_namespace(seen, labels, annotations)

    async def get_release(self, *_: str) -> Release:
        return self._release

    async def overlay(self, *_: str) -> dict[str, Any]:
        return {}

    async def health(self, *_: str) -> Health:
        return Health()


class Course:
    """The standby for which all race, and what the host's own database says of it."""

    def __init__(self, real: Host, database: Path) -> None:
        self._real, self._database = real, database
        self.host: Any = RacedHost(real)

    async def make(self) -> None:
        await self._real.create_namespace(STANDBY.host_name, STANDBY.mark.labels, owned_by(STANDBY))
        await offer(self.host, STANDBY)

    def stored(self) -> tuple[str, dict[str, str]]:
        """Whose the namespace is, by its life, and its annotations: read past the API."""
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True)) as rows:
            [(labels, annotations)] = rows.execute("SELECT labels, annotations FROM namespaces").fetchall()
        return json.loads(labels)["moorage.dev/life"], json.loads(annotations)

    async def offer_again(self) -> None:
        seen = await self._real.get_namespace(STANDBY.host_name)
        assert seen
        annotations = {**owned_by(STANDBY), ANNOTATION_STANDBY: OFFERED}
        assert await self._real.swap_namespace(seen, STANDBY.mark.labels, annotations)


@pytest.fixture
async def course(tmp_path: Path) -> AsyncIterator[Course]:
    with running_stand_ins(host={"folder": tmp_path, "token": TOKEN}) as [url]:
        real = SimulatedHost("one", url, TOKEN, timeout=timedelta(seconds=HANG), verify=TLS)
        try:
            found = Course(real, tmp_path / "host.sqlite")
            await found.make()
            yield found
        finally:
            await real.close()


def owned_by(environment: Environment) -> dict[str, str]:
    return {ANNOTATION_OWNER: environment.mark.text}


def claimant(number: str) -> Environment:
    """An environment that was given the standby."""
    mark = OwnerMark.for_request(STANDBY.mark.installation, f"demo-{number}", number)
    return STANDBY.model_copy(update={"mark": mark, "standby": STANDBY.mark, "is_standby": False})


@pytest.mark.guarantee("6. Any sequence")
async def test_a_thousand_races_for_one_standby(
    course: Course, record_property: Callable[[str, object], None]
) -> None:
    """In each race two or three environments take it over, and in some it ends at the same moment."""
    chance = random.Random(4711)
    taken = ended = cold = 0
    for race in range(RACES):
        many = [claimant(f"{race}-{number}") for number in range(chance.choice((2, 2, 2, 2, 3)))]
        calls: list[Any] = [take_over(course.host, each, each.mark.labels, owned_by(each)) for each in many]
        if race % 10 == 0:
            calls.insert(chance.randrange(len(calls) + 1), withdraw(course.host, STANDBY))
        results = await asyncio.gather(*calls)
        owners = [each for each in many if each in results]
        losers = [each for each in many if each.without_standby in results]
        assert len(owners) + len(losers) == len(many)
        life, annotations = course.stored()
        if owners:
            [owner] = owners
            assert life == owner.mark.life
            assert ANNOTATION_STANDBY not in annotations
        else:
            assert life == STANDBY.mark.life
            assert annotations[ANNOTATION_STANDBY] != OFFERED
        if race % 10 == 0:
            [known] = [one for one in results if not isinstance(one, Environment)]
            assert known == (owners[0].mark if owners else None), "the standby knows another owner"
        taken, ended, cold = taken + len(owners), ended + (not owners), cold + len(losers)
        await course.offer_again()
    record_property("races", RACES)
    record_property("taken over", taken)
    record_property("withdrawn first", ended)
    record_property("made without it", cold)
    assert taken + ended == RACES
    assert ended
