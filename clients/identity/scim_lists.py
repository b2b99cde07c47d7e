"""What SCIM directories really answer: names in any case, pages of any kind, lists not to be believed.

A list that is short, repeated or contradicts itself is never taken for the whole: what is left behind for
want of an entry lets people in.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Generic, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from clients.errors import Rejected, Unintelligible

#: Resources asked for at once: what the usual services give at most in one page.
PAGE_SIZE = 100
#: No directory has smaller pages: fewer entries than that are one page.
SMALLEST_PAGE = 20
#: More pages than any directory has that is searched so: one that counts on and on is not read for ever.
MAX_PAGES = 500
#: How often a list is read again because its length changed between two of its pages.
LIST_ATTEMPTS = 3


class RafayTransport(BaseModel):
    """Only what is used here is looked at: real directories send many more fields, and odd ones.

    Names of attributes have no case (RFC 7643, 2.1): fields are called by their names in lower case.
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


def _is_one_step(id: str) -> str:
    if id in ("", ".", ".."):
        raise ValueError("is no id: it would make the path that of something else")
    return id


def _as_list(value: Any) -> Any:
    """One value of an attribute that has several may come alone."""
    return value if value is None or isinstance(value, list) else [value]


def _as_values(value: Any) -> Any:
    """A plain text instead of a complex value is its `value`."""
    return [{"value": one} if isinstance(one, str) else one for one in _as_list(value) or ()]


def _as_members(value: Any) -> Any:
    # None says nothing of its members: not every directory shows them unasked.
    return None if value is None else _as_values(value)


Id = Annotated[str, AfterValidator(_is_one_step)]


class WireEmail(RafayTransport):
    """One address."""

    value: str | None = None
    primary: bool | None = None


class WireUser(RafayTransport):
    """A person. Some list them once for each of their addresses."""

    kind: ClassVar[str] = "user"
    id: Id
    username: str | None = None
    active: bool | None = None
    emails: Annotated[list[WireEmail], BeforeValidator(_as_values)] = []

    def addresses(self) -> list[str]:
        """All addresses, a primary one first."""
        ordered = sorted(self.emails, key=lambda email: not email.primary)
        return [email.value for email in ordered if email.value]

    @property
    def name(self) -> object:
        """What must be the same wherever they are listed."""
        return self.username

    def joined(self, other: "WireUser") -> "WireUser":
        """The same person, with the addresses of both entries."""
        return self.model_copy(update={"emails": list(dict.fromkeys((*self.emails, *other.emails)))})


class WireMember(RafayTransport):
    """One member, by id."""

    value: Id

    @model_validator(mode="before")
    @classmethod
    def _by_reference(cls, document: Any) -> Any:
        """A member may be there by the address of its resource alone."""
        if isinstance(document, dict) and not document.get("value"):
            reference = next((value for name, value in document.items() if str(name).lower() == "$ref"), None)
            value = next((value for name, value in document.items() if str(name).lower() == "value"), None)
            if not value and isinstance(reference, str):
                return {"value": last_step(reference)}
        return document


class WireGroup(RafayTransport):
    """A group."""

    kind: ClassVar[str] = "group"
    id: Id
    displayname: str
    externalid: str | None = None
    members: Annotated[list[WireMember] | None, BeforeValidator(_as_members)] = None

    @property
    def name(self) -> object:
        """What must be the same wherever it is listed."""
        return self.displayname, self.externalid

    def joined(self, _other: "WireGroup") -> "WireGroup":
        """The same group."""
        return self


class WirePage(RafayTransport):
    """One page of a list. An object without any of its two marks is none, such as that of a proxy."""

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
        """Its resources; an empty list may be left out (RFC 7644, 3.4.2)."""
        return self.resources or []


def last_step(address: str) -> str:
    """The id in the address of a resource."""
    return unquote(urlsplit(address).path.rstrip("/").rpartition("/")[2])


_Shape = TypeVar("_Shape", WireUser, WireGroup)
Query = dict[str, str | int]
ReservationRequest = Callable[[Query], Awaitable[Any]]


class _Changed(Exception):
    """The list changed while it was read: an entry may have slipped from one page to another unseen."""


class _Short(Exception):
    """The list has fewer entries than it counts."""


@dataclass
class ListReader(Generic[_Shape]):
    """Reads one list to its end. `ask` makes one call; `fits` tells what was asked for from what was not."""

    system: str
    operation: str
    shape: type[_Shape]
    ask: ReservationRequest
    fits: Callable[[_Shape], bool]
    _found: dict[str, _Shape] = field(default_factory=dict, init=False)
    _pages: list[WirePage] = field(default_factory=list, init=False)
    #: Entries that the list must have counted: one that comes again on a later page is the same one.
    _counted: int = field(default=0, init=False)

    async def read(self, query: Query) -> list[_Shape]:
        """All entries, each once, whether or not they are what was asked for.

        Unintelligible if the list contradicts itself, has no end, or is shorter than it says.
        """
        why, first = "", 1
        for _ in range(LIST_ATTEMPTS):
            try:
                return await self._read(query, first)
            except _Changed:
                why = "the list kept changing while it was read"
            except _Short as short:
                # Some count their entries from 0 and so leave out the first: the standard takes 0 for 1.
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
                    break  # it has no pages but the first
                if "filter" in query or not window:
                    raise
                window = {}  # some refuse to be asked for pages at all
                continue
            new = self._take(page)
            read += len(page.entries)
            if not new:
                break
            if self._is_whole(page):
                return list(self._found.values())
            window = {"startIndex": first + read, "count": PAGE_SIZE}
            if page.nextcursor:
                window = {"cursor": page.nextcursor, "count": PAGE_SIZE}  # RFC 9865
        else:
            raise self._refused(f"the list does not end after {MAX_PAGES} pages")
        await self._check_end(query)
        return list(self._found.values())

    def _take(self, page: WirePage) -> int:
        """Add what the page has; how much of it is new."""
        before = set(self._found)
        self._pages.append(page)
        for document in page.entries:
            entry = self.parse(document)
            known = self._found.get(entry.id)
            if known and known.name != entry.name:
                raise _Changed
            self._found[entry.id] = known.joined(entry) if known else entry
            self._counted += entry.id not in before
        return len(self._found) - len(before)

    def _is_whole(self, page: WirePage) -> bool:
        """Whether no further page has to be asked for.

        A count alone does not show that: some count the page only. It is believed where it was more than the
        first page had, and where the one entry is what was asked for.
        """
        total, first = page.totalresults, self._pages[0]
        if total is None or total > self._counted:
            return False
        if (first.totalresults or 0) > len(first.entries):
            if {each.totalresults for each in self._pages} != {total}:
                raise _Changed
            return True
        return len(self._found) == 1 and all(map(self.fits, self._found.values()))

    async def _check_end(self, query: Query) -> None:
        """Return if what was found, until a page brought nothing new, is the whole list."""
        first, last = self._pages[0], self._pages[-1]
        totals = {page.totalresults for page in self._pages if page.totalresults is not None}
        counts_pages = all(page.totalresults in (None, len(page.entries)) for page in self._pages)
        if len(totals) > 1 and not counts_pages:
            raise _Changed
        if max(totals, default=0) > self._counted:
            raise _Short(f"the list counts {max(totals)} entries and has {self._counted}")
        if last.entries and len(self._pages) > 1 and self._counted >= SMALLEST_PAGE:
            # It gives one page again and again, and counts no more than that has. Asked for one entry, who
            # always gives the whole list does so again, and who counts the whole list says the same number.
            less = self.parse_page(await self.ask({**query, "startIndex": 1, "count": 1}))
            if len(less.entries) < len(first.entries) and less.totalresults != self._counted:
                raise self._refused("the list gives the same page again and again")

    def parse_page(self, document: Any) -> WirePage:
        """The answer as a page of a list. Raises Unintelligible."""
        try:
            return WirePage.model_validate(document)
        except ValidationError:
            pass  # raised outside: the validation error would carry the answer along
        raise self._refused("the answer is no SCIM list")

    def parse(self, document: Any) -> _Shape:
        """The entry in its shape. Raises Unintelligible."""
        try:
            return self.shape.model_validate(document)
        except ValidationError:
            pass
        raise self._refused(f"an entry of the list is no SCIM {self.shape.kind}")

    def _refused(self, detail: str) -> Unintelligible:
        return Unintelligible(self.system, self.operation, detail)
