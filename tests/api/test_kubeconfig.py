"""The kubeconfig: for those who may have it, when it can be used, and never another environment's."""

import asyncio

import pytest
import yaml

from clients.simulated_host.host import SimulatedHost
from contracts.types.naming import OwnerMark
from embedded.faults import Fault, FaultKind
from embedded.stack.stack import HOST, Part, Stack
from tests.api.caller import Caller, problem
from tests.support.credentials import person_of
from tests.support.stack import BOB, DAVE, TIMEOUT, unique
from tests.support.stand_ins import set_faults

pytestmark = pytest.mark.slow


async def test_it_leads_into_the_environment(bob: Caller, dave: Caller) -> None:
    """Ensures that owner and collaborator get a kubeconfig each, with the same server and their own names."""
    name = unique()
    await bob.ready(name, collaborators=[DAVE.email])
    answer, other = await asyncio.gather(
        *(caller.http.get(f"/environments/{name}/kubeconfig") for caller in (bob, dave))
    )
    assert answer.status_code == other.status_code == 200
    assert (person_of(answer.text), person_of(other.text)) == (BOB.email, DAVE.email)
    assert answer.text == other.text.replace(DAVE.email, BOB.email)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Type"].startswith("application/yaml")
    content = yaml.safe_load(answer.text)
    assert f"mrg-{name}" in content["clusters"][0]["cluster"]["server"]
    await bob.gone(name)
    assert "is gone" in problem(await bob.http.get(f"/environments/{name}/kubeconfig"), 409)["detail"]


async def test_before_it_can_be_used(stack: Stack, bob: Caller) -> None:
    """Ensures that a call that comes too early is refused with the current step."""
    name = unique()
    set_faults(stack.url(Part.HOST), Fault(operation="namespace.create", kind=FaultKind.STATUS, status=503))
    try:
        await bob.ask(name)
        await bob.until(name, lambda view: any(step.state == "running" for step in view.steps))
        content = problem(await bob.http.get(f"/environments/{name}/kubeconfig"), 409)
    finally:
        set_faults(stack.url(Part.HOST))
    assert "still being made" in content["detail"]
    assert content["type"].endswith(":not-usable")
    await bob.gone(name)


async def test_a_namespace_that_is_not_ours(stack: Stack, bob: Caller) -> None:
    """Ensures that what stands in another's namespace of the same name is not handed out."""
    name = unique()
    await bob.ready(name)
    token = stack.env[f"MOORAGE_HOSTS__{HOST.upper()}__TOKEN"]
    host = SimulatedHost(HOST, stack.url(Part.HOST), token, timeout=TIMEOUT)
    try:
        ours = await host.get_namespace(f"mrg-{name}")
        assert ours is not None
        await host.uninstall_release(ours.name, ours.name)
        await host.delete_namespace(ours.name, ours.uid)
        await until_gone(host, ours.name)
        theirs = OwnerMark.for_request("another1", name, "theirs").labels
        stranger = await host.create_namespace(ours.name, theirs, {})
        content = problem(await bob.http.get(f"/environments/{name}/kubeconfig"), 409)
        assert "not on the host" in content["detail"]
        await host.delete_namespace(stranger.name, stranger.uid)
    finally:
        await host.close()
    await bob.gone(name)


async def until_gone(host: SimulatedHost, namespace: str) -> None:
    for _ in range(100):
        if await host.get_namespace(namespace) is None:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{namespace} is still there")


async def test_a_host_that_does_not_answer(stack: Stack, bob: Caller) -> None:
    """Ensures that an unreachable host is reported by its name."""
    name = unique()
    await bob.ready(name)
    set_faults(stack.url(Part.HOST), Fault(operation="kubeconfig.get", kind=FaultKind.STATUS, status=500))
    try:
        content = problem(await bob.http.get(f"/environments/{name}/kubeconfig"), 503)
    finally:
        set_faults(stack.url(Part.HOST))
    assert HOST in content["system"]
    await bob.gone(name)
