"""The signatures of all activities: names and types. `activities/` implements them.

Every step has three activities, next to each other. They guarantee:

- ensure   after it, the resource exists once and has our owner mark; repeating it changes nothing
- remove   after it, nothing of the step with our owner mark exists; removing what never existed succeeds
- inspect  returns what exists of the step with our owner mark; changes nothing
"""

from abc import ABC, abstractmethod
from datetime import datetime

from temporalio import activity

from contracts.capacity.models import AuditInput, AuditResult
from contracts.environment import Environment, Receipt
from contracts.expiry_sweep import SweepPassInput, SweepResult
from contracts.models import Frozen
from contracts.notifications import LifeRecord, Notification


class EnsureInput(Frozen):
    """The input of ensure: the environment for which the step creates its part."""

    environment: Environment


class RemoveInput(Frozen):
    """The input of remove.

    `force` means: do not wait for an answer of the virtual cluster, it is gone or cannot answer. `begun_at`
    is when this life started: older resources do not belong to it. Workflows of older versions do not set it.
    """

    environment: Environment
    force: bool = False
    begun_at: datetime | None = None


class RemoveResult(Frozen):
    """What remove did, in a few words.

    A lost response leaves no doubt here, because a late delete creates nothing. `forced` is what did not end
    by itself and was removed by force, one line for each resource.
    """

    note: str = ""
    forced: tuple[str, ...] = ()


class InspectInput(Frozen):
    """The input of inspect: the environment to look for. `begun_at` is as in `RemoveInput`."""

    environment: Environment
    begun_at: datetime | None = None


class InspectResult(Frozen):
    """What exists, one line for each resource; empty when nothing is left.

    `kept` is there because the template says so, or because it is older than the environment.
    """

    left: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


class NoticeResult(Frozen):
    """The channels that took a notification, and the addresses that were refused.

    `told_by` is empty when no channel is set. `refused` are the addresses that the mail server refuses for
    good.
    """

    told_by: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


class TrailResult(Frozen):
    """The sinks that have the record; empty when no sink is set."""

    kept_in: tuple[str, ...] = ()


class Waiting(Frozen):
    """Heartbeat details: what a running activity waits for, in words.

    `kept` is the state from which the next attempt continues, if this attempt is cut off.
    """

    waiting_for: str
    kept: str = ""


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


class ProjectStep(ABC):
    """The environment's project in the control plane."""

    @activity.defn(name="project.ensure")
    @abstractmethod
    async def ensure(self, input: EnsureInput) -> Receipt:
        """Ensure that the project exists and has our owner mark."""

    @activity.defn(name="project.remove")
    @abstractmethod
    async def remove(self, input: RemoveInput) -> RemoveResult:
        """Remove the project."""

    @activity.defn(name="project.inspect")
    @abstractmethod
    async def inspect(self, input: InspectInput) -> InspectResult:
        """Return what is left of the project."""


class GroupStep(ABC):
    """The environment's group in the control plane."""

    @activity.defn(name="group.ensure")
    @abstractmethod
    async def ensure(self, input: EnsureInput) -> Receipt:
        """Ensure that the group exists and has our owner mark."""

    @activity.defn(name="group.remove")
    @abstractmethod
    async def remove(self, input: RemoveInput) -> RemoveResult:
        """Remove the group."""

    @activity.defn(name="group.inspect")
    @abstractmethod
    async def inspect(self, input: InspectInput) -> InspectResult:
        """Return what is left of the group."""


class RoleBindingStep(ABC):
    """The group's role on the project.

    Without an identity provider, this step also makes the people of the environment members of the group;
    they are local users of the control plane.
    """

    @activity.defn(name="role-binding.ensure")
    @abstractmethod
    async def ensure(self, input: EnsureInput) -> Receipt:
        """Ensure that the group has its role and, without an identity provider, its members."""

    @activity.defn(name="role-binding.remove")
    @abstractmethod
    async def remove(self, input: RemoveInput) -> RemoveResult:
        """Remove the role binding, and the local members from the group."""

    @activity.defn(name="role-binding.inspect")
    @abstractmethod
    async def inspect(self, input: InspectInput) -> InspectResult:
        """Return which roles and local members the group still has."""


class IdentityStep(ABC):
    """The group of the same name in the identity provider, and its members."""

    @activity.defn(name="identity.ensure")
    @abstractmethod
    async def ensure(self, input: EnsureInput) -> Receipt:
        """Ensure that the group exists, has our owner mark, and has its members."""

    @activity.defn(name="identity.remove")
    @abstractmethod
    async def remove(self, input: RemoveInput) -> RemoveResult:
        """Remove the group."""

    @activity.defn(name="identity.inspect")
    @abstractmethod
    async def inspect(self, input: InspectInput) -> InspectResult:
        """Return what is left of the group."""


class NamespaceStep(ABC):
    """The namespace on the host cluster, with its quota, limits and policies."""

    @activity.defn(name="namespace.ensure")
    @abstractmethod
    async def ensure(self, input: EnsureInput) -> Receipt:
        """Ensure that the namespace exists, with its quota, limits and policies."""

    @activity.defn(name="namespace.remove")
    @abstractmethod
    async def remove(self, input: RemoveInput) -> RemoveResult:
        """Remove the namespace and what belongs to it."""

    @activity.defn(name="namespace.inspect")
    @abstractmethod
    async def inspect(self, input: InspectInput) -> InspectResult:
        """Return what is left of the namespace and of what belongs to it."""


class VClusterStep(ABC):
    """The virtual cluster's Helm release on the host cluster, started."""

    @activity.defn(name="vcluster.ensure")
    @abstractmethod
    async def ensure(self, input: EnsureInput) -> Receipt:
        """Ensure that the release is installed and the virtual cluster has started."""

    @activity.defn(name="vcluster.remove")
    @abstractmethod
    async def remove(self, input: RemoveInput) -> RemoveResult:
        """Remove the release and what it leaves."""

    @activity.defn(name="vcluster.inspect")
    @abstractmethod
    async def inspect(self, input: InspectInput) -> InspectResult:
        """Return what is left of the release."""


class KubeconfigStep(ABC):
    """The kubeconfig that the virtual cluster exports, and a check that it works.

    It creates nothing, so it has no undo.
    """

    @activity.defn(name="kubeconfig.ensure")
    @abstractmethod
    async def ensure(self, input: EnsureInput) -> Receipt:
        """Wait for the kubeconfig, and ensure that it works."""


class ImportStep(ABC):
    """The virtual cluster's record in the control plane, which reports ready and healthy."""

    @activity.defn(name="import.ensure")
    @abstractmethod
    async def ensure(self, input: EnsureInput) -> Receipt:
        """Ensure that the virtual cluster is imported, ready and healthy."""

    @activity.defn(name="import.remove")
    @abstractmethod
    async def remove(self, input: RemoveInput) -> RemoveResult:
        """Remove the record of the virtual cluster."""

    @activity.defn(name="import.inspect")
    @abstractmethod
    async def inspect(self, input: InspectInput) -> InspectResult:
        """Return what is left of the record."""


class SweepActivities(ABC):
    """The work of the expiry sweep.

    It finds the environments for which something is due, and asks each of them before it acts.
    """

    @activity.defn(name="sweep.pass")
    @abstractmethod
    async def sweep(self, input: SweepPassInput) -> SweepResult:
        """Go through all pages of the list; a retry continues with the page of the last attempt."""


class CapacityActivities(ABC):
    """The audit of the capacity: the workflow cannot know by itself what exists."""

    @activity.defn(name="capacity.audit")
    @abstractmethod
    async def audit(self, input: AuditInput) -> AuditResult:
        """Return how the reservations differ from the open environments, and what the hosts have.

        Changes nothing.
        """


class NoticeActivities(ABC):
    """Notifies people through every channel that is set."""

    @activity.defn(name="notice.send")
    @abstractmethod
    async def send(self, input: Notification) -> NoticeResult:
        """Send the notification to every channel; a channel that took it does not get it again.

        Returns when every channel has taken it.
        """


class TrailActivities(ABC):
    """Keeps the record of a life longer than Temporal's retention."""

    @activity.defn(name="trail.keep")
    @abstractmethod
    async def keep(self, input: LifeRecord) -> TrailResult:
        """Send the record to every sink that is set.

        A sink may get it twice; readers use one record for each life.
        """
