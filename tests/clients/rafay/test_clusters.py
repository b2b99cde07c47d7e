"""Clusters: their record, bootstrap manifest, life with an agent, and end."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx
import pytest
import yaml

from clients.errors import AlreadyExists, NotFound, NotYet, Rejected
from clients.rafay import READY, Cluster, Project, Rafay
from embedded.rafay.agent import AgentEnd, agent_client, run_agent
from embedded.rafay.bootstrap_manifest import AgentIdentity, agent_identity
from tests.support.deadline import HANG, soon
from tests.support.stand_ins import TLS, RafayStandIn

MARK = {"moorage.dev/installation": "abcdefgh12", "moorage.dev/name": "demo", "moorage.dev/life": "0123"}
#: Far more than the stand-in needs, so that only what never happens fails.
MAX_WAIT = HANG


@pytest.fixture
async def project(rafay: Rafay, name: str) -> Project:
    return await rafay.create_project(name, "")


@pytest.fixture
async def cluster(rafay: Rafay, project: Project, name: str) -> Cluster:
    return await rafay.create_cluster(project.id, name, MARK, "minimal")


@pytest.fixture
async def agents() -> AsyncIterator[httpx.AsyncClient]:
    async with agent_client(TLS) as client:
        yield client


async def identity_of(rafay: Rafay, cluster: Cluster) -> AgentIdentity:
    identity = agent_identity(yaml.safe_load_all(await rafay.bootstrap(cluster.project_id, cluster.name)))
    assert identity is not None, "the bootstrap manifest holds no agent's Secret"
    return identity


def start_agent(agents: httpx.AsyncClient, identity: AgentIdentity) -> asyncio.Task[AgentEnd]:
    return asyncio.create_task(
        run_agent(identity.endpoint, identity.cluster_id, identity.token, "v1.36.0", http=agents)
    )


async def until_ready(rafay: Rafay, cluster: Cluster) -> Cluster:
    deadline = time.monotonic() + MAX_WAIT
    while not (now := await rafay.get_cluster(cluster.project_id, cluster.id)).ready:
        assert time.monotonic() < deadline, f"not ready after {MAX_WAIT:g} s: {now}"
        await asyncio.sleep(0.01)
    return now


async def until_gone(rafay: Rafay, cluster: Cluster) -> None:
    deadline = time.monotonic() + MAX_WAIT
    while await rafay.find_cluster(cluster.project_id, cluster.name):
        assert time.monotonic() < deadline, f"not gone after {MAX_WAIT:g} s"
        await asyncio.sleep(0.01)


async def stop(agent: asyncio.Task[AgentEnd]) -> None:
    agent.cancel()
    with suppress(asyncio.CancelledError):
        await agent


async def test_new_cluster_has_its_labels_and_is_not_ready(
    rafay: Rafay, project: Project, cluster: Cluster
) -> None:
    assert cluster.labels == MARK
    assert cluster.project_id == project.id
    assert not cluster.ready
    assert not cluster.healthy
    assert cluster.failure is None
    assert cluster.pending.startswith("ClusterRegister Pending")
    assert await rafay.find_cluster(project.id, cluster.name) == cluster
    assert await rafay.get_cluster(project.id, cluster.id) == cluster


async def test_second_cluster_of_a_name_already_exists_in_any_project(
    rafay: Rafay, project: Project, cluster: Cluster, name: str
) -> None:
    other = await rafay.create_project(f"{name}-other", "")
    for where in (project, other):
        with pytest.raises(AlreadyExists, match="already taken"):
            await rafay.create_cluster(where.id, cluster.name, {}, "minimal")
    assert await rafay.find_cluster(other.id, cluster.name) is None
    assert await rafay.find_cluster(project.id, cluster.name) == cluster


async def test_part_of_a_name_finds_no_cluster(rafay: Rafay, project: Project, name: str) -> None:
    await rafay.create_cluster(project.id, f"{name}-x", {}, "minimal")
    assert await rafay.find_cluster(project.id, name) is None


@pytest.mark.parametrize("status", [404, 500])
async def test_what_is_missing_is_not_found(
    rafay: Rafay, stand_in: RafayStandIn, project: Project, name: str, status: int
) -> None:
    stand_in.switch(missing_status=status)
    assert await rafay.find_cluster(project.id, name) is None
    with pytest.raises(NotFound):
        await rafay.find_cluster("nosuch1", name)
    with pytest.raises(NotFound):
        await rafay.create_cluster("nosuch1", name, {}, "minimal")
    with pytest.raises(NotFound):
        await rafay.get_cluster(project.id, "nosuch1")
    with pytest.raises(NotFound):
        await rafay.delete_cluster(project.id, "nosuch1", force=False)


async def test_name_that_is_none_is_rejected(rafay: Rafay, project: Project) -> None:
    with pytest.raises(Rejected, match="name"):
        await rafay.create_cluster(project.id, "Not_A_Name", {}, "minimal")


@pytest.mark.parametrize("form", ["json", "yaml"])
async def test_bootstrap_is_the_same_manifest_in_either_form(
    rafay: Rafay, stand_in: RafayStandIn, cluster: Cluster, form: str
) -> None:
    stand_in.switch(bootstrap_form=form)
    documents = list(yaml.safe_load_all(await rafay.bootstrap(cluster.project_id, cluster.name)))
    assert [document["kind"] for document in documents] == [
        "Namespace",
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Secret",
        "Deployment",
    ]
    identity = agent_identity(documents)
    [(token,)] = stand_in.rows("SELECT token FROM clusters WHERE id = ?", cluster.id)
    assert identity == AgentIdentity(stand_in.base_url, cluster.id, token)
    assert token not in repr(identity)


@pytest.mark.parametrize("status", [404, 500])
async def test_bootstrap_that_is_not_there_yet_is_to_be_asked_for_again(
    rafay: Rafay, stand_in: RafayStandIn, cluster: Cluster, status: int
) -> None:
    stand_in.switch(bootstrap_misses=2, missing_status=status)
    for _ in range(2):
        with pytest.raises(NotYet) as early:
            await rafay.bootstrap(cluster.project_id, cluster.name)
        assert early.value.retryable
    assert "kind: Deployment" in await rafay.bootstrap(cluster.project_id, cluster.name)


async def test_cluster_is_ready_and_healthy_once_its_agent_has_checked_in(
    rafay: Rafay, cluster: Cluster, agents: httpx.AsyncClient
) -> None:
    identity = await identity_of(rafay, cluster)
    waiting = await rafay.get_cluster(cluster.project_id, cluster.id)
    assert waiting.pending.startswith("ClusterRegister InProgress"), "fetching the bootstrap begins it"
    agent = start_agent(agents, identity)
    ready = await until_ready(rafay, cluster)
    assert ready.status == READY
    assert ready.labels == MARK
    assert ready.pending == ""
    await stop(agent)


async def test_cluster_whose_agent_is_silent_is_unhealthy_until_it_is_heard_again(
    rafay: Rafay, stand_in: RafayStandIn, cluster: Cluster, agents: httpx.AsyncClient
) -> None:
    identity = await identity_of(rafay, cluster)
    agent = start_agent(agents, identity)
    await until_ready(rafay, cluster)
    stand_in.switch(agent_silence=0.01)
    assert (await rafay.get_cluster(cluster.project_id, cluster.id)).healthy, "it is on the line"
    await stop(agent)
    async with soon("it stays healthy without its agent"):
        while (  # noqa: ASYNC110 - another process says so
            silent := await rafay.get_cluster(cluster.project_id, cluster.id)
        ).healthy:
            await asyncio.sleep(0.02)
    assert silent.status == READY
    assert not silent.healthy
    assert not silent.ready
    agent = start_agent(agents, identity)
    await until_ready(rafay, cluster)
    await stop(agent)


async def test_failed_stage_is_named_with_its_reason(
    rafay: Rafay, stand_in: RafayStandIn, cluster: Cluster
) -> None:
    stand_in.fail_cluster(cluster.name, "ClusterBlueprintSync", "no such blueprint")
    failed = await rafay.find_cluster(cluster.project_id, cluster.name)
    assert failed is not None
    assert failed.failure == "ClusterBlueprintSync failed: no such blueprint"
    assert not failed.ready


async def test_deregistration_waits_for_the_agent_and_then_the_record_is_gone(
    rafay: Rafay, cluster: Cluster, agents: httpx.AsyncClient
) -> None:
    agent = start_agent(agents, await identity_of(rafay, cluster))
    await until_ready(rafay, cluster)
    await rafay.delete_cluster(cluster.project_id, cluster.id, force=False)
    assert await asyncio.wait_for(agent, MAX_WAIT) is AgentEnd.DEREGISTERED
    await until_gone(rafay, cluster)


async def test_deregistration_without_an_agent_stays_until_the_agent_comes(
    rafay: Rafay, cluster: Cluster, agents: httpx.AsyncClient
) -> None:
    identity = await identity_of(rafay, cluster)
    await rafay.delete_cluster(cluster.project_id, cluster.id, force=False)
    await rafay.delete_cluster(cluster.project_id, cluster.id, force=False)  # again: nothing more
    left = await rafay.find_cluster(cluster.project_id, cluster.name)
    assert left is not None
    assert not left.ready
    assert await asyncio.wait_for(start_agent(agents, identity), MAX_WAIT) is AgentEnd.DEREGISTERED
    await until_gone(rafay, cluster)


async def test_forced_deletion_needs_no_agent_and_takes_a_moment(
    rafay: Rafay, stand_in: RafayStandIn, cluster: Cluster
) -> None:
    stand_in.switch(forced_delete=0.3)
    await rafay.delete_cluster(cluster.project_id, cluster.id, force=False)
    await rafay.delete_cluster(cluster.project_id, cluster.id, force=True)
    assert await rafay.find_cluster(cluster.project_id, cluster.name) is not None
    await until_gone(rafay, cluster)
    with pytest.raises(NotFound):
        await rafay.delete_cluster(cluster.project_id, cluster.id, force=True)


async def test_forced_deletion_ends_the_token_of_an_agent_on_the_line(
    rafay: Rafay, stand_in: RafayStandIn, cluster: Cluster, agents: httpx.AsyncClient
) -> None:
    stand_in.switch(forced_delete=5)
    agent = start_agent(agents, await identity_of(rafay, cluster))
    await until_ready(rafay, cluster)
    await rafay.delete_cluster(cluster.project_id, cluster.id, force=True)
    assert await asyncio.wait_for(agent, MAX_WAIT) is AgentEnd.REFUSED


async def test_name_of_a_deleted_cluster_is_free_again(
    rafay: Rafay, stand_in: RafayStandIn, cluster: Cluster
) -> None:
    stand_in.switch(forced_delete=0)
    await rafay.delete_cluster(cluster.project_id, cluster.id, force=True)
    await until_gone(rafay, cluster)
    again = await rafay.create_cluster(cluster.project_id, cluster.name, {}, "minimal")
    assert again.id != cluster.id
