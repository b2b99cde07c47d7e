"""Trial that creates a temporary group with the same name in the control plane and the identity provider.

The group has a separate mark, and a name that no environment can have. The trial always removes it; if an
interruption leaves something, the next run finds it by the mark and removes it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from clients.errors import AlreadyExists, ClientError, NotFound, Rejected
from clients.identity.protocol import IdentityProvider
from clients.rafay import Rafay
from starter.setup.check import Found, Kind, well

#: Timeout of the removal when the trial is interrupted: a few calls to systems that answer.
REMOVE_TIMEOUT = timedelta(seconds=30)
#: How long the trial searches for a group that it has just created, or until it does not find it any more:
#: some directories show changes seconds later.
FOUND_TIMEOUT = timedelta(seconds=20)
_FOUND_PAUSE = timedelta(seconds=1)
#: No user has this id: its removal from a group proves the right to change members, and changes nothing.
_UNKNOWN_USER = "moorage-setup-unknown"


@dataclass(frozen=True)
class GroupProbe:
    """The temporary group of one installation; without a directory, only in the control plane."""

    rafay: Rafay
    directory: IdentityProvider | None
    name: str
    mark: str
    host_project: str
    role: Callable[[], str]

    @property
    def _both(self) -> str:
        return "both under one name" if self.directory else "the control plane"

    async def check(self) -> Found:
        """Check that nothing of an earlier trial is left over."""
        left = await self._left_over()
        if left:
            return Found(Kind.WRONG, f"left over from an interrupted setup: {', '.join(left)}", "remove it")
        found = await self.rafay.find_group(self.name)
        if found is not None:
            detail = f"the control plane has a group {self.name} that setup did not make"
            return Found(Kind.BY_HAND, detail, "remove it, or rename it")
        return well("nothing is left over; setup tries it with a throw-away group")

    async def remove(self) -> str:
        """Remove everything that has the mark of the trial."""
        left = await self._left_over()
        await self._remove()
        return f"removed {', '.join(left) or 'what was left over'}"

    async def try_it(self) -> str:
        """Create the group in both systems, bind a role, find it by name, and remove it again."""
        try:
            await self._make()
        finally:
            await _run_to_completion(self._remove())
        until = asyncio.get_running_loop().time() + FOUND_TIMEOUT.total_seconds()
        while left := await self._left_over():
            if asyncio.get_running_loop().time() > until:
                raise Rejected("setup", f"remove group {self.name}", f"still there: {', '.join(left)}")
            # Some directories show a deleted group for seconds.
            await asyncio.sleep(_FOUND_PAUSE.total_seconds())
        return f"a throw-away group was made in {self._both}, got a role, and is gone again"

    async def _make(self) -> None:
        project = await self.rafay.find_project(self.host_project)
        if project is None:
            raise NotFound("control plane", f"find project {self.host_project}", "it has just gone")
        with contextlib.suppress(
            AlreadyExists
        ):  # Another setup that runs now has created it; this one removes it as well.
            await self.rafay.create_group(self.name, self.mark)
        group = await self.rafay.find_group(self.name)
        if group is None or group.description != self.mark:
            detail = f"group {self.name} was made, and is not found under its name as it was made"
            raise Rejected("control plane", "keep a group", detail)
        with contextlib.suppress(AlreadyExists):
            await self.rafay.bind_role(group.id, project.id, self.role())
        if self.directory:
            await self._make_in(self.directory)

    async def _make_in(self, directory: IdentityProvider) -> None:
        made = await directory.create_group(self.name, self.mark)
        loop = asyncio.get_running_loop()
        until = loop.time() + FOUND_TIMEOUT.total_seconds()
        while made.id not in [group.id for group in await directory.groups_by_name(self.name)]:
            if loop.time() > until:
                detail = f"group {self.name} was made and is not found under its name: names must be equal"
                raise Rejected("identity provider", "keep a group", detail)
            await asyncio.sleep(_FOUND_PAUSE.total_seconds())
        await directory.remove_member(made.id, _UNKNOWN_USER)

    async def _left_over(self) -> list[str]:
        left = []
        group = await self.rafay.find_group(self.name)
        if group is not None and group.description == self.mark:
            left.append(f"group {self.name} in the control plane")
        if self.directory:
            doubles = await self.directory.groups_by_external_id(self.mark)
            left += [f"group {one.display_name} in the identity provider" for one in doubles]
        return left

    async def _remove(self) -> None:
        """Remove the group from both systems; a failure in one does not prevent the other."""
        problems = []
        for remove in (self._remove_from_control_plane, self._remove_from_directory):
            problem = await _attempt(remove)
            if problem:
                problems.append(problem)
        if problems:
            raise problems[0]

    async def _remove_from_control_plane(self) -> None:
        group = await self.rafay.find_group(self.name)
        if group is None or group.description != self.mark:
            return
        for binding in await self.rafay.bindings(group.id):
            project = await self.rafay.find_project(binding.project_name)
            if project is not None:
                await self.rafay.unbind(group.id, project.id)
        await self.rafay.delete_group(group.id)

    async def _remove_from_directory(self) -> None:
        if self.directory is None:
            return
        for group in await self.directory.groups_by_external_id(self.mark):
            await self.directory.delete_group(group.id)


async def _attempt(remove: Callable[[], Awaitable[None]]) -> ClientError | None:
    try:
        await remove()
    except NotFound:
        return None  # It was already removed.
    except ClientError as error:
        return error
    return None


async def _run_to_completion(work: Awaitable[None]) -> None:
    """Wait for the work until it is complete, also if the caller is cancelled meanwhile."""

    async def within() -> None:
        async with asyncio.timeout(REMOVE_TIMEOUT.total_seconds()):
            await work

    task = asyncio.ensure_future(within())
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
