"""Puts the vCluster of an environment to sleep, and wakes it, by the pause of the vCluster's vendor.

Only pods are created and deleted: volumes, Secrets, Services and the record in the control plane stay.
"""

import time
from datetime import timedelta

from temporalio import activity

from activities import activity_context
from activities.errors import NeverReady, NotYet
from activities.parts.host_lookup import (
    Hosts,
    at_host,
    own_kubeconfig,
    release_missing,
    require_installed,
)
from activities.steps.kubeconfig import require_answer
from activities.steps.vcluster import pending_startup
from activities.task_queues import ensure_right_queue
from clients import errors as client
from clients.host.protocol import Host
from contracts.activities.vcluster import SleepActivities, SleepInput
from contracts.environment.models import Environment, System
from contracts.temporal.task_queues import NO_OWN_QUEUES, OwnQueues

#: A failed start is believed after this time. Events of an earlier start report one as long as there is no
#: new pod, and a quota counts pods for seconds that are gone.
SETTLE_TIME = timedelta(seconds=15)


class Sleep(SleepActivities):
    """Pauses and resumes vClusters on their hosts."""

    def __init__(
        self, hosts: Hosts, own_queues: OwnQueues = NO_OWN_QUEUES, *, settle_time: timedelta = SETTLE_TIME
    ) -> None:
        self._settle_seconds = settle_time.total_seconds()
        self._hosts = hosts
        self._own_queues = own_queues

    @activity.defn(name="sleep.pause")
    async def pause(self, input: SleepInput) -> None:
        """Scale our vCluster to zero, and wait until its pods and those of its tenant are gone."""
        host, environment = await self._own_host(input.environment)
        name = environment.host_name

        async def running() -> str:
            try:
                return await host.pause_release(name, name)
            except client.NotFound:
                raise release_missing(host, name) from None

        if waiting_for := await activity_context.wait_until(running):
            raise NotYet(
                System.HOST_CLUSTER,
                f"The vCluster on host {host.name} does not end in its time: waiting for {waiting_for}",
                "See what holds it, as finalizers or pods that do not end",
            )

    @activity.defn(name="sleep.resume")
    async def resume(self, input: SleepInput) -> None:
        """Scale our vCluster to its former size, and wait until its API server is ready.

        Raises NeverReady if it cannot start.
        """
        host, environment = await self._own_host(input.environment)
        name = environment.host_name

        believed_at = time.monotonic() + self._settle_seconds

        async def starting() -> str:
            try:
                # Each time: a call of an earlier attempt to pause it may come late.
                return await host.resume_release(name, name) or await pending_startup(host, name)
            except client.NotFound:
                raise release_missing(host, name) from None
            except NeverReady as error:
                if time.monotonic() >= believed_at:
                    raise
                return error.cause

        if waiting_for := await activity_context.wait_until(starting):
            raise NotYet(
                System.HOST_CLUSTER,
                f"The vCluster on host {host.name} has not started in its time: {waiting_for}",
                "See to what it waits for, then wake it again",
            )
        kubeconfig = await own_kubeconfig(host, environment)
        await require_answer(host, kubeconfig)

    async def _own_host(self, environment: Environment) -> tuple[Host, Environment]:
        """Return host and environment as at_host; raise Conflict if its namespace or release is not ours."""
        ensure_right_queue(self._own_queues, environment, [System.HOST_CLUSTER])
        host, environment = await at_host(self._hosts, environment)
        await require_installed(host, environment)
        return host, environment
