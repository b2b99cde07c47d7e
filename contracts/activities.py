"""The signatures of all activities: names and types, no bodies. `activities/` implements them.

Every step has three, side by side. What they guarantee:

- ensure   afterwards the thing is there, bears our mark, and is there once; repeating it changes nothing
- remove   afterwards nothing of it that bears our mark is there; an undo of what never was is a success
- inspect  says what of it that bears our mark is there; changes nothing
"""

from abc import ABC, abstractmethod
from datetime import datetime

from temporalio import activity

from contracts.capacity.models import AuditInput, AuditResult
from contracts.environment import Environment, Receipt
from contracts.expiry_sweep import SweepPassInput, SweepResult
from contracts.models import Frozen
from contracts.notifications import Account, Notification


class EnsureInput(Frozen):
    """For ensure: the environment to make a part of."""

    environment: Environment


class RemoveInput(Frozen):
    """For remove. `force`: do not wait for the virtual cluster's own word, it is gone or cannot answer.

    `begun_at` is when this life began: what is older is not of it. Workflows of older versions do not say.
    """

    environment: Environment
    force: bool = False
    begun_at: datetime | None = None


class RemoveResult(Frozen):
    """What remove did, in a few words. A lost answer leaves no doubt here: a late delete makes nothing.

    `forced` is what did not end by itself and was ended, one line a thing.
    """

    note: str = ""
    forced: tuple[str, ...] = ()


class InspectInput(Frozen):
    """For inspect: the environment to look for. `begun_at` as in `RemoveInput`."""

    environment: Environment
    begun_at: datetime | None = None


class InspectResult(Frozen):
    """What is there, one line a thing; empty when nothing is left.

    `kept` is there as the template says, or older than the environment.
    """

    left: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


class NoticeResult(Frozen):
    """By which channels people were told, none when none is set; and whose mail is refused for good."""

    told_by: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


class TrailResult(Frozen):
    """Which sinks have it; none when none is set."""

    kept_in: tuple[str, ...] = ()


class Waiting(Frozen):
    """Heartbeat details: what a running activity waits for, in words.

    `kept` is what the next try takes up, if this one is cut off.
    """

    waiting_for: str
    kept: str = ""


class CheckPeopleInput(Frozen):
    """Everybody who shall use the environment must be known where its members are kept."""

    environment: Environment


class PeopleActivities(ABC):
    """The read-only check before the first step."""

    @activity.defn(name="people.check")
    @abstractmethod
    async def check(self, input: CheckPeopleInput) -> None:
        """Return if all are known; `UnknownPerson` names who is not."""


class ProjectStep(ABC):
    """The environment's project in the control plane."""

    @activity.defn(name="project.ensure")
    @abstractmethod
    async def ensure(self, input: EnsureInput) -> Receipt: ...

    @activity.defn(name="project.remove")
    @abstractmethod
    async def remove(self, input: RemoveInput) -> RemoveResult: ...

    @activity.defn(name="project.inspect")
    @abstractmethod
    async def inspect(self, input: InspectInput) -> InspectResult: ...


class GroupStep(ABC):
    """The environment's group in the control plane."""

    @activity.defn(name="group.ensure")
    @abstractmethod
    async def ensure(self, input: EnsureInput) -> Receipt: ...

    @activity.defn(name="group.remove")
    @abstractmethod
    async def remove(self, input: RemoveInput) -> RemoveResult: ...

    @activity.defn(name="group.inspect")
    @abstractmethod
    async def inspect(self, input: InspectInput) -> InspectResult: ...


class RoleBindingStep(ABC):
    """The group's role on the project and, without an identity provider, its members as local users."""

    @activity.defn(name="role-binding.ensure")
    @abstractmethod
    async def ensure(self, input: EnsureInput) -> Receipt: ...

    @activity.defn(name="role-binding.remove")
    @abstractmethod
    async def remove(self, input: RemoveInput) -> RemoveResult: ...

    @activity.defn(name="role-binding.inspect")
    @abstractmethod
    async def inspect(self, input: InspectInput) -> InspectResult: ...


class IdentityStep(ABC):
    """The group of the same name in the identity provider, and its members."""

    @activity.defn(name="identity.ensure")
    @abstractmethod
    async def ensure(self, input: EnsureInput) -> Receipt: ...

    @activity.defn(name="identity.remove")
    @abstractmethod
    async def remove(self, input: RemoveInput) -> RemoveResult: ...

    @activity.defn(name="identity.inspect")
    @abstractmethod
    async def inspect(self, input: InspectInput) -> InspectResult: ...


class NamespaceStep(ABC):
    """The namespace on the host cluster, with its quota, limits and policies."""

    @activity.defn(name="namespace.ensure")
    @abstractmethod
    async def ensure(self, input: EnsureInput) -> Receipt: ...

    @activity.defn(name="namespace.remove")
    @abstractmethod
    async def remove(self, input: RemoveInput) -> RemoveResult: ...

    @activity.defn(name="namespace.inspect")
    @abstractmethod
    async def inspect(self, input: InspectInput) -> InspectResult: ...


class VClusterStep(ABC):
    """The virtual cluster's release on the host cluster, started."""

    @activity.defn(name="vcluster.ensure")
    @abstractmethod
    async def ensure(self, input: EnsureInput) -> Receipt: ...

    @activity.defn(name="vcluster.remove")
    @abstractmethod
    async def remove(self, input: RemoveInput) -> RemoveResult: ...

    @activity.defn(name="vcluster.inspect")
    @abstractmethod
    async def inspect(self, input: InspectInput) -> InspectResult: ...


class KubeconfigStep(ABC):
    """The kubeconfig that the virtual cluster exports, and that it works. Nothing of its own to undo."""

    @activity.defn(name="kubeconfig.ensure")
    @abstractmethod
    async def ensure(self, input: EnsureInput) -> Receipt: ...


class ImportStep(ABC):
    """The virtual cluster's record in the control plane, reporting ready and healthy."""

    @activity.defn(name="import.ensure")
    @abstractmethod
    async def ensure(self, input: EnsureInput) -> Receipt: ...

    @activity.defn(name="import.remove")
    @abstractmethod
    async def remove(self, input: RemoveInput) -> RemoveResult: ...

    @activity.defn(name="import.inspect")
    @abstractmethod
    async def inspect(self, input: InspectInput) -> InspectResult: ...


class SweepActivities(ABC):
    """The work of the expiry sweep: looks for those whose time has come, and asks each before it acts."""

    @activity.defn(name="sweep.pass")
    @abstractmethod
    async def sweep(self, input: SweepPassInput) -> SweepResult:
        """Go through all pages of the list; a further try goes on with the page at which this one was."""


class CapacityActivities(ABC):
    """What the workflow of the capacity cannot know itself: what there is."""

    @activity.defn(name="capacity.audit")
    @abstractmethod
    async def audit(self, input: AuditInput) -> AuditResult:
        """Say how what is held differs from what is open, and what the hosts have. Changes nothing."""


class NoticeActivities(ABC):
    """Tells people, by every channel that is set."""

    @activity.defn(name="notice.send")
    @abstractmethod
    async def send(self, input: Notification) -> NoticeResult:
        """Afterwards every channel has taken it. What one has taken is not sent to it again."""


class TrailActivities(ABC):
    """Keeps the account of a life beyond Temporal's retention."""

    @activity.defn(name="trail.keep")
    @abstractmethod
    async def keep(self, input: Account) -> TrailResult:
        """Afterwards every sink that is set has it. Twice is possible; readers take one a life."""
