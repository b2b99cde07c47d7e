"""The look-up of an environment's people in the directory; it is read-only.

With an identity provider, the people are its users; without an identity provider, they are local users of the
control plane.
"""

from collections.abc import Sequence
from typing import Protocol

from temporalio import activity

from activities.errors import NotConfigured, PersonUnknown
from activities.task_queues import ensure_right_queue
from clients.identity.protocol import IdentityProvider
from clients.rafay import Rafay
from contracts.activities.people import CheckPeopleInput, PeopleActivities
from contracts.environment.models import System
from contracts.temporal.task_queues import NO_OWN_QUEUES, OwnQueues


class _Person(Protocol):
    @property
    def id(self) -> str: ...


class _Directory(Protocol):
    async def find_user(self, email: str, /) -> _Person | None: ...


class PeopleCheck(PeopleActivities):
    """The read-only check before the first step."""

    def __init__(
        self, rafay: Rafay, directory: IdentityProvider | None, own_queues: OwnQueues = NO_OWN_QUEUES
    ) -> None:
        self._rafay = rafay
        self._directory = directory
        self._own_queues = own_queues

    @activity.defn(name="people.check")
    async def check(self, input: CheckPeopleInput) -> None:
        """Raise PersonUnknown with the names of all people of the environment who are not known."""
        environment = input.environment
        ensure_right_queue(self._own_queues, environment, [environment.people_system])
        if environment.has_identity_provider:
            await user_ids_of(
                require_directory(self._directory), environment.people, System.IDENTITY_PROVIDER
            )
        else:
            await user_ids_of(self._rafay, environment.people, System.CONTROL_PLANE)


async def user_ids_of(directory: _Directory, emails: Sequence[str], system: System) -> list[str]:
    """Return the directory's ids of all people, in order; raise PersonUnknown with all unknown ones."""
    found = {email: await directory.find_user(email) for email in emails}
    unknown = [email for email, user in found.items() if user is None]
    if unknown:
        verb = "is" if len(unknown) == 1 else "are"
        raise PersonUnknown(
            system,
            f"{', '.join(unknown)} {verb} not known to the {system}",
            "Correct the address, or ask the platform team for an account there",
        )
    return [user.id for user in found.values() if user is not None]


def require_directory(directory: IdentityProvider | None) -> IdentityProvider:
    """Return the directory; raise NotConfigured if this worker's settings name none."""
    if directory is None:
        raise NotConfigured(
            System.IDENTITY_PROVIDER,
            f"The environment has an {System.IDENTITY_PROVIDER}, and the worker's settings name none",
            "Put it back into the settings",
        )
    return directory
