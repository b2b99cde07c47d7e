"""A directory of any kind under test: how to reach it, and how to wait for what it shows later."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, ClassVar, TypeVar
from uuid import uuid4

from clients.errors import ClientError, NotFound
from clients.identity.protocol import IdentityProvider
from embedded.faults import CALLS_PATH, CONTROL_PATH, Fault
from tests.support.deadline import HANG
from tests.support.stand_ins import control, set_faults

TIMEOUT = timedelta(seconds=HANG)
#: Longer than a call takes on a machine that is not overloaded. A call that takes longer is one more fault.
SHORT_TIMEOUT = timedelta(seconds=3)
#: Between two looks.
PAUSE = 0.05

_T = TypeVar("_T")


class Directory(ABC):
    """A running directory of one kind, and a way past our client."""

    kind: ClassVar[str]
    #: Whether a second group of a name is refused.
    has_unique_names: ClassVar[bool] = True
    #: Whether a second group of an owner mark is impossible.
    has_unique_marks: ClassVar[bool] = False
    #: The operations of the calls by which a group is created, people are added and removed, and it is
    #: deleted, as faults name them.
    create, add, remove, delete = "group.create", "member.add", "member.remove", "group.delete"
    find_group, find_user, token = "group.find", "user.find", "token"
    #: The most calls of a search that finds no one.
    most_calls_for_unknown: ClassVar[int] = 2
    #: Whether a credential that is refused is renewed; a token in the settings is not.
    renews_credential: ClassVar[bool] = True
    #: Faults that are not tried: the client of this kind cannot tell them from one that is.
    faults_left_out: ClassVar[tuple[str, ...]] = ()
    #: What no log and no error may hold, beside the access tokens.
    secrets: tuple[str, ...] = ()
    #: Those who have accounts for all tests of the fault matrix.
    people: Sequence[str] = ()
    url: str

    @abstractmethod
    def connect(self, timeout: timedelta = TIMEOUT, *, credential: str | None = None) -> IdentityProvider:
        """A client of it, to be closed by the caller; with another credential if one is given."""

    @abstractmethod
    async def add_person(self, user_name: str, email: str, *, active: bool = True) -> str:
        """Make an account; returns its id."""

    def faults(self, *faults: Fault) -> None:
        """Replace all faults by these; none clears them."""
        set_faults(self.url, *faults)

    def settle(self) -> None:  # noqa: B027 - most directories show at once what was written
        """Show everywhere what was written, where that takes time."""

    def remaining_faults(self) -> list[Any]:
        """The faults that are yet to strike."""
        faults: list[Any] = control(self.url, "GET", CONTROL_PATH)
        return faults

    def calls(self) -> dict[str, int]:
        """How often each operation was called."""
        counts: dict[str, int] = control(self.url, "GET", CALLS_PATH)
        return {name: count for name, count in counts.items() if name != self.token}


def fresh(prefix: str = "moor") -> str:
    """A name that no other test has."""
    return f"{prefix}-{uuid4().hex[:10]}"


def fresh_mark() -> str:
    """An owner mark that no other test has."""
    return f"k3x9q0vb/demo/{uuid4().hex[:20]}"


async def becomes(read: Callable[[], Awaitable[object]], expected: object) -> None:
    """Wait until the directory shows what was written: some show it later."""
    ends = time.monotonic() + HANG
    while (found := await read()) != expected:
        assert time.monotonic() < ends, f"it is {found!r}, and not {expected!r}"
        await asyncio.sleep(PAUSE)


async def replicated(call: Callable[[], Awaitable[_T]]) -> _T:
    """Repeat the call until the directory has replicated the last change."""
    ends = time.monotonic() + HANG
    while True:
        try:
            return await call()
        except ClientError as error:
            if time.monotonic() > ends or not (error.retryable or isinstance(error, NotFound)):
                raise
            await asyncio.sleep(PAUSE)


def bearer_tokens(client: IdentityProvider) -> list[str]:
    """The access tokens that the client has now."""
    headers = getattr(client._credentials, "_headers", {})  # type: ignore[attr-defined]
    return [value.removeprefix("Bearer ") for value in headers.values()]


async def is_known(client: IdentityProvider, address: str) -> bool:
    return await client.find_user(address) is not None


async def id_of(client: IdentityProvider, address: str) -> str | None:
    user = await client.find_user(address)
    return user.id if user else None
