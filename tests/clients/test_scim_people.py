"""The calls that a search for a person takes; what it finds is in `test_scim_dialects`."""

from collections.abc import Callable
from urllib.parse import unquote_plus

import pytest
from starlette.responses import JSONResponse, Response

from clients.identity.scim_people import SMALL_DIRECTORY
from tests.clients.test_scim_dialects import client_of
from tests.support.scim_dialects import CaseMinding, Dialect, Document, Keycloak, Snowflake, error

NAME, ADDRESS, UNKNOWN = "grace@login.example.com", "hopper@example.com", "missing@example.com"


class WithoutOr(Dialect):
    """Refuses to join conditions."""

    has_or = False


class FirstCondition(Dialect):
    """Reads the first condition of a filter only."""

    def conditions(self, text: str) -> list[tuple[str, str]]:
        return super().conditions(text)[:1]


class LastCondition(Dialect):
    """Reads the last condition of a filter only."""

    def conditions(self, text: str) -> list[tuple[str, str]]:
        return super().conditions(text)[-1:]


class EmptyForOr(Dialect):
    """Finds nothing by a filter of several conditions, and says so by 200."""

    has_or = False

    def refuse_filter(self, _name: str) -> Response:
        return JSONResponse({"totalResults": 0, "Resources": []})


class FailsAtOr(Dialect):
    """Answers 500 to a filter of several conditions."""

    has_or = False

    def refuse_filter(self, _name: str) -> Response:
        return error(500)


class WholeListForOr(Dialect):
    """Ignores a filter of several conditions."""

    def list_all(self, kind: str, everything: list[Document], query: Document) -> Response:
        if " or " in query.get("filter", ""):
            query = {name: value for name, value in query.items() if name != "filter"}
        return super().list_all(kind, everything, query)


def of_many_people(kind: Callable[[], Dialect]) -> Dialect:
    """A directory of so many people that they cannot be read for one search."""
    dialect = kind()
    dialect.add_user(NAME, ADDRESS)
    for number in range(SMALL_DIRECTORY):
        dialect.add_user(f"one-of-many-{number}", f"one-of-many-{number}@example.com")
    return dialect


def take(dialect: Dialect) -> list[str]:
    """The filters of the calls since the last time, "" for a list of all."""
    asked = [unquote_plus(call) for call in dialect.asked if "/Users" in call]
    dialect.asked.clear()
    return [call.partition("filter=")[2].partition("&")[0] for call in asked]


@pytest.mark.parametrize(
    ("kind", "of_unknown"), [(Dialect, 1), (Keycloak, 2), (CaseMinding, 2)], ids=lambda each: str(each)
)
async def test_search_takes_one_call_and_two_for_an_unknown_person(
    kind: Callable[[], Dialect], of_unknown: int
) -> None:
    """Ensures it once one person was found; where case matters, the second call is the number of people."""
    dialect = of_many_people(kind)
    async with client_of(dialect) as scim:
        assert await scim.find_user(NAME)
        take(dialect)
        for asked, calls in ((NAME, 1), (ADDRESS, 1), (UNKNOWN, of_unknown), (NAME.upper(), 1)):
            user = await scim.find_user(asked)
            assert (user is not None, len(take(dialect))) == (asked != UNKNOWN, calls), asked


@pytest.mark.parametrize(
    "kind",
    [WithoutOr, FirstCondition, LastCondition, EmptyForOr, FailsAtOr, WholeListForOr, Snowflake],
)
async def test_directory_whose_or_is_wrong_is_asked_for_it_once_and_finds_as_before(
    kind: Callable[[], Dialect],
) -> None:
    dialect = of_many_people(kind)
    async with client_of(dialect) as scim:
        assert await scim.find_user(NAME)
        assert [each for each in take(dialect) if " or " in each]
        by_address = await scim.find_user(ADDRESS)
        assert (by_address is not None) is ("emails.value" in dialect.filters)
        assert await scim.find_user(NAME.upper())
        assert await scim.find_user(UNKNOWN) is None
        assert not [each for each in take(dialect) if " or " in each]


async def test_user_name_comes_before_the_address_of_another_person() -> None:
    dialect = Dialect()
    dialect.add_user("another@example.com", ADDRESS)
    dialect.add_user(ADDRESS, "private@example.com")
    async with client_of(dialect) as scim:
        for _ in range(3):
            user = await scim.find_user(ADDRESS)
            assert user
            assert user.id == "u2"
    assert " or " in take(dialect)[-1]


async def test_refusal_of_one_long_filter_is_asked_in_parts() -> None:
    class ShortFilters(Dialect):
        is_strict = False

        def conditions(self, text: str) -> list[tuple[str, str]]:
            found = super().conditions(text)
            return [("unknown", "")] if self.is_strict and len(found) > 1 else found

    dialect = ShortFilters()
    dialect.add_user(NAME, ADDRESS)
    async with client_of(dialect) as scim:
        assert await scim.find_user(NAME)
        dialect.is_strict = True
        assert await scim.find_user(ADDRESS)
        assert await scim.find_user(UNKNOWN) is None


async def test_directory_that_is_busy_while_it_is_learned_is_learned_later() -> None:
    """Ensures that the person who was found is not lost by what is only asked to save calls."""

    class Busy(Dialect):
        is_busy = True

        def list_all(self, kind: str, everything: list[Document], query: Document) -> Response:
            if self.is_busy and " or " in query.get("filter", ""):
                return error(429)
            return super().list_all(kind, everything, query)

    dialect = Busy()
    dialect.add_user(NAME, ADDRESS)
    async with client_of(dialect) as scim:
        assert await scim.find_user(NAME)
        dialect.is_busy = False
        assert await scim.find_user(NAME)
        take(dialect)
        assert await scim.find_user(ADDRESS)
    assert len(take(dialect)) == 1


async def test_people_without_an_address_are_found_although_nothing_is_learned_from_them() -> None:
    dialect = Dialect()
    dialect.add_user(NAME)
    async with client_of(dialect) as scim:
        for _ in range(2):
            assert await scim.find_user(NAME)
    assert not [each for each in take(dialect) if " or " in each]
