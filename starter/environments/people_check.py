"""Whether people are known where an environment's members will be kept: asked before anything is started."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from clients.errors import ClientError, Denied, Rejected

#: A person waits for the answer; when the directory takes longer, the workflow asks it again at its leisure.
DIRECTORY_PATIENCE = timedelta(seconds=5)


class PeopleDirectory(Protocol):
    """Where members are kept: the identity provider if there is one, else the control plane."""

    async def find_user(self, email: str) -> object | None:
        """The person of this address, or None. Rejected if there are several."""
        ...


@dataclass(frozen=True)
class PeopleCheck:
    """The result: a sentence for each address that will not do, and whether everybody could be asked for."""

    problems: Mapping[str, str]
    complete: bool


async def check_people(directory: PeopleDirectory, emails: Iterable[str]) -> PeopleCheck:
    """Who of them is not known. A directory that cannot be asked is no problem of theirs: not complete.

    Raises Denied when the directory refuses our credentials: the steps would be refused as well.
    """
    problems: dict[str, str] = {}
    complete = True

    async def check(email: str) -> None:
        nonlocal complete
        try:
            async with asyncio.timeout(DIRECTORY_PATIENCE.total_seconds()):
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
                    f"nobody of the address {email} is known there: ask the platform team to add them"
                )

    await asyncio.gather(*(check(email) for email in emails))
    return PeopleCheck(problems, complete)
