"""Check that the members of an environment exist in the user directory, before anything is started."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from clients.errors import ClientError, Denied, Rejected
from starter.shared_reads import SharedReads

#: A user waits for the response. If the directory takes longer, the workflow asks it again later.
DIRECTORY_TIMEOUT = timedelta(seconds=5)
#: How long a person that the directory knew counts as known. A whole class that requests at once then costs
#: a lookup per person instead of one per request. The steps of the workflow look every person up again.
KNOWN_SECONDS = 30.0
#: Number of people that are remembered as known.
MAX_KNOWN = 2000


class PeopleDirectory(Protocol):
    """The directory of members: the identity provider if there is one, otherwise the control plane."""

    async def find_user(self, email: str) -> object | None:
        """Return the user with this address, or None; raise Rejected if there are several."""
        ...


class RememberedPeople:
    """A directory that remembers for KNOWN_SECONDS whom it has found; it never remembers unknown people."""

    def __init__(self, directory: PeopleDirectory) -> None:
        self._reads = SharedReads(directory.find_user)
        self._known: OrderedDict[str, tuple[float, object]] = OrderedDict()

    async def find_user(self, email: str) -> object | None:
        """Return the user with this address, or None; raise Rejected if there are several."""
        found_at, user = self._known.get(email, (0.0, None))
        if user is not None and time.monotonic() - found_at < KNOWN_SECONDS:
            return user
        read_at = time.monotonic()
        user = await self._reads.read(email)
        if user is not None:
            self._known[email] = read_at, user
            self._known.move_to_end(email)
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        return user


@dataclass(frozen=True)
class PeopleCheck:
    """A sentence for each address that cannot be used, and whether all addresses could be checked."""

    problems: Mapping[str, str]
    complete: bool


async def check_people(directory: PeopleDirectory, emails: Iterable[str]) -> PeopleCheck:
    """Look up the addresses and return the unknown ones.

    If the directory cannot be reached, the result is not complete, and the address is not a problem.

    Raises:
        Denied: The directory refuses our credentials; it would refuse the steps of the workflow as well.
    """
    problems: dict[str, str] = {}
    complete = True

    async def check(email: str) -> None:
        nonlocal complete
        try:
            async with asyncio.timeout(DIRECTORY_TIMEOUT.total_seconds()):
                found = await directory.find_user(email)
        except Denied:
            raise
        except Rejected as rejected:
            problems[email] = f"{rejected.system} cannot say who {email} is: {rejected.detail}"
        except (ClientError, TimeoutError):
            complete = False
        else:
            if found is None:
                problems[email] = (
                    f"the directory does not know {email}: correct the address, or ask the platform team "
                    "for an account"
                )

    await asyncio.gather(*(check(email) for email in emails))
    return PeopleCheck(problems, complete)
