"""What a cluster's nodes have for environments: only that on which a pod of theirs could be placed."""

from typing import Any

import pytest

from clients.host.models import NodeCapacity
from clients.kubernetes.cluster.nodes import node_problems, schedulable_capacity


def node(spec: dict[str, Any] | None = None, *, ready: str = "True") -> dict[str, Any]:
    """A node as an API server lists it."""
    status = {
        "allocatable": {"cpu": "3920m", "memory": "16393244Ki", "pods": "110"},
        "capacity": {"cpu": "4", "memory": "32Gi"},
        "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}],
    }
    return {"spec": spec or {}, "status": status}


ROOM = NodeCapacity("3920m", "16393244Ki")
LIKED = {"taints": [{"key": "a", "effect": "PreferNoSchedule"}]}
KEPT_AWAY = {"taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]}


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        pytest.param([node(), node()], [ROOM, ROOM], id="each that is ready"),
        pytest.param([node(ready="Unknown"), node()], [ROOM], id="not one that is not ready"),
        pytest.param([node({"unschedulable": True})], [], id="not one that is cordoned"),
        pytest.param([node(KEPT_AWAY)], [], id="not one that keeps pods away"),
        pytest.param([node(LIKED)], [ROOM], id="one that would rather not"),
        pytest.param([{}], [], id="not one that says nothing"),
    ],
)
def test_what_can_be_given_away(nodes: list[dict[str, Any]], expected: list[NodeCapacity]) -> None:
    """Ensures that what can be allocated counts, not what there is, and only where a pod could be placed."""
    assert schedulable_capacity(nodes) == expected


def named(name: str, *conditions: str, ready: str = "True", **spec: Any) -> dict[str, Any]:
    """A node of this name with these conditions."""
    found = node(spec, ready=ready)
    found["status"]["conditions"] += [{"type": each, "status": "True"} for each in conditions]
    return {"metadata": {"name": name}, **found}


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([named("a")], []),
        ([named("a", "DiskPressure"), named("b")], ["node a has DiskPressure"]),
        (
            [named("a", "DiskPressure", "PIDPressure", ready="Unknown", unschedulable=True)],
            ["node a is not ready and has DiskPressure and has PIDPressure and is cordoned"],
        ),
        # Conditions of other programs say something else.
        ([named("a", "KernelDeadlock")], []),
        (
            [named(str(number), unschedulable=True) for number in range(5)],
            [*(f"node {number} is cordoned" for number in range(3)), "and 2 more nodes"],
        ),
    ],
)
def test_node_problems_name_the_condition(nodes: list[dict[str, Any]], words: list[str]) -> None:
    """Ensures that a full disk is called what Kubernetes calls it, and that only some nodes are named."""
    assert node_problems(nodes) == words
