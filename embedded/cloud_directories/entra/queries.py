"""The query options of Microsoft Graph on groups and users: $filter, $select, $orderby, $count, $top.

Sources: "Advanced query capabilities on Microsoft Entra ID objects", and the properties of group and user
with the operators that each supports. What needs `ConsistencyLevel: eventual` and `$count=true` is refused
without.
"""

import base64
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from embedded.cloud_directories.entra.responses import bad_request, unsupported_query
from embedded.cloud_directories.filters import FilterError, Matches, Quotes, parse_filter
from embedded.cloud_directories.store import Document

#: Size of a page without $top, and the largest one.
_PAGE, _LARGEST_PAGE = 100, 999
#: Most values of one `in`.
_MOST_VALUES = 15
_CURSOR = "after:"
_DEFAULT_OPERATORS = ("eq", "in", "startswith", "ge", "le")
_ADVANCED_OPERATORS = ("ne", "endswith", "not")


@dataclass(frozen=True)
class Entity:
    """How a kind of objects is queried: properties to filter by, and those that a response has by default."""

    name: str
    filterable: Collection[str]
    #: Properties that $select may name, beside those of the default.
    selectable: Collection[str]
    default: Sequence[str]


GROUP = Entity(
    "groups",
    filterable=(
        *("id", "displayName", "mail", "mailNickname", "description", "mailEnabled", "securityEnabled"),
        *("createdDateTime", "uniqueName"),
    ),
    selectable=(),
    default=(
        *("id", "deletedDateTime", "classification", "createdDateTime", "description", "displayName"),
        *("expirationDateTime", "groupTypes", "isAssignableToRole", "mail", "mailEnabled", "mailNickname"),
        *("membershipRule", "membershipRuleProcessingState", "onPremisesSyncEnabled", "proxyAddresses"),
        *("renewedDateTime", "securityEnabled", "securityIdentifier", "theme", "uniqueName", "visibility"),
    ),
)
USER = Entity(
    "users",
    filterable=(
        *("id", "displayName", "mail", "mailNickname", "userPrincipalName", "accountEnabled"),
        *("givenName", "surname", "userType", "createdDateTime"),
    ),
    selectable=(
        *("accountEnabled", "createdDateTime", "deletedDateTime", "mailNickname", "userType"),
        "otherMails",
    ),
    default=(
        *("businessPhones", "displayName", "givenName", "jobTitle", "mail", "mobilePhone"),
        *("officeLocation", "preferredLanguage", "surname", "userPrincipalName", "id"),
    ),
)


class Query:
    """The query options of one request; raises GraphError for those that are not served."""

    def __init__(self, request: Request, entity: Entity, *, excluded: Collection[str] = ()) -> None:
        self._request = request
        self._entity = entity
        self._excluded = excluded
        options = request.query_params
        has_level = request.headers.get("ConsistencyLevel", "").lower() == "eventual"
        self._counts = options.get("$count", "").lower() == "true" and has_level
        self._filter = self._parsed(options["$filter"]) if "$filter" in options else None
        self._selected = self._selection(options.get("$select"))
        if "$search" in options:
            # The stand-in serves no search: this is the answer to one without the header.
            why = "Request with $search query parameter only works through MSGraph with a special request"
            raise unsupported_query(f"{why} header: 'ConsistencyLevel: eventual'")
        self._order = options.get("$orderby", "").split()
        if self._order and self._order[0] not in entity.filterable:
            raise unsupported_query(f"Sorting by '{self._order[0]}' is not supported.")
        if self._order and self._filter and not self._counts:
            raise unsupported_query("Sorting not supported for current query.")

    def page(self, found: Sequence[Document], most: int, kind: str = "") -> Response:
        """Return the page at the token of the request. `kind` is the type of each, where kinds are mixed.

        The token names the last object of the page before, so pages neither skip nor repeat one when others
        come or go.
        """
        matching = [each for each in found if self._filter is None or self._filter(each)]
        matching.sort(key=self._sort_key, reverse=self._order[1:] == ["desc"])
        after = _decoded(self._request.query_params.get("$skiptoken"))
        keys = [each["id"] for each in matching]
        left = matching[keys.index(after) + 1 :] if after in keys else self._left_after(matching, after)
        size = min(self._size(), most)
        entity = f"https://graph.microsoft.com/v1.0/$metadata#{kind or self._entity.name}"
        body: dict[str, Any] = {"@odata.context": entity}
        if self._counts:
            body["@odata.count"] = len(matching)
        if len(left) > size:
            body["@odata.nextLink"] = str(
                self._request.url.include_query_params(**{"$skiptoken": _encoded(left[size - 1]["id"])})
            )
        typed = {"@odata.type": "#microsoft.graph.user"} if kind else {}
        body["value"] = [{**typed, **self.shown(each)} for each in left[:size]]
        return JSONResponse(body)

    def shown(self, document: Document) -> Document:
        """Return the object with the properties that are selected."""
        return {name: document.get(name) for name in self._selected}

    def _left_after(self, matching: list[Document], after: str | None) -> list[Document]:
        # The object that the token names has gone: without $orderby the order is that of the ids.
        return matching if after is None else [each for each in matching if each["id"] > after]

    def _size(self) -> int:
        given = self._request.query_params.get("$top")
        if given is None:
            return _PAGE
        if not given.isdecimal() or not 1 <= int(given) <= _LARGEST_PAGE:
            raise bad_request(f"Invalid page size specified: '{given}'. Must be between 1 and 999 inclusive.")
        return int(given)

    def _sort_key(self, document: Document) -> tuple[str, str]:
        value = str(document.get(self._order[0]) or "").casefold() if self._order else ""
        return value, str(document["id"])

    def _selection(self, text: str | None) -> Sequence[str]:
        if not text:
            return self._entity.default
        names = [name.strip() for name in text.split(",")]
        for name in names:
            if name not in (*self._entity.default, *self._entity.selectable):
                kind = f"microsoft.graph.{self._entity.name[:-1]}"
                why = f"Could not find a property named '{name}' on type '{kind}'."
                raise bad_request(f"Parsing OData Select and Expand failed: {why}")
        return names

    def _parsed(self, text: str) -> Matches:
        if "not" in text.lower().replace("(", " ").split() and not self._counts:
            raise unsupported_query("Operator: 'Not' is not supported")
        try:
            return parse_filter(text, Quotes.ODATA, self._compare)
        except FilterError as error:
            raise bad_request(f"Invalid filter clause: {error}") from None

    def _compare(self, field: str, operator: str, value: Any) -> Matches:
        operator = operator.lower()
        if field not in self._entity.filterable or field in self._excluded:
            raise unsupported_query(
                f"Unsupported or invalid query filter clause specified for property '{field}'."
            )
        if operator in _ADVANCED_OPERATORS and not self._counts:
            why = (
                f"Unsupported Query. Operator: '{operator}' needs ConsistencyLevel: eventual and $count=true."
            )
            raise unsupported_query(why)
        if operator not in (*_DEFAULT_OPERATORS, *_ADVANCED_OPERATORS):
            raise FilterError(f"operator {operator!r} is not supported")
        if operator == "in" and len(value) > _MOST_VALUES:
            raise bad_request(f"Too many child clauses specified in search filter expression: {len(value)}.")
        wanted = [_folded(each) for each in value] if isinstance(value, list) else _folded(value)
        return lambda document: _holds(_folded(document.get(field)), operator, wanted)


def _holds(given: Any, operator: str, wanted: Any) -> bool:
    match operator:
        case "eq":
            return bool(given == wanted)
        case "ne":
            return bool(given != wanted)
        case "in":
            return given in wanted
    if given is None:
        return False
    match operator:
        case "startswith":
            return str(given).startswith(str(wanted))
        case "endswith":
            return str(given).endswith(str(wanted))
        case "ge":
            return str(given) >= str(wanted)
        case _:
            return str(given) <= str(wanted)


def _folded(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


def _encoded(key: str) -> str:
    return base64.urlsafe_b64encode(f"{_CURSOR}{key}".encode()).decode().rstrip("=")


def _decoded(token: str | None) -> str | None:
    if token is None:
        return None
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    except ValueError:
        text = ""
    if not text.startswith(_CURSOR):
        raise bad_request("Skip token is invalid.")
    return text.removeprefix(_CURSOR)
