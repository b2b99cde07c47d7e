"""What the nodes of a cluster have for pods, as its API server lists them."""

from collections.abc import Iterable, Mapping
from typing import Any

from clients.host import NodeCapacity

PATH = "/api/v1/nodes"
LIST = "list nodes"
#: Effects of a taint that keep pods away which do not tolerate it, as those of vClusters.
_AWAY = frozenset({"NoSchedule", "NoExecute"})

Node = Mapping[str, Any]


def is_ready(node: Node) -> bool:
    """Whether it says so itself."""
    conditions = (node.get("status") or {}).get("conditions") or []
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)


def rooms(nodes: Iterable[Node]) -> list[NodeCapacity]:
    """What those have that are ready, neither cordoned nor tainted: no pod of a vCluster gets onto others."""
    return [
        NodeCapacity(cpu=str(room.get("cpu", "0")), memory=str(room.get("memory", "0")))
        for node in nodes
        if is_ready(node) and _is_open(node)
        for room in [(node.get("status") or {}).get("allocatable") or {}]
    ]


def _is_open(node: Node) -> bool:
    spec = node.get("spec") or {}
    taints = {taint.get("effect") for taint in spec.get("taints") or []}
    return not spec.get("unschedulable") and _AWAY.isdisjoint(taints)
