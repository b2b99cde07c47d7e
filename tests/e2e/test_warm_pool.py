"""Ensures that a request from a warm pool on a real cluster gets and leaves what one without it does."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from contracts.types.naming import (
    ANNOTATION_LIFE,
    ANNOTATION_LIFE_SIGNATURE,
    ANNOTATION_STANDBY,
    OFFERED,
)
from embedded.stack.stack import Stack
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import LOOK_EVERY, MAX_WAIT
from tests.e2e.harbour import write_template
from tests.e2e.using import gone, kubeconfig_of, parts_of, running_pod
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.support.stack import BOB, unique

READY = 2
#: What an environment has in its namespace, and nothing that changes while it runs.
KINDS = "resourcequotas,limitranges,networkpolicies,roles,rolebindings,serviceaccounts,services"


class Pool:
    """The warm pool of one template, on a host that shows its standbys."""

    def __init__(self, real: Stack, cluster: Cluster, alice: Asking) -> None:
        self._folder = Path(real.env["MOORAGE_TEMPLATES"])
        self._cluster, self._alice = cluster, alice
        self.template = unique("warm")

    def keep(self) -> None:
        """Have the template keep it."""
        warm = {"ready": READY, "most": READY + 1}
        write_template(self._folder, self._cluster, self.template, warm=warm)

    async def turn_off(self) -> None:
        """Remove the template, and wait until nothing of any standby is left."""
        (self._folder / f"{self.template}.yaml").unlink(missing_ok=True)
        is_standby = re.compile("standby-[0-9a-f]{12}").fullmatch
        await self.until(lambda: not any(map(is_standby, owners(self._cluster).values())), "turned off")

    def standbys(self) -> set[str]:
        """The namespaces of those that are offered."""
        found = self._cluster.get("namespaces", "-l", "moorage.dev/name")["items"]
        metadata = [each["metadata"] for each in found]
        return {one["name"] for one in metadata if one["annotations"].get(ANNOTATION_STANDBY) == OFFERED}

    async def filled(self) -> set[str]:
        """Wait until all are ready; return their namespaces."""
        shown: list[Any] = []

        async def look() -> bool:
            shown[:] = await self.shown()
            return any(pool["ready"] >= READY and not pool["making"] for pool in shown)

        await _until(look, f"filled, but {shown}")
        return self.standbys()

    async def shown(self) -> list[dict[str, Any]]:
        """What the API says of pools."""
        answer = await self._alice.call("GET", "/pools")
        pools: list[dict[str, Any]] = answer.json().get("pools", [])
        return [pool for pool in pools if pool["template"] == self.template]

    async def until(self, condition: Any, what: str) -> None:
        """Wait until it is so."""

        async def look() -> bool:
            return bool(condition())

        await _until(look, what)


async def _until(look: Any, what: str) -> None:
    ends = time.monotonic() + MAX_WAIT
    while not await look():
        assert time.monotonic() < ends, f"not {what}"
        await asyncio.sleep(0.5)


def owners(cluster: Cluster) -> dict[str, str]:
    """Each namespace of ours, with the name in its mark."""
    found = cluster.get("namespaces", "-l", "moorage.dev/name")["items"]
    return {one["metadata"]["name"]: one["metadata"]["labels"]["moorage.dev/name"] for one in found}


def places_of(cluster: Cluster, name: str) -> list[str]:
    """The namespaces with the mark of an environment."""
    return [place for place, owner in owners(cluster).items() if owner == name]


@pytest.fixture(scope="module")
async def pool(real: Stack, cluster: Cluster) -> AsyncIterator[Pool]:
    """A pool that may be filled: the worker has the right that the others of the suite do without."""
    async with Asking(real, max_wait=MAX_WAIT, look_every=LOOK_EVERY) as alice:
        cluster.grant(real.installation, pools=True)
        pool = Pool(real, cluster, alice)
        pool.keep()
        yield pool
        await pool.turn_off()
        cluster.grant(real.installation)


def content(cluster: Cluster, place: str, name: str) -> str:
    """What the namespace of an environment holds, without what is its own: names, ports, times."""
    life = cluster.get("namespace", place)["metadata"]["labels"]["moorage.dev/life"]
    namespace = cluster.get("namespace", place)["metadata"]
    notes = namespace["annotations"]
    for differs in (ANNOTATION_LIFE, ANNOTATION_LIFE_SIGNATURE):
        assert notes.pop(differs)
    held = [{"labels": namespace["labels"], "annotations": notes}]
    for each in cluster.get(KINDS, "-n", place)["items"]:
        metadata = each["metadata"]
        spec = each.get("spec", {})
        for assigned in ("clusterIP", "clusterIPs"):
            spec.pop(assigned, None)
        for port in spec.get("ports", []):
            port.pop("nodePort", None)
        held.append(
            {
                "kind": each["kind"],
                "name": metadata["name"],
                "labels": metadata.get("labels", {}),
                **{key: each.get(key) for key in ("rules", "roleRef", "subjects")},
                "spec": spec,
            }
        )
    text = json.dumps(sorted(held, key=lambda one: (str(one.get("kind")), str(one.get("name")))), indent=1)
    return text.replace(place, "PLACE").replace(life, "LIFE").replace(name, "NAME")


async def test_without_the_right_no_standby_is_made_and_doctor_says_why(
    real: Stack, cluster: Cluster, alice: Asking, stand_ins: Systems
) -> None:
    pool = Pool(real, cluster, alice)
    pool.keep()

    async def stopped() -> bool:
        return any(one["has_stopped"] for one in await pool.shown())

    await _until(stopped, "stopped")
    [shown] = await pool.shown()
    assert "lacks the right to patch namespaces" in shown["problem"]
    _, parts = await parts_of(real, "doctor")
    [part] = [one for one in parts if one["part"] == "warm pools"]
    assert part["state"] == "by hand"
    assert "lacks the right to patch namespaces" in part["detail"]
    name = unique("cold")
    assert (await alice.request(name, template=pool.template)).status_code == 202
    await alice.until_phase(name, "ready")
    assert places_of(cluster, name) == [f"mrg-{name}"]
    await gone(alice, name, cluster, stand_ins)
    await pool.turn_off()


async def test_a_broken_standby_is_not_handed_out(
    pool: Pool, cluster: Cluster, alice: Asking, stand_ins: Systems
) -> None:
    """Ensures that requests are whole when one standby has no namespace any more and one has no pod."""
    deleted, stopped = sorted(await pool.filled())
    scale = ("scale", "statefulset", stopped, "-n", stopped, "--replicas=0")
    cluster.run(*scale)
    cluster.run("wait", "--for=delete", f"pod/{stopped}-0", "-n", stopped, "--timeout=50s")
    cluster.run("delete", "namespace", deleted, "--wait=false")
    names = [unique("whole") for _ in range(READY)]
    for name in names:
        assert (await alice.request(name, template=pool.template)).status_code == 202
    for name in names:
        await alice.until_phase(name, "ready")
        assert places_of(cluster, name) == [f"mrg-{name}"]
    for name in names:
        await gone(alice, name, cluster, stand_ins)


async def test_a_request_gets_a_standby_that_is_as_if_made_for_it(
    pool: Pool, cluster: Cluster, alice: Asking, stand_ins: Systems, tmp_path: Path
) -> None:
    waiting = await pool.filled()
    warm, cold = unique("warm"), unique("cold")
    assert (await alice.request(warm, template=pool.template)).status_code == 202
    await alice.until(warm, lambda now: bool(now["usable_at"]), "usable")
    [place] = places_of(cluster, warm)
    assert place in waiting
    config = await kubeconfig_of(alice, warm, tmp_path)
    await running_pod(cluster, config)
    assert cluster.run("logs", "hello", kubeconfig=config) == "hello from inside\n"
    assert cluster.run("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}", kubeconfig=config)
    shown = await alice.until_phase(warm, "ready")
    assert not shown["unwell"]

    await pool.until(lambda: pool.standbys() - waiting, "refilled")

    assert (await alice.request(cold, template="small")).status_code == 202
    await alice.until_phase(cold, "ready")
    held = content(cluster, place, warm)
    assert held == content(cluster, f"mrg-{cold}", cold)
    assert ANNOTATION_STANDBY not in held

    for name in (warm, cold):
        await gone(alice, name, cluster, stand_ins)
    assert cluster.holds(place) == []
    assert places_of(cluster, warm) == []


async def test_a_pool_that_is_turned_off_leaves_nothing(pool: Pool, cluster: Cluster) -> None:
    """Ensures that also the standbys end that were broken when they were handed out, minutes later."""
    await pool.filled()
    await pool.turn_off()
    assert await pool.shown() == []
    for kind in ("secrets", "persistentvolumes"):
        assert "standby-" not in cluster.run("get", kind, "-A", "-o", "name")


async def test_seats_of_a_booking_are_real_and_end_with_one_certificate(
    pool: Pool, real: Stack, cluster: Cluster, alice: Asking, stand_ins: Systems, tmp_path: Path
) -> None:
    """Ensures that two people take over a standby each by their codes, use it, and leave nothing."""
    await pool.turn_off()
    event, now = unique("course"), datetime.now(UTC)
    times = {"from": now.isoformat(), "until": (now + timedelta(hours=1)).isoformat()}
    booked = await alice.call(
        "POST", "/bookings", json={"event": event, "template": "small", "seats": 2, **times}
    )
    assert booked.status_code == 201, booked.text
    codes = {each["seat"]: each["code"] for each in booked.json()["codes"]}

    async def is_ready() -> bool:
        pools = (await alice.call("GET", "/pools")).json().get("pools", [])
        return [one["ready"] for one in pools if one["booking"] == event] == [len(codes)]

    await _until(is_ready, "a standby for each seat")
    standbys = pool.standbys()
    async with Asking(real, BOB, max_wait=MAX_WAIT, look_every=LOOK_EVERY) as bob:
        for asking, (seat, code) in zip((alice, bob), codes.items(), strict=True):
            started = time.monotonic()
            taken = await asking.call("POST", "/seats", json={"code": code})
            assert (taken.status_code, taken.json()["name"]) == (202, seat), taken.text
            await asking.until(seat, lambda view: bool(view["usable_at"]), "usable")
            print(f"{seat} was usable after {time.monotonic() - started:.1f} s")
        assert {place for seat in codes for place in places_of(cluster, seat)} == standbys
        config = await kubeconfig_of(bob, seat, tmp_path)
        await running_pod(cluster, config)
        of_another = await bob.call("POST", "/seats", json={"code": next(iter(codes.values()))})
        assert of_another.status_code == 422, of_another.text
    assert (await alice.call("DELETE", f"/bookings/{event}")).status_code == 202
    shown: dict[str, Any] = {}

    async def is_over() -> bool:
        shown.update((await alice.call("GET", f"/bookings/{event}")).json())
        return bool(shown["phase"] == "ended")

    await _until(is_over, "over")
    assert shown["nothing_left"] is True
    assert {one["name"] for one in shown["ended"]} >= set(codes)
    for seat, place in zip(codes, standbys, strict=True):
        assert (cluster.holds(place), places_of(cluster, seat), stand_ins.holds(seat)) == ([], [], {})
