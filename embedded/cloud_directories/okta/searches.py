"""The filters and searches of users and groups, with the properties and operators that Okta documents.

Sources: the parameters `search`, `filter` and `q` of "List all groups" and "List all users".
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from embedded.cloud_directories.filters import FilterError, Matches, Quotes, parse_filter
from embedded.cloud_directories.okta.responses import invalid_search

_ORDER = ("gt", "ge", "lt", "le")


@dataclass(frozen=True)
class Dialect:
    """What an expression may hold: operators by property. `profile.*` stands for every profile attribute."""

    operators: Mapping[str, Collection[str]]
    is_case_sensitive: bool

    def matches(self, text: str) -> Matches:
        """Return the test that the expression is; raise OktaError for one that is not supported."""
        try:
            return parse_filter(text, Quotes.OKTA, self._compare)
        except FilterError:
            raise invalid_search() from None

    def _compare(self, field: str, operator: str, value: Any) -> Matches:
        allowed = self.operators.get(field)
        if allowed is None and field.startswith("profile."):
            allowed = self.operators.get("profile.*")
        if allowed is None or operator not in allowed:
            raise FilterError(f"{field} {operator} is not supported")
        wanted, path = self._folded(value), field.split(".")

        def holds(document: Mapping[str, Any]) -> bool:
            found: Any = document
            for part in path:
                found = found.get(part)
            if isinstance(found, list):
                return any(_holds(self._folded(each), operator, wanted) for each in found)
            return found is not None and _holds(self._folded(found), operator, wanted)

        return holds

    def _folded(self, value: Any) -> Any:
        return value.casefold() if isinstance(value, str) and not self.is_case_sensitive else value


def _holds(given: Any, operator: str, wanted: Any) -> bool:
    match operator:
        case "pr":
            return True
        case "eq":
            return bool(given == wanted)
        case "sw":
            return str(given).startswith(str(wanted))
        case "co":
            return str(wanted) in str(given)
        case "gt":
            return str(given) > str(wanted)
        case "ge":
            return str(given) >= str(wanted)
        case "lt":
            return str(given) < str(wanted)
        case _:
            return str(given) <= str(wanted)


_PLAIN = ("eq", "sw", "pr", *_ORDER)
_WITH_CONTAINS = (*_PLAIN, "co")

GROUP_SEARCH = Dialect(
    {
        "profile.name": _WITH_CONTAINS,
        "profile.description": _WITH_CONTAINS,
        **dict.fromkeys(
            ("id", "created", "lastMembershipUpdated", "lastUpdated", "type", "profile.*"), _PLAIN
        ),
    },
    is_case_sensitive=False,
)
GROUP_FILTER = Dialect(
    {
        **dict.fromkeys(("id", "type"), ("eq",)),
        **dict.fromkeys(("lastUpdated", "lastMembershipUpdated"), ("eq", *_ORDER)),
    },
    is_case_sensitive=True,
)
USER_SEARCH = Dialect(
    {
        **dict.fromkeys(
            ("profile.firstName", "profile.lastName", "profile.email", "profile.login"), _WITH_CONTAINS
        ),
        **dict.fromkeys(
            ("id", "status", "created", "activated", "statusChanged", "lastUpdated", "profile.*"), _PLAIN
        ),
    },
    is_case_sensitive=False,
)
USER_FILTER = Dialect(
    {
        **dict.fromkeys(
            ("status", "id", "profile.login", "profile.email", "profile.firstName", "profile.lastName"),
            ("eq",),
        ),
        "lastUpdated": ("eq", *_ORDER),
    },
    is_case_sensitive=True,
)
