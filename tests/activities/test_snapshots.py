"""Snapshots on a host: requested once, followed to their end, and gone with the vCluster."""

import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from activities.changes.snapshots import Snapshots
from clients.host.snapshots import FINALIZER, SnapshotRequest
from contracts.activities.vcluster import RestoreSnapshotInput, SettlePeopleInput, SnapshotInput
from contracts.environment.models import Environment, StepName
from contracts.environment.snapshot_support import request_name
from contracts.errors import ErrorType
from embedded.faults import Fault, FaultKind
from tests.activities.activity_runs import Running
from tests.activities.conftest import OTHER_INSTALLATION, Bench, an_environment, fresh
from tests.activities.test_sleep import changing, made
from tests.support.deadline import HANG

ASKED_AT = datetime(2026, 11, 28, 12, tzinfo=UTC)
COLUMNS = ("namespace", "kind", "name", "release", "document", "finalizers")


def taking(
    bench: Bench, environment: Environment, number: int = 1, asked_at: datetime = ASKED_AT, **more: Any
) -> Running:
    input = SnapshotInput(environment=environment, number=number, asked_at=asked_at)
    return Running(Snapshots(bench.clients.hosts).take, input, **more)


def requests(bench: Bench, environment: Environment) -> list[dict[str, Any]]:
    rows = bench.systems.rows(environment.derived_name)["request"]
    return [dict(zip(COLUMNS, row, strict=False)) for row in rows]


async def has_no_options(bench: Bench, environment: Environment) -> None:
    """Wait until the controller has deleted the Secrets of the requests."""
    async with asyncio.timeout(HANG):
        while any(one["kind"] == "Secret" for one in requests(bench, environment)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_snapshot_is_requested_once_and_leaves_no_options(bench: Bench) -> None:
    environment = await made(bench)
    for attempt in (1, 2):
        taken = taking(bench, environment, attempt=attempt)
        await taken.result()
        [request] = [one for one in requests(bench, environment) if one["kind"] == "ConfigMap"]
        assert request["name"] == request_name(environment.derived_name, 1, ASKED_AT)
        content = json.loads(json.loads(request["document"])["data"]["snapshotRequest"])
        assert content["status"] == {"phase": "Completed"}
        assert content["spec"]["url"] == "container:///data/moorage-snapshots/1.tar.gz"
    await has_no_options(bench, environment)


async def test_a_request_of_a_record_that_was_lost_is_not_taken_for_the_new_one(bench: Bench) -> None:
    """Ensures it because the numbers begin again: the file would be the old one."""
    environment = await made(bench)
    for later in (0, 1):
        await taking(bench, environment, 1, ASKED_AT + timedelta(seconds=later)).result()
    names = {one["name"] for one in requests(bench, environment) if one["kind"] == "ConfigMap"}
    assert len(names) == 2


async def test_it_says_what_it_waits_for(bench: Bench) -> None:
    environment = await made(bench)
    await changing(bench, "pause", environment).result()
    error = await taking(bench, environment, limit=1).failure()
    assert (error.type, error.non_retryable) == (ErrorType.NOT_YET, False)
    assert "waiting for the vCluster to begin with it" in error.message


async def test_a_snapshot_that_the_vcluster_cannot_take_fails_for_good(bench: Bench) -> None:
    """Ensures that a repeat finds the same answer, and that the next number is another try."""
    environment = await made(bench)
    bench.systems.fail_snapshots(environment, "no space left on device")
    for attempt in (1, 2):
        error = await taking(bench, environment, attempt=attempt).failure()
        assert (error.type, error.non_retryable) == (ErrorType.NEVER_READY, True)
        assert "could not take the snapshot: no space left on device" in error.message
    bench.systems.clear()
    error = await taking(bench, environment).failure()
    assert error.type == ErrorType.NEVER_READY
    await taking(bench, environment, number=2).result()


@pytest.mark.parametrize("operation", ["secret.create", "configmap.create"])
async def test_a_lost_answer_is_found_again(bench: Bench, operation: str) -> None:
    environment = await made(bench)
    bench.systems.lose_the_answer(operation)
    error = await taking(bench, environment).failure()
    assert error.type == ErrorType.UNAVAILABLE
    await taking(bench, environment, attempt=2).result()
    assert len([one for one in requests(bench, environment) if one["kind"] == "ConfigMap"]) == 1


async def test_what_is_not_ours_is_not_asked(bench: Bench) -> None:
    environment = await made(bench)
    before = bench.systems.rows(environment.derived_name)
    theirs = an_environment(environment.name, installation=OTHER_INSTALLATION)
    error = await taking(bench, theirs).failure()
    assert error.type == ErrorType.CONFLICT
    assert bench.systems.rows(environment.derived_name) == before


async def test_without_a_vcluster_it_says_so(bench: Bench) -> None:
    environment = an_environment(fresh())
    await bench.ensure(StepName.NAMESPACE, environment)
    error = await taking(bench, environment).failure()
    assert (error.type, error.non_retryable) == (ErrorType.NOT_YET, False)
    assert "is not to be found on host one" in error.message


async def test_the_undo_of_the_vcluster_removes_its_requests(bench: Bench) -> None:
    environment = await made(bench)
    await taking(bench, environment).result()
    name = request_name(environment.derived_name, 1, ASKED_AT)
    assert f"ConfigMap {name}" in await bench.inspect(StepName.VCLUSTER, environment)
    await bench.remove(StepName.VCLUSTER, environment)
    assert requests(bench, environment) == []
    assert await bench.inspect(StepName.VCLUSTER, environment) == ()
    await bench.remove(StepName.NAMESPACE, environment)
    assert bench.systems.counts(environment) == {}


@pytest.mark.slow
async def test_the_undo_removes_a_request_that_the_vcluster_still_holds(bench: Bench) -> None:
    """Ensures that the finalizer of a controller that runs no more holds nothing up."""
    environment = await made(bench)
    await changing(bench, "pause", environment).result()
    error = await taking(bench, environment, limit=1).failure()
    assert error.type == ErrorType.NOT_YET
    # As the controller has left it that ended with its vCluster.
    with closing(sqlite3.connect(bench.systems.folder / "host" / "host.sqlite", timeout=HANG)) as rows, rows:
        held = "UPDATE requests SET finalizers = ? WHERE namespace = ? AND kind = 'ConfigMap'"
        rows.execute(held, (json.dumps([FINALIZER]), environment.derived_name))
    await bench.remove(StepName.VCLUSTER, environment)
    assert requests(bench, environment) == []
    await bench.remove(StepName.NAMESPACE, environment)
    assert bench.systems.counts(environment) == {}


@pytest.mark.parametrize("operation", ["configmap.get", "configmap.delete", "secret.list"])
async def test_the_undo_is_repeated_when_a_call_of_it_fails(bench: Bench, operation: str) -> None:
    environment = await made(bench)
    await taking(bench, environment).result()
    bench.systems.faults(Fault(operation=operation, kind=FaultKind.STATUS, status=500, times=1))
    error = await bench.removing(StepName.VCLUSTER, environment).failure()
    assert error.type == ErrorType.UNAVAILABLE
    await bench.remove(StepName.VCLUSTER, environment, attempt=2)
    assert requests(bench, environment) == []


@pytest.mark.slow
async def test_what_comes_after_the_undo_is_found_and_removed(bench: Bench) -> None:
    """Ensures that an inspection finds a late request, and that the next pass removes it."""
    environment = await made(bench)
    host, name = bench.clients.hosts["one"], environment.derived_name
    await bench.remove(StepName.VCLUSTER, environment)
    late = SnapshotRequest(request_name(name, 1), "/data/late.tar.gz", environment.mark.labels)
    await host.request_snapshot(name, name, late)
    left = await bench.inspect(StepName.VCLUSTER, environment)
    assert left == (f"ConfigMap {late.name}", f"Secret {late.name}")
    await bench.remove(StepName.VCLUSTER, environment)
    assert await bench.inspect(StepName.VCLUSTER, environment) == ()


def restoring(bench: Bench, environment: Environment, number: int, pod: str, **more: Any) -> Running:
    input = RestoreSnapshotInput(environment=environment, number=number, attempt=pod)
    return Running(Snapshots(bench.clients.hosts).restore, input, **more)


async def inside(bench: Bench, environment: Environment) -> list[Any]:
    return sorted(bench.systems.rows(environment.derived_name)["inner object"])


async def test_a_snapshot_is_restored_by_one_pod(bench: Bench) -> None:
    """Ensures that objects made since are gone, that a repeat restores nothing, and what the undo removes."""
    environment = await made(bench)
    kubeconfig = await bench.clients.hosts["one"].kubeconfig(
        environment.derived_name, environment.derived_name
    )
    assert kubeconfig
    before = await inside(bench, environment)
    await taking(bench, environment).result()
    async with bench.clients.hosts["one"].virtual_cluster(kubeconfig) as virtual:
        await virtual.ensure_person("eve@example.com", environment.mark.labels)
    assert await inside(bench, environment) != before
    await changing(bench, "pause", environment).result()
    for attempt in (1, 2):
        await restoring(bench, environment, 1, "2-1", attempt=attempt).result()
        assert await inside(bench, environment) == before
    await changing(bench, "resume", environment).result()
    assert bench.systems.counts(environment)["restore pod"] == 1
    await bench.remove(StepName.VCLUSTER, environment)
    await bench.remove(StepName.NAMESPACE, environment)
    assert bench.systems.counts(environment) == {}


async def test_nothing_is_restored_into_a_vcluster_that_runs(bench: Bench) -> None:
    environment = await made(bench)
    await taking(bench, environment).result()
    error = await restoring(bench, environment, 1, "2-1").failure()
    assert (error.type, "is not paused" in error.message) == (ErrorType.NEVER_READY, True)


async def test_a_restore_that_fails_says_why(bench: Bench) -> None:
    environment = await made(bench)
    await taking(bench, environment).result()
    await changing(bench, "pause", environment).result()
    bench.systems.fail_restores(environment, "gzip: invalid header")
    error = await restoring(bench, environment, 1, "2-1").failure()
    assert error.type == ErrorType.NEVER_READY
    assert "its pod ended with code 1: gzip: invalid header" in error.message
    bench.systems.clear()
    await restoring(bench, environment, 1, "2-2").result()
    assert bench.systems.counts(environment)["restore pod"] == 1, "that of the earlier restore is gone"


async def test_people_who_were_removed_since_get_no_access_by_a_restore(bench: Bench) -> None:
    environment = await made(bench)
    host, name = bench.clients.hosts["one"], environment.derived_name
    kubeconfig = await host.kubeconfig(name, name)
    assert kubeconfig
    async with host.virtual_cluster(kubeconfig) as virtual:
        for person in ("alice@example.com", "eve@example.com"):
            await virtual.ensure_person(person, environment.mark.labels)
        input = SettlePeopleInput(environment=environment, people=("alice@example.com",))
        await Running(Snapshots(bench.clients.hosts).settle, input).result()
        assert await virtual.list_people(environment.mark.labels) == ["alice@example.com"]
