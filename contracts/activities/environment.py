"""The interfaces of the activities for one environment or host: names and types.

`activities/` implements them; `contracts.activities.fleet` has those for many environments.

Each step has three activities, `<step>.ensure`, `<step>.remove` and `<step>.inspect`. They guarantee:

- ensure   after it, the resource exists once and has our owner mark; repeating it changes nothing
- remove   after it, nothing of the step with our owner mark exists; removing what never existed succeeds
- inspect  returns what exists of the step with our owner mark; changes nothing
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from temporalio import activity

from contracts.capacity.models import (
    HostCapacity,
    PlacementDecision,
    ReservationRequest,
)
from contracts.environment.models import Environment, Receipt, StepName, System
from contracts.host_requests import HostAnswer, HostRequest
from contracts.notifications import LifeRecord, Notification
from contracts.standby import STANDBY_OFFER, STANDBY_WITHDRAW, StandbyInput, WithdrawResult
from contracts.types.models import Frozen


class MemberRepair(Frozen):
    """A repair of the members of a group: `adds` who is missing, and takes out `extra`, which are ids.

    Who has become one of its people is not taken out.
    """

    adds: bool = False
    extra: tuple[str, ...] = ()


class EnsureInput(Frozen):
    """The input of ensure: the environment for which the step creates its part.

    `request_id` and `requested_at` are for the mark of its life; the sender may leave them out.
    `is_bootstrapped` is for the import: the worker beside the host has applied the bootstrap manifest.
    `in_place`: the environment is in use, so the step changes what is there and never replaces it.
    `members`: only the members of the step's group are repaired, and nothing else is done.
    """

    environment: Environment
    request_id: str = ""
    requested_at: datetime | None = None
    is_bootstrapped: bool = False
    in_place: bool = False
    members: MemberRepair | None = None


class RemoveInput(Frozen):
    """The input of remove.

    `force` means: do not wait for an answer of the virtual cluster, it is gone or cannot answer.
    `life_started_at` is when this life started: older resources do not belong to it.
    """

    environment: Environment
    life_started_at: datetime
    force: bool = False


class RemoveResult(Frozen):
    """What remove did, in a few words.

    A lost response leaves no doubt here, because a late delete creates nothing. `forced` is what did not end
    by itself and was removed by force, one line for each resource.
    """

    note: str = ""
    forced: tuple[str, ...] = ()


class InspectInput(Frozen):
    """The input of inspect: the environment to look for, and the start of its life as in `RemoveInput`."""

    environment: Environment
    life_started_at: datetime


class InspectResult(Frozen):
    """What exists, one line for each resource; empty when nothing is left.

    `kept` is there because the template says so, or because it is older than the environment.
    """

    left: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


class StepActivities(ABC):
    """The activities of one step."""

    @abstractmethod
    async def ensure(self, input: EnsureInput) -> Receipt:
        """Ensure that the step's part of the environment exists and has our owner mark."""

    @abstractmethod
    async def remove(self, input: RemoveInput) -> RemoveResult:
        """Remove the step's part of the environment."""

    @abstractmethod
    async def inspect(self, input: InspectInput) -> InspectResult:
        """Return what is left of the step's part of the environment."""


def step_activity_name(step: StepName, method: Callable[..., Awaitable[Any]]) -> str:
    """Return the activity name of a method of `StepActivities` for `step`, such as "project.ensure"."""
    return f"{step}.{method.__name__}"


class HeartbeatDetails(Frozen):
    """The details of an activity's heartbeats: what it waits for, in words.

    `checkpoint` is the state from which the next attempt continues, if this attempt is interrupted.
    """

    waiting_for: str
    checkpoint: str = ""


#: The activities of the import beside those of every step.
IMPORT_KEY = f"{StepName.IMPORT}.key"
IMPORT_REGISTER = f"{StepName.IMPORT}.register"
IMPORT_BOOTSTRAP = f"{StepName.IMPORT}.bootstrap"


class BootstrapKey(Frozen):
    """The public key for which the bootstrap manifest of a vCluster is sealed (X25519, base64)."""

    public_key: str


class RegisterInput(Frozen):
    """The environment to register in the control plane, and the key for its bootstrap manifest."""

    environment: Environment
    public_key: str


class SealedBootstrap(Frozen):
    """The sealed bootstrap manifest (base64), which only a worker beside the host can open.

    It is empty if the control plane reports the cluster as ready already.
    """

    sealed: str = ""


class BootstrapInput(Frozen):
    """The environment, and the sealed bootstrap manifest to apply in its vCluster."""

    environment: Environment
    sealed: str


class RegisterActivities(ABC):
    """The first part of the import, by a worker with credentials of the control plane."""

    @activity.defn(name=IMPORT_REGISTER)
    @abstractmethod
    async def register(self, input: RegisterInput) -> SealedBootstrap:
        """Ensure that the cluster record exists and is ours, and seal its bootstrap manifest."""


class BootstrapActivities(ABC):
    """The part of the import that a worker beside the host does, before `import.ensure`.

    No worker has the credentials of both systems, and the bootstrap manifest is a secret, so it goes from one
    worker to the other sealed for the vCluster.
    """

    @activity.defn(name=IMPORT_KEY)
    @abstractmethod
    async def key(self, input: EnsureInput) -> BootstrapKey:
        """Return the public key of the vCluster."""

    @activity.defn(name=IMPORT_BOOTSTRAP)
    @abstractmethod
    async def bootstrap(self, input: BootstrapInput) -> None:
        """Apply the bootstrap manifest in the vCluster; repeating it changes nothing."""


class QueuesInput(Frozen):
    """The host of an environment, of which the workflow asks which systems have task queues."""

    host: str


class QueuesResult(Frozen):
    """The systems that have a task queue by the settings of now; `host` is the one of the input."""

    own_queues: tuple[System, ...] = ()


class QueueActivities(ABC):
    """What the settings say of task queues, which may change while an environment lives."""

    @activity.defn(name="queues.read")
    @abstractmethod
    async def read(self, input: QueuesInput) -> QueuesResult:
        """Return the systems that have a task queue now. Calls no system."""


class CheckPeopleInput(Frozen):
    """The input of the check that the directory knows every user of the environment."""

    environment: Environment


class PeopleActivities(ABC):
    """The read-only check before the first step."""

    @activity.defn(name="people.check")
    @abstractmethod
    async def check(self, input: CheckPeopleInput) -> None:
        """Return if the directory knows all people.

        Raises:
            UnknownPerson: Names the people whom the directory does not know.
        """


class AccessInput(Frozen):
    """The people to give access to, and to take it from; `environment` already has the people of then."""

    environment: Environment
    granting: tuple[str, ...] = ()
    revoking: tuple[str, ...] = ()


class AccessResult(Frozen):
    """The people whom the system does not know, so that it gave them nothing.

    `in_doubt` is true when an earlier attempt had no response, so that it may still give access.
    """

    unknown: tuple[str, ...] = ()
    in_doubt: bool = False


class GroupAccessActivities(ABC):
    """Changes who may use an environment that is ready, in the system that has its group.

    After success those in `granting` have access, and those in `revoking` have none. Repeating it changes
    nothing. People whom others have added to a group stay in it.
    """

    @activity.defn(name="access.group")
    @abstractmethod
    async def change_group(self, input: AccessInput) -> AccessResult:
        """Change the members of the identity provider's group, or else of the control plane's group."""


class VirtualAccessActivities(ABC):
    """Changes who may use an environment that is ready, in its virtual cluster; see GroupAccessActivities."""

    @activity.defn(name="access.virtual-cluster")
    @abstractmethod
    async def change_virtual_cluster(self, input: AccessInput) -> AccessResult:
        """Change the rights of people in the virtual cluster."""


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


class WakeAdmissionActivities(ABC):
    """Asks for the capacity of an environment that is to be woken."""

    @activity.defn(name="capacity.wake")
    @abstractmethod
    async def admit(self, input: ReservationRequest) -> PlacementDecision:
        """Reserve its CPU and memory again on its host, or return the refusal with what would help.

        The quotas are those of the worker's settings.
        """


class HostActivities(ABC):
    """What a worker beside a host does there for others: the capacity workflow, and the API."""

    @activity.defn(name="capacity.survey")
    @abstractmethod
    async def survey(self, input: HostCapacity) -> HostCapacity:
        """Return what the host has; `input` is what the settings say, which takes precedence."""

    @activity.defn(name="host.answer")
    @abstractmethod
    async def answer(self, input: HostRequest) -> HostAnswer:
        """Answer a request of the API; repeating it changes nothing more."""


class NotificationResult(Frozen):
    """The channels that took a notification, and the addresses that were refused.

    `delivered_by` is empty when no channel is set. `refused` are the addresses that the mail server refuses
    for good.
    """

    delivered_by: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


class NotificationActivities(ABC):
    """Notifies people through every channel that is set."""

    @activity.defn(name="notification.send")
    @abstractmethod
    async def send(self, input: Notification) -> NotificationResult:
        """Send the notification to every channel; a channel that took it does not get it again.

        Returns when every channel has taken it.
        """


class AuditLogResult(Frozen):
    """The sinks that have the record; empty when no sink is set."""

    written_to: tuple[str, ...] = ()


class AuditLogActivities(ABC):
    """Keeps the record of a life longer than Temporal's retention."""

    @activity.defn(name="audit_log.write")
    @abstractmethod
    async def write(self, input: LifeRecord) -> AuditLogResult:
        """Send the record to every sink that is set.

        A sink may get it twice; readers use one record for each life.
        """
