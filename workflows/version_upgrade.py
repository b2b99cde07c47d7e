"""How a run moves to another version of the workers: it continues as new there, and is replayed by no other.

A run is pinned to the version that it began on, where workers have versions at all. It learns of another
one with its next workflow task; the capacity audit signals the runs that have none.
"""

from temporalio import workflow


def is_to_move() -> bool:
    """Return whether Temporal would start this run on another version of the workers now."""
    return workflow.info().is_target_worker_deployment_version_changed()


def next_version() -> workflow.ContinueAsNewVersioningBehavior | None:
    """Return what the next run begins on: the current version if it is another one, else that of this run."""
    return workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE if is_to_move() else None
