"""The interfaces of the activities that notify people, and that keep the record of a life."""

from abc import ABC, abstractmethod

from temporalio import activity

from contracts.notifications import LifeRecord, Notification
from contracts.types.models import Frozen


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
