"""Real answers of SCIM directories: names in any case, pages of any kind, unreliable lists.

A list that is short, repeated or inconsistent is never taken as complete: an entry that is missed stays in
place and keeps giving access.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Generic, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from clients.errors import MalformedAnswer, Rejected

#: Resources per page: the maximum of the usual services.
PAGE_SIZE = 100
#: No directory has smaller pages, so fewer entries than this are one page.
MIN_PAGE_SIZE = 20
#: Maximum number of pages, more than any directory that is searched this way has: it limits endless lists.
MAX_PAGES = 500
#: Attempts to read a list whose length changed between two of its pages.
LIST_ATTEMPTS = 3


class WireModel(BaseModel):
    """Base of the wire models; they check only the fields used here.

    Real directories send many more fields, and unusual ones. Names of attributes are case-insensitive (RFC
    7643, 2.1), so fields have their names in lower case.
    """

    model_config = ConfigDict(
        extra="ignore", frozen=True, coerce_numbers_to_str=True, hide_input_in_errors=True
    )

    @model_validator(mode="before")
    @classmethod
    def _in_lower_case(cls, document: Any) -> Any:
        if not isinstance(document, dict):
            return document
        lowered = {str(name).lower(): value for name, value in document.items()}
        if len(lowered) != len(document):
            raise ValueError("the same attribute is there twice")
        return lowered


def _check_path_segment(id: str) -> str:
    if id in ("", ".", ".."):
        raise ValueError("is no id: it would make the path that of something else")
    return id


def _as_list(value: Any) -> Any:
    """Wrap a single value in a list: an attribute with several values may have only one."""
    return value if value is None or isinstance(value, list) else [value]


def _as_values(value: Any) -> Any:
    """Wrap a plain text, sent instead of a complex value, as its `value`."""
    return [{"value": one} if isinstance(one, str) else one for one in _as_list(value) or ()]


def _as_members(value: Any) -> Any:
    # None means that the members are unknown: not every directory returns them unless the request names
    # them.
    return None if value is None else _as_values(value)


Id = Annotated[str, AfterValidator(_check_path_segment)]


class WireEmail(WireModel):
    """An e-mail address."""

    value: str | None = None
    primary: bool | None = None


class WireUser(WireModel):
    """A user. Some directories list a user once for each address."""

    kind: ClassVar[str] = "user"
    id: Id
    username: str | None = None
    active: bool | None = None
    emails: Annotated[list[WireEmail], BeforeValidator(_as_values)] = []

    def addresses(self) -> list[str]:
        """Return all addresses, a primary one first."""
        ordered = sorted(self.emails, key=lambda email: not email.primary)
        return [email.value for email in ordered if email.value]

    @property
    def name(self) -> object:
        """Return what must be equal in all entries of this user."""
        return self.username

    def merge(self, other: "WireUser") -> "WireUser":
        """Return the same user with the addresses of both entries."""
        return self.model_copy(update={"emails": list(dict.fromkeys((*self.emails, *other.emails)))})


class WireMember(WireModel):
    """A member, by id."""

    value: Id

    @model_validator(mode="before")
    @classmethod
    def _by_reference(cls, document: Any) -> Any:
        """Take the id from `$ref` if a member has only the URL of its resource."""
        if isinstance(document, dict) and not document.get("value"):
            reference = next((value for name, value in document.items() if str(name).lower() == "$ref"), None)
            value = next((value for name, value in document.items() if str(name).lower() == "value"), None)
            if not value and isinstance(reference, str):
                return {"value": id_from_url(reference)}
        return document


class WireGroup(WireModel):
    """A group."""

    kind: ClassVar[str] = "group"
    id: Id
    displayname: str
    externalid: str | None = None
    members: Annotated[list[WireMember] | None, BeforeValidator(_as_members)] = None

    @property
    def name(self) -> object:
        """Return what must be equal in all entries of this group."""
        return self.displayname, self.externalid

    def merge(self, _other: "WireGroup") -> "WireGroup":
        """Return the group unchanged: all its entries are equal."""
        return self


class WirePage(WireModel):
    """One page of a list.

    An object with neither total nor resources, such as a proxy's, is invalid.
    """

    totalresults: int | None = None
    startindex: int | None = None
    nextcursor: str | None = None
    resources: list[Any] | None = None

    @model_validator(mode="after")
    def _is_page(self) -> "WirePage":
        if self.resources is None and self.totalresults is None:
            raise ValueError("is no list")
        return self

    @property
    def entries(self) -> list[Any]:
        """Return the page's resources; an empty list may be left out (RFC 7644, 3.4.2)."""
        return self.resources or []


def id_from_url(address: str) -> str:
    """Return the id at the end of a resource's URL."""
    return unquote(urlsplit(address).path.rstrip("/").rpartition("/")[2])


_Shape = TypeVar("_Shape", WireUser, WireGroup)
Query = dict[str, str | int]
ListCall = Callable[[Query], Awaitable[Any]]


class _ListChanged(Exception):
    """The list changed during the read: an entry may have moved to another page and be missing."""


class _ListTooShort(Exception):
    """The list has fewer entries than its count."""


@dataclass
class ListReader(Generic[_Shape]):
    """A reader of one whole list.

    `ask` makes one call; `fits` checks that an entry matches the request.
    """

    system: str
    operation: str
    shape: type[_Shape]
    ask: ListCall
    fits: Callable[[_Shape], bool]
    _found: dict[str, _Shape] = field(default_factory=dict, init=False)
    _pages: list[WirePage] = field(default_factory=list, init=False)
    #: Number of entries that the list must have counted; an entry repeated on a later page counts once.
    _counted: int = field(default=0, init=False)

    async def read(self, query: Query) -> list[_Shape]:
        """Return all entries, each once, also those that do not match the request.

        Raises:
            MalformedAnswer: the list is inconsistent, has no end, or is shorter than its count.
        """
        why, first = "", 1
        for _ in range(LIST_ATTEMPTS):
            try:
                return await self._read(query, first)
            except _ListChanged:
                why = "the list kept changing while it was read"
            except _ListTooShort as short:
                # Some directories count entries from 0 and so omit the first one: the standard treats 0 as
                # 1.
                why, first = why or str(short), 0
        raise self._refused(why)

    async def _read(self, query: Query, first: int) -> list[_Shape]:
        self._found, self._pages, self._counted = {}, [], 0
        window: Query = {"startIndex": first, "count": PAGE_SIZE}
        read = 0
        while len(self._pages) < MAX_PAGES:
            try:
                page = self.parse_page(await self.ask({**query, **window}))
            except Rejected:
                if self._pages:
                    break  # the directory has no page but the first
                if "filter" in query or not window:
                    raise
                window = {}  # some directories refuse paging parameters
                continue
            new = self._take(page)
            read += len(page.entries)
            if not new:
                break
            if self._is_complete(page):
                return list(self._found.values())
            window = {"startIndex": first + read, "count": PAGE_SIZE}
            if page.nextcursor:
                window = {"cursor": page.nextcursor, "count": PAGE_SIZE}  # RFC 9865
        else:
            raise self._refused(f"the list does not end after {MAX_PAGES} pages")
        await self._check_end(query)
        return list(self._found.values())

    def _take(self, page: WirePage) -> int:
        """Add the entries of the page; return how many of them are new."""
        before = set(self._found)
        self._pages.append(page)
        for document in page.entries:
            entry = self.parse(document)
            known = self._found.get(entry.id)
            if known and known.name != entry.name:
                raise _ListChanged
            self._found[entry.id] = known.merge(entry) if known else entry
            self._counted += entry.id not in before
        return len(self._found) - len(before)

    def _is_complete(self, page: WirePage) -> bool:
        """Return whether no further page has to be read.

        A count alone does not prove that, because some directories count only the page. It is trusted if it
        was greater than the size of the first page, or if the only entry matches the request.
        """
        total, first = page.totalresults, self._pages[0]
        if total is None or total > self._counted:
            return False
        if (first.totalresults or 0) > len(first.entries):
            if {each.totalresults for each in self._pages} != {total}:
                raise _ListChanged
            return True
        return len(self._found) == 1 and all(map(self.fits, self._found.values()))

    async def _check_end(self, query: Query) -> None:
        """Check that the entries found before a page brought nothing new are the whole list."""
        first, last = self._pages[0], self._pages[-1]
        totals = {page.totalresults for page in self._pages if page.totalresults is not None}
        counts_pages = all(page.totalresults in (None, len(page.entries)) for page in self._pages)
        if len(totals) > 1 and not counts_pages:
            raise _ListChanged
        if max(totals, default=0) > self._counted:
            raise _ListTooShort(f"the list counts {max(totals)} entries and has {self._counted}")
        if last.entries and len(self._pages) > 1 and self._counted >= MIN_PAGE_SIZE:
            # The directory returns the same page again and again, with a count of only its entries. Asked
            # for one entry, a directory that always returns the whole list does so again, and a directory
            # that counts the whole list returns the same number.
            less = self.parse_page(await self.ask({**query, "startIndex": 1, "count": 1}))
            if len(less.entries) < len(first.entries) and less.totalresults != self._counted:
                raise self._refused("the list returns the same page again and again")

    def parse_page(self, document: Any) -> WirePage:
        """Parse the answer as a page of a list; raise MalformedAnswer otherwise."""
        try:
            return WirePage.model_validate(document)
        except ValidationError:
            # Raise outside of the handler, because the validation error would carry the answer along.
            pass
        raise self._refused("the answer is no SCIM list")

    def parse(self, document: Any) -> _Shape:
        """Parse the entry as `shape`; raise MalformedAnswer otherwise."""
        try:
            return self.shape.model_validate(document)
        except ValidationError:
            pass
        raise self._refused(f"an entry of the list is no SCIM {self.shape.kind}")

    def _refused(self, detail: str) -> MalformedAnswer:
        return MalformedAnswer(self.system, self.operation, detail)
