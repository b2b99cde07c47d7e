"""The progress of a change of a release, from the objects that Kubernetes gives."""

from typing import Any

import pytest

from clients.kubernetes.release.rollout_status import blocking_pods, waiting_for_rollout


def stateful_set(**status: Any) -> dict[str, Any]:
    done = {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}
    return {
        "metadata": {"name": "demo", "generation": 2},
        "spec": {"replicas": 1},
        "status": {**done, "updateRevision": "new", **status},
    }


def pod(revision: str, *, is_ready: bool, **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"demo-{revision}",
            "labels": {"controller-revision-hash": revision},
            "ownerReferences": [{"kind": "StatefulSet", "name": "demo"}],
            **metadata,
        },
        "status": {"conditions": [{"type": "Ready", "status": "True" if is_ready else "False"}]},
    }


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({}, ""),
        ({"observedGeneration": 1}, "the change of demo to be taken up"),
        ({"updatedReplicas": 0}, "demo to have 1 new pods, has 0 of which 1 are ready"),
        ({"readyReplicas": 0}, "demo to have 1 new pods, has 1 of which 0 are ready"),
        ({"readyReplicas": None}, "demo to have 1 new pods, has 1 of which 0 are ready"),
        ({"replicas": 2}, "demo to have 1 new pods, has 1 of which 1 are ready"),
    ],
    ids=repr,
)
def test_what_a_rollout_waits_for(status: dict[str, Any], words: str) -> None:
    """Ensures that a ready pod of the revision before does not pass for a new one."""
    assert waiting_for_rollout([stateful_set(**status)]) == words


def test_old_pods_that_are_not_ready_block() -> None:
    """Ensures that only pods are deleted that the controller would wait for without an end."""
    pods = [
        pod("old", is_ready=False),
        pod("new", is_ready=False),
        pod("older", is_ready=True),
        pod("going", is_ready=False, deletionTimestamp="2026-11-27T10:00:00Z"),
        pod("other", is_ready=False, ownerReferences=[{"kind": "ReplicaSet", "name": "demo-1"}]),
    ]
    assert blocking_pods([stateful_set()], pods) == ["demo-old"]
    assert blocking_pods([stateful_set(observedGeneration=1)], pods) == [], "its newest revision is not known"
