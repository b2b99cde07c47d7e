"""Ensures that an environment is made whole, works, and leaves nothing, seen from the systems themselves."""

from datetime import timedelta

import pytest

from clients.host.kubeconfig import Kubeconfig
from clients.virtual_cluster import VirtualClusterApi
from embedded.stack.stack import Stack
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.support.credentials import usable_kubeconfig
from tests.support.stack import unique

TIMEOUT = timedelta(seconds=10)
#: What there is once of every environment.
ONE_OF_EACH = {"project": 1, "group": 1, "binding": 1, "cluster": 1, "namespace": 1, "release": 1, "pod": 1}


def assert_whole(held: dict[str, int]) -> None:
    wrong = {kind: held.get(kind, 0) for kind, count in ONE_OF_EACH.items() if held.get(kind, 0) != count}
    assert not wrong, f"not one of each: {wrong}"


async def test_it_is_made_whole_and_leaves_nothing(asking: Asking, systems: Systems) -> None:
    name = unique("whole")
    answer = await asking.request(name, collaborators=["bob@example.com"], ttl="3h")
    assert answer.status_code == 202, answer.text
    shown = await asking.until_phase(name, "ready")
    held = systems.holds(name)
    assert_whole(held)
    assert held["IdP group"] == 1
    assert "member" not in held, "with an identity provider the control plane has no local member"
    assert {step["state"] for step in shown["steps"]} == {"done"}

    kubeconfig = Kubeconfig(await usable_kubeconfig(asking.call, name), secret_name="k")
    async with VirtualClusterApi(kubeconfig, timeout=TIMEOUT) as cluster:
        assert "simulated" in await cluster.version()

    assert (await asking.delete(name)).status_code == 202
    gone = await asking.until_phase(name, "gone")
    assert gone["outcome"] == "deleted"
    assert gone["certificate"]["nothing_left"] is True
    assert systems.holds(name) == {}, "the certificate says that nothing is left"


@pytest.mark.slow
async def test_without_an_identity_provider_people_are_members_in_the_control_plane(
    plain_stack: Stack,
) -> None:
    systems, name = Systems(plain_stack), unique("plain")
    async with Asking(plain_stack) as asking:
        await asking.request(name, collaborators=["bob@example.com"])
        shown = await asking.until_phase(name, "ready")
        held = systems.holds(name)
        assert_whole(held)
        assert held["member"] == 2, "owner and collaborator are not both members"
        assert "identity" not in {step["step"] for step in shown["steps"]}
        await asking.delete(name)
        await asking.until_phase(name, "gone")
    assert systems.holds(name) == {}


@pytest.mark.slow
async def test_the_same_name_again_is_a_new_life_with_new_credentials(
    asking: Asking, systems: Systems
) -> None:
    name, kubeconfigs, lives = unique("again"), [], []
    for _ in range(2):
        await asking.request(name)
        shown = await asking.until_phase(name, "ready")
        lives.append(shown["life"])
        kubeconfigs.append((await asking.call("GET", f"/environments/{name}/kubeconfig")).text)
        await asking.delete(name)
        await asking.until_phase(name, "gone")
    assert lives[0] != lives[1]
    assert kubeconfigs[0] != kubeconfigs[1], "the old kubeconfig is the new one's"
    assert systems.holds(name) == {}
