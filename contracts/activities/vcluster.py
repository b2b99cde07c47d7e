"""The interfaces of the activities that change the vCluster of an environment or standby in place."""

from abc import ABC, abstractmethod
from datetime import datetime

from temporalio import activity

from contracts.environment.models import Environment
from contracts.standby import STANDBY_OFFER, STANDBY_WITHDRAW, StandbyInput, WithdrawResult
from contracts.types.models import Frozen


class StandbyActivities(ABC):
    """Begins and ends the offer of a standby. Repeating it changes nothing."""

    @activity.defn(name=STANDBY_OFFER)
    @abstractmethod
    async def offer(self, input: StandbyInput) -> None:
        """Let environments take the standby over, which is complete."""

    @activity.defn(name=STANDBY_WITHDRAW)
    @abstractmethod
    async def withdraw(self, input: StandbyInput) -> WithdrawResult:
        """End the offer, and return the environment that has taken the standby over, if one has."""


class SleepInput(Frozen):
    """The environment whose vCluster is paused or resumed."""

    environment: Environment


class SleepActivities(ABC):
    """Puts the vCluster of an environment to sleep, and wakes it. Repeating it changes nothing."""

    @activity.defn(name="sleep.pause")
    @abstractmethod
    async def pause(self, input: SleepInput) -> None:
        """Scale the vCluster to zero, and return when its pods and those of its tenant are gone."""

    @activity.defn(name="sleep.resume")
    @abstractmethod
    async def resume(self, input: SleepInput) -> None:
        """Scale the vCluster to the size that it had, and return when its API server is ready."""


class SnapshotInput(Frozen):
    """The environment of which a snapshot is taken.

    `number` and `asked_at` name its request, and `number` its file. Older histories have no `asked_at`.
    """

    environment: Environment
    number: int
    asked_at: datetime | None = None


class RestoreSnapshotInput(Frozen):
    """The environment whose snapshot `number` is restored; `attempt` names the pod that does it."""

    environment: Environment
    number: int
    attempt: str


class SettlePeopleInput(Frozen):
    """The environment whose snapshot was restored, and the people who may use it now."""

    environment: Environment
    people: tuple[str, ...]


class SnapshotActivities(ABC):
    """Takes snapshots of virtual clusters, and restores them."""

    @activity.defn(name="snapshot.take")
    @abstractmethod
    async def take(self, input: SnapshotInput) -> None:
        """Request the snapshot, and return when the vCluster has taken it; a repeat requests it once.

        It has the objects of the virtual cluster, and nothing of the volumes of its workloads.
        """

    @activity.defn(name="snapshot.restore")
    @abstractmethod
    async def restore(self, input: RestoreSnapshotInput) -> None:
        """Put the objects of a snapshot back into a vCluster that is paused; return when that is done.

        A repeat with the same `attempt` restores it once.
        """

    @activity.defn(name="snapshot.settle")
    @abstractmethod
    async def settle(self, input: SettlePeopleInput) -> None:
        """Take the access away that a restore has given back; repeating it changes nothing."""
