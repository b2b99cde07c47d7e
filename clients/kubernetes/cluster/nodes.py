"""The capacity of a cluster's nodes for pods, as its API server lists it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from clients.host.models import NodeCapacity

PATH = "/api/v1/nodes"
LIST = "list nodes"
#: Effects of a taint that keep away pods without a toleration, such as those of vClusters.
_REPELLING_EFFECTS = frozenset({"NoSchedule", "NoExecute"})
#: Conditions under which a kubelet evicts pods, or cannot connect them.
_PRESSURES = frozenset({"DiskPressure", "MemoryPressure", "PIDPressure", "NetworkUnavailable"})
#: Maximum number of nodes that are named in one sentence.
_MAX_NAMED = 3

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


def node_problems(nodes: Iterable[Node]) -> list[str]:
    """Return why nodes may not take or keep pods, in words: a text for each of the first such nodes."""
    found = [
        f"node {(node.get('metadata') or {}).get('name')} {' and '.join(problems)}"
        for node in nodes
        if (problems := list(_problems_of(node)))
    ]
    more = [f"and {len(found) - _MAX_NAMED} more nodes"] if len(found) > _MAX_NAMED else []
    return [*found[:_MAX_NAMED], *more]


def _problems_of(node: Node) -> Iterator[str]:
    if not is_ready(node):
        yield "is not ready"
    for condition in (node.get("status") or {}).get("conditions") or []:
        if condition.get("type") in _PRESSURES and condition.get("status") == "True":
            yield f"has {condition['type']}"
    if (node.get("spec") or {}).get("unschedulable"):
        yield "is cordoned"


def _is_schedulable(node: Node) -> bool:
    spec = node.get("spec") or {}
    taints = {taint.get("effect") for taint in spec.get("taints") or []}
    return not spec.get("unschedulable") and _REPELLING_EFFECTS.isdisjoint(taints)
