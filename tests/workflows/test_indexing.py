"""Ensures that environments which have lost search attributes are found, and have them again."""

import pytest
from temporalio.client import Client, WorkflowExecution

from contracts.environment.models import Phase
from contracts.temporal import search_attributes
from starter.setup import temporal
from starter.setup.check import Kind
from starter.setup.search_attributes import find_unindexed, has_worker, index_again
from starter.setup.temporal import Temporal
from tests.workflows.conftest import Bench, until
from worker.settings.groups.expiry import Sweep


async def lacking(client: Client, id: str) -> list[WorkflowExecution]:
    return [run for run in await find_unindexed(client) if run.id == id]


async def test_environment_without_search_attributes_gets_them_again(bench: Bench) -> None:
    # The bench starts them without any, as if each attribute had been removed and made again.
    life = await bench.begin()
    id = life.handle.id

    async def is_found() -> bool:
        return bool(await lacking(bench.client, id))

    await until(is_found, "it was found")
    [run] = await lacking(bench.client, id)
    assert await index_again(bench.client, [run]) == 1

    async def is_whole() -> bool:
        return not await lacking(bench.client, id)

    await until(is_whole, "it was no longer found")
    there = (await life.handle.describe()).typed_search_attributes
    environment = life.start.environment
    status = await life.status()
    assert there.get(search_attributes.OWNER) == environment.owner
    assert there.get(search_attributes.TEAM) == environment.spec.team
    assert there.get(search_attributes.TEMPLATE) == environment.template.name
    assert there.get(search_attributes.HOST) == environment.host
    assert there.get(search_attributes.EXPIRES_AT) == status.expires_at
    assert there.get(search_attributes.DUE_AT) == status.term.due_at
    assert there.get(search_attributes.PHASE) in [phase.value for phase in Phase]


async def test_worker_is_seen_where_there_is_one(bench: Bench) -> None:
    await bench.begin()
    assert await has_worker(bench.client, bench.task_queue)
    assert not await has_worker(bench.client, "queue-without-a-worker")


@pytest.mark.parametrize("is_worker_there", [True, False])
async def test_setup_repairs_what_a_worker_can_answer_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, is_worker_there: bool
) -> None:
    """Ensures that the part is mended; and that without a worker, setup goes on."""
    life = await bench.begin()

    async def only_this(client: Client) -> list[WorkflowExecution]:
        return await lacking(client, life.handle.id)

    async def there(_: Client) -> bool:
        return is_worker_there

    monkeypatch.setattr(temporal, "find_unindexed", only_this)
    monkeypatch.setattr(temporal, "has_worker", there)

    async def is_found() -> bool:
        return bool(await only_this(bench.client))

    await until(is_found, "it was found")
    part = Temporal(bench.client.data_converter, Sweep())
    part._client = bench.client
    [attributes] = [each for each in part.parts() if each.name == "search attributes"]
    found = await attributes.check()
    assert "1 running environment has lost values" in found.detail
    if not is_worker_there:
        assert (found.kind, "start a worker" in found.detail) == (Kind.WELL, True)
        return
    assert found.kind is Kind.WRONG
    assert attributes.repair
    assert await attributes.repair() == "1 of 1 environments have set their values again"
    assert (await attributes.check()).kind is Kind.WELL
