"""What a cluster's nodes have for environments: only that on which a pod of theirs could be placed."""

from typing import Any

import pytest

from clients.host.models import NodeCapacity
from clients.kubernetes.cluster.nodes import schedulable_capacity


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
