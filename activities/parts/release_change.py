"""Changes of an environment's Helm release in place: never replaced, because its volume has the data."""

import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from activities import activity_context
from activities.errors import NeverReady, NotYet
from activities.parts.host_lookup import chart_of, require_own_release
from clients.host.models import ReleaseStatus
from clients.host.protocol import Host
from contracts.environment.chart_values import compose_values
from contracts.environment.models import Environment, System
from contracts.types.naming import LABEL_REVISION
from contracts.types.quantities import parse_quantity

#: How long a pending release may be the work of a Helm call that still runs elsewhere, as at an install.
PENDING_TIMEOUT = timedelta(seconds=10)
#: How long pods of the vCluster's former revision may count in the quota while they end.
EXCESS_TIMEOUT = timedelta(seconds=60)
_REVISION_LENGTH = 16
#: What a host has to give away, of the resources of a quota.
_COUNTED = frozenset(
    {
        "limits.cpu", "limits.memory", "limits.ephemeral-storage",
        "requests.cpu", "requests.memory", "requests.storage",
        "pods",
    }
)  # fmt: skip


def release_labels(environment: Environment, values: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels of the release: the mark, and what it is installed with."""
    chart = environment.template.chart
    content = json.dumps([chart.model_dump(mode="json"), values], sort_keys=True, separators=(",", ":"))
    revision = hashlib.sha256(content.encode()).hexdigest()[:_REVISION_LENGTH]
    return {**environment.mark.labels, LABEL_REVISION: revision}


async def change_release(host: Host, environment: Environment) -> None:
    """Upgrade our release to the environment's template, and wait until all of it is new and ready.

    A repeat of a complete upgrade changes nothing.

    Raises:
        Conflict: The release is not ours.
        NeverReady: It is gone, the new pods cannot start, or more runs than the template allows.
    """
    name = environment.host_name
    values = compose_values(environment, await host.overlay(name, name))
    labels = release_labels(environment, values)

    async def pending() -> str:
        release = await host.get_release(name, name)
        if release is None or release.status is not ReleaseStatus.PENDING:
            return ""
        return f"an earlier Helm call on {name} to end"

    release = await host.get_release(name, name)
    if release is None:
        raise NeverReady(
            System.HOST_CLUSTER,
            f"Helm release {name} is gone from host {host.name}, so it cannot be changed",
            "Delete the environment, and request it again",
        )
    require_own_release(release, environment)
    is_current = release.labels.get(LABEL_REVISION) == labels[LABEL_REVISION]
    if release.status is not ReleaseStatus.DEPLOYED or not is_current:
        if release.status is ReleaseStatus.PENDING:
            await activity_context.wait_until(pending, timeout=PENDING_TIMEOUT)
        await activity_context.run_cancellable(
            host.upgrade_release(name, name, chart_of(environment), values, labels)
        )
    if waiting_for := await activity_context.wait_until(lambda: _pending_rollout(host, name)):
        raise NotYet(
            System.HOST_CLUSTER,
            f"The change of the vCluster on host {host.name} is not complete: {waiting_for}",
            "See what it waits for, then ask again",
        )
    # A smaller quota ends nothing that runs, and the capacity counts the smaller one.
    if excess := await activity_context.wait_until(lambda: _excess(host, name), timeout=EXCESS_TIMEOUT):
        raise NeverReady(
            System.HOST_CLUSTER,
            f"More runs in namespace {name} on host {host.name} than the template allows: {excess}",
            "Delete it inside the environment, or scale it down, then ask again",
        )


async def _excess(host: Host, name: str) -> str:
    usage = await host.quota_usage(name)
    return ", ".join(
        f"{resource}: {used} of {allowed}"
        for resource, (used, allowed) in usage.items()
        if resource in _COUNTED and parse_quantity(used) > parse_quantity(allowed)
    )


async def _pending_rollout(host: Host, name: str) -> str:
    rollout = await host.rollout(name, name)
    if rollout.failed is not None:
        raise NeverReady(
            System.HOST_CLUSTER,
            f"The changed vCluster on host {host.name} will not start: {rollout.failed}",
            "See to the cause on the host or in the template, then ask again",
        )
    return "" if rollout.ready else rollout.waiting_for or "the new pods to be ready"
