"""Begins and ends the offer of a standby to environments; see `activities.parts.standby_claim`."""

from temporalio import activity

from activities.parts import standby_claim
from activities.parts.host_lookup import Hosts, host_of
from activities.task_queues import ensure_right_queue
from clients.host.protocol import Host
from contracts.activities.vcluster import StandbyActivities
from contracts.environment.models import Environment, System
from contracts.standby import STANDBY_OFFER, STANDBY_WITHDRAW, StandbyInput, WithdrawResult
from contracts.temporal.task_queues import NO_OWN_QUEUES, OwnQueues


class StandbyOffer(StandbyActivities):
    """Changes the state of standbys, which is an annotation of their namespaces."""

    def __init__(self, hosts: Hosts, own_queues: OwnQueues = NO_OWN_QUEUES) -> None:
        self._hosts = hosts
        self._own_queues = own_queues

    @activity.defn(name=STANDBY_OFFER)
    async def offer(self, input: StandbyInput) -> None:
        """Let environments take it over."""
        await standby_claim.offer(self._host(input.environment), input.environment)

    @activity.defn(name=STANDBY_WITHDRAW)
    async def withdraw(self, input: StandbyInput) -> WithdrawResult:
        """End the offer."""
        taken_by = await standby_claim.withdraw(self._host(input.environment), input.environment)
        return WithdrawResult(taken_by=taken_by)

    def _host(self, environment: Environment) -> Host:
        ensure_right_queue(self._own_queues, environment, [System.HOST_CLUSTER])
        return host_of(self._hosts, environment)
