"""The search for people in a SCIM directory, by user name or address, in as few calls as it allows.

Directories differ: some filters ignore the case of letters and some do not; some directories have no filter
for addresses, and some no `or`. What a directory has is learned from its answers about a user who is there.
"""

import json
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from clients.errors import ClientError, MalformedAnswer, NotFound, Rejected, ServerFailed
from clients.identity.addresses import LOWER_CASE, is_same_address
from clients.identity.scim_lists import ListReader, WireUser

#: Maximum number of users to read for an address when the directory's filter is case-sensitive: five pages.
SMALL_DIRECTORY = 500

#: The two attributes of a filter for both: what every directory calls them.
_NAME, _ADDRESS = "userName", "emails.value"

Fits = Callable[[WireUser], bool]


@dataclass
class PeopleSearch:
    """The search in one directory, with what was learned about it since the process started."""

    #: Returns all users for a filter: operation, condition, and the check that an entry matches.
    find: Callable[[str, str, Fits], Awaitable[list[WireUser]]]
    #: Returns a reader of the list of users for an operation.
    reader: Callable[[str], ListReader[WireUser]]
    #: Attributes whose filter ignores case, and those for which that was tried.
    _ignoring_case: set[str] = field(default_factory=set, init=False)
    _tried_case: set[str] = field(default_factory=set, init=False)
    #: Whether a filter of several conditions, joined by `or`, finds what any of them fits; None: unknown.
    _has_or: bool | None = field(default=None, init=False)

    async def users(self, operation: str, email: str) -> list[WireUser]:
        """Return users with this user name, or else this address, ignoring case; also inactive ones."""
        if self._has_or:
            try:
                return await self._by_one_filter(operation, email)
            except Rejected:
                pass  # it refuses this value or this length
        found = await self._by_one_attribute_each(operation, email)
        if found and self._has_or is None:
            await self._learn_or(operation, found[0])
        return found

    async def _by_one_filter(self, operation: str, email: str) -> list[WireUser]:
        conditions = [
            _equals(attribute, spelling)
            for attribute in (_NAME, _ADDRESS)
            for spelling in self._spellings(attribute, email)
        ]
        is_meant = partial(_is_of, email)
        found = _best(email, await self.find(operation, " or ".join(conditions), is_meant))
        if found or self._ignoring_case.issuperset((_NAME, _ADDRESS)):
            return found
        return _best(email, await self._users_if_few_listed(operation))

    async def _by_one_attribute_each(self, operation: str, email: str) -> list[WireUser]:
        refusals: list[Rejected] = []
        searched: list[str] = []
        for attributes, fits in _USER_FILTERS:
            is_meant = partial(fits, email)
            for attribute in attributes:
                try:
                    if found := await self._by_attribute(attribute, email, is_meant, operation):
                        return found
                except Rejected as error:
                    refusals.append(error)  # the directory cannot filter by this attribute
                    continue
                searched.append(attribute)
                break
        if len(searched) == len(_USER_FILTERS) and self._ignoring_case.issuperset(searched):
            return []
        try:
            users = await self._users_if_few(operation)
        except (Rejected, NotFound, ServerFailed):
            if not searched:
                raise
            # The directory does not list all users, and has just answered that it does not have this address.
            return []
        if found := _best(email, users):
            return found
        if refusals and not users and not searched:
            raise refusals[-1]
        return []

    async def _by_attribute(
        self, attribute: str, email: str, is_meant: Fits, operation: str
    ) -> list[WireUser]:
        """Return the users with this address in the attribute; raise Rejected if it has no such filter."""
        for spelling in self._spellings(attribute, email):
            found = await self._spelled(attribute, spelling, is_meant, operation)
            if found and attribute not in self._tried_case and spelling != spelling.swapcase():
                # Once: where the filter ignores case, each later look-up saves the other spellings.
                self._tried_case.add(attribute)
                swapped = await self._spelled(attribute, spelling.swapcase(), is_meant, operation)
                if {user.id for user in swapped} == {user.id for user in found}:
                    self._ignoring_case.add(attribute)
            if found:
                return found
        return []

    def _spellings(self, attribute: str, email: str) -> Sequence[str]:
        return (email,) if attribute in self._ignoring_case else _case_variants(email)

    async def _spelled(self, attribute: str, spelling: str, is_meant: Fits, operation: str) -> list[WireUser]:
        users = await self.find(operation, _equals(attribute, spelling), is_meant)
        return list(filter(is_meant, users))

    async def _learn_or(self, operation: str, user: WireUser) -> None:
        """Learn from a user who is there whether filters can be joined, and whether they ignore case.

        The condition that fits is in the middle, because a directory may read only the first or the last one.
        """
        address = next(iter(user.addresses()), None)
        if not user.username or not address:
            return
        ignoring: set[str] = set()
        try:
            for attribute, value, other in ((_NAME, user.username, _ADDRESS), (_ADDRESS, address, _NAME)):
                swapped = value.swapcase()
                if swapped != value and await self._is_found(operation, user, other, attribute, swapped):
                    ignoring.add(attribute)
                elif not await self._is_found(operation, user, other, attribute, value):
                    self._has_or = False
                    return
        except (Rejected, NotFound, ServerFailed, MalformedAnswer):
            self._has_or = False
        except ClientError:
            pass  # the next look-up tries again; the user of this one is found
        else:
            self._has_or = True
            self._ignoring_case |= ignoring

    async def _is_found(self, operation: str, user: WireUser, other: str, attribute: str, value: str) -> bool:
        """Return whether the directory finds the user, and no others, by one of three conditions."""
        first, last = (_equals(other, f"no-one-{secrets.token_hex(8)}") for _ in range(2))
        is_meant = partial(_is_of, value)
        condition = f"{first} or {_equals(attribute, value)} or {last}"
        found = await self.find(operation, condition, is_meant)
        return user.id in {each.id for each in found} and all(map(is_meant, found))

    async def _users_if_few_listed(self, operation: str) -> list[WireUser]:
        """Return all users of a small directory; none if it is large or does not list them."""
        try:
            return await self._users_if_few(operation)
        except (Rejected, NotFound, ServerFailed):
            return []

    async def _users_if_few(self, operation: str) -> list[WireUser]:
        """Return all users of a small directory; none if it has more than `SMALL_DIRECTORY`.

        No filter may have found an address that the directory holds in another case.
        """
        reader = self.reader(operation)
        page = reader.parse_page(await reader.ask({"startIndex": 1, "count": 1}))
        return [] if (page.totalresults or 0) > SMALL_DIRECTORY else await reader.read({})


def _has_name(email: str, user: WireUser) -> bool:
    return is_same_address(email, user.username)


def _has_address(email: str, user: WireUser) -> bool:
    return any(is_same_address(email, address) for address in user.addresses())


def _is_of(email: str, user: WireUser) -> bool:
    return _has_name(email, user) or _has_address(email, user)


def _best(email: str, users: Sequence[WireUser]) -> list[WireUser]:
    """Return the users with this user name, or else those with this address."""
    for fits in (_has_name, _has_address):
        if found := [user for user in users if fits(email, user)]:
            return found
    return []


#: The attributes to search for users, and the check that an entry matches. Of several attributes, the first
#: one that the directory can filter by is used.
_USER_FILTERS: tuple[tuple[tuple[str, ...], Callable[[str, WireUser], bool]], ...] = (
    ((_NAME,), _has_name),
    ((_ADDRESS, "emails", 'emails[type eq "work"].value'), _has_address),
)


def _case_variants(email: str) -> Sequence[str]:
    """Return the address in its usual cases, for directories that compare case-sensitively."""
    local, at, domain = email.partition("@")
    capitals = re.sub("[A-Za-z]+", lambda word: word[0].capitalize(), local)
    return tuple(
        dict.fromkeys((email, email.translate(LOWER_CASE), f"{capitals}{at}{domain.translate(LOWER_CASE)}"))
    )


def _equals(attribute: str, value: str) -> str:
    return f"{attribute} eq {quoted(value)}"


def quoted(value: str) -> str:
    """Return the value as a filter has it: a JSON string (RFC 7644, 3.4.2.2), which prevents injection."""
    return json.dumps(value, ensure_ascii=False)
