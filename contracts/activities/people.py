"""The interfaces of the activities for the people of one environment."""

from abc import ABC, abstractmethod

from temporalio import activity

from contracts.environment.models import Environment
from contracts.types.models import Frozen


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
