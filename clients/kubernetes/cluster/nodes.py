"""The capacity of a cluster's nodes for pods, as its API server lists it."""

from collections.abc import Iterable, Mapping
from typing import Any

from clients.host.models import NodeCapacity

PATH = "/api/v1/nodes"
LIST = "list nodes"
#: Effects of a taint that keep away pods without a toleration, such as those of vClusters.
_REPELLING_EFFECTS = frozenset({"NoSchedule", "NoExecute"})

Node = Mapping[str, Any]


def is_ready(node: Node) -> bool:
    """Return whether the node reports that it is ready."""
    conditions = (node.get("status") or {}).get("conditions") or []
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)


def schedulable_capacity(nodes: Iterable[Node]) -> list[NodeCapacity]:
    """Return the capacity of nodes that are ready, not cordoned and not tainted.

    Pods of vClusters cannot be scheduled on other nodes.
    """
    return [
        NodeCapacity(cpu=str(room.get("cpu", "0")), memory=str(room.get("memory", "0")))
        for node in nodes
        if is_ready(node) and _is_schedulable(node)
        for room in [(node.get("status") or {}).get("allocatable") or {}]
    ]


def _is_schedulable(node: Node) -> bool:
    spec = node.get("spec") or {}
    taints = {taint.get("effect") for taint in spec.get("taints") or []}
    return not spec.get("unschedulable") and _REPELLING_EFFECTS.isdisjoint(taints)
