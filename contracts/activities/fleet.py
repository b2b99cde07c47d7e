"""The interfaces of the activities that look after many environments: sweeps, rollouts and the capacity."""

from abc import ABC, abstractmethod

from temporalio import activity

from contracts.booking_workflow import EndPlacesInput, EndPlacesResult
from contracts.capacity.audit import AuditInput, AuditResult
from contracts.capacity.models import (
    PlacementDecision,
    ResizeInput,
)
from contracts.reconcile.models import SettleInput, SettleResult, Survey, SurveyInput
from contracts.rollout import UpgradeInput, UpgradeResult
from contracts.standby import StartStandbyInput
from contracts.sweeps.expiry import SweepPassInput, SweepResult
from contracts.sweeps.leavers import ApplyInput, ApplyResult, LookInput, LookResult


class ExpirySweepActivities(ABC):
    """The work of the expiry sweep.

    It finds the environments for which something is due, and asks each of them before it acts.
    """

    @activity.defn(name="expiry_sweep.run")
    @abstractmethod
    async def run(self, input: SweepPassInput) -> SweepResult:
        """Go through all pages of the list; a retry continues with the page of the last attempt."""


class LeaverActivities(ABC):
    """The work of the leaver sweep."""

    @activity.defn(name="leavers.look")
    @abstractmethod
    async def look(self, input: LookInput) -> LookResult:
        """Look people up in the directory; a retry continues with the person of the last attempt."""

    @activity.defn(name="leavers.apply")
    @abstractmethod
    async def apply(self, input: ApplyInput) -> ApplyResult:
        """Tell the environments of these people that they have left, or are back."""


class ReconcileActivities(ABC):
    """The work of the reconcile sweep."""

    @activity.defn(name="reconcile.survey")
    @abstractmethod
    async def survey(self, input: SurveyInput) -> Survey:
        """Return what bears our marks and belongs to no open environment. Changes nothing."""

    @activity.defn(name="reconcile.settle")
    @abstractmethod
    async def settle(self, input: SettleInput) -> SettleResult:
        """Adopt or undo each orphan, if another look gives the same verdict.

        Repeating it starts nothing twice.
        """


class RolloutActivities(ABC):
    """The work of a rollout."""

    @activity.defn(name="rollout.upgrade")
    @abstractmethod
    async def upgrade(self, input: UpgradeInput) -> UpgradeResult:
        """Ask one environment for its upgrade, and wait until it has ended or was rolled back.

        Repeating it upgrades nothing twice.
        """


class PoolActivities(ABC):
    """What the warm pools need of Temporal."""

    @activity.defn(name="pools.start")
    @abstractmethod
    async def start(self, input: StartStandbyInput) -> None:
        """Start the workflow of a standby; repeating it starts nothing twice."""


class BookingActivities(ABC):
    """What the end of a booking needs of Temporal."""

    @activity.defn(name="bookings.freeze")
    @abstractmethod
    async def freeze(self) -> str:
        """Return who has frozen all ends and why, or ""."""

    @activity.defn(name="bookings.end_places")
    @abstractmethod
    async def end_places(self, input: EndPlacesInput) -> EndPlacesResult:
        """Have all environments and standbys of the booking end; return what is gone and what is left.

        Repeating it ends nothing twice.
        """


class CapacityActivities(ABC):
    """The audit of the capacity: the workflow cannot know by itself what exists."""

    @activity.defn(name="capacity.audit")
    @abstractmethod
    async def audit(self, input: AuditInput) -> AuditResult:
        """Return how the reservations differ from the open environments, and what the hosts have.

        Changes nothing.
        """

    @activity.defn(name="capacity.resize")
    @abstractmethod
    async def resize(self, input: ResizeInput) -> PlacementDecision:
        """Ask the capacity workflow for another size of an open life; a repeat gets the same answer."""
