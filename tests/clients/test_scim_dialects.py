"""People and members in directories as products have them: found in any case, once, and no others."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clients.errors import MalformedAnswer, NotFound, Rejected
from clients.identity.protocol import Group
from clients.identity.scim import Scim
from tests.support.scim_dialects import USABLE, Aws, Dialect, PlainMembers, error, serving
from tests.support.stand_ins import TLS

ALL_KINDS = pytest.mark.parametrize("kind", USABLE)


@asynccontextmanager
async def client_of(dialect: Dialect) -> AsyncIterator[Scim]:
    async with serving(dialect) as url:
        scim = Scim(url, "t", timeout=timedelta(seconds=10), verify=TLS)
        try:
            yield scim
        finally:
            await scim.close()


@ALL_KINDS
async def test_people_are_found_by_their_address_in_any_case(kind: Callable[[], Dialect]) -> None:
    dialect = kind()
    dialect.add_user("alice@example.com", "alice@example.com")
    dialect.add_user("Bob.Smith@example.com", "bob.smith@example.com")
    dialect.add_user("carol", "Carol@Example.COM", "carol@home.example.com")
    dialect.add_user("straße@example.com", "straße@example.com")
    dialect.add_user("\N{KELVIN SIGN}elly@example.com")
    asked = {
        "alice@example.com": "u1",
        "ALICE@example.com": "u1",
        "bob.smith@example.com": "u2",
        "carol@example.com": "u3",
        # Other letters may belong to another person, however close they are.
        "strasse@example.com": None,
        "kelly@example.com": None,
        "missing@example.com": None,
    }
    async with client_of(dialect) as scim:
        found = {email: await scim.find_user(email) for email in asked}
    if kind is Aws:
        asked["carol@example.com"] = found["carol@example.com"] and "u3"  # type: ignore[assignment]
    assert {email: user and user.id for email, user in found.items()} == asked


@ALL_KINDS
async def test_address_of_two_people_is_refused(kind: Callable[[], Dialect]) -> None:
    dialect = kind()
    dialect.add_user("a", "shared@example.com")
    dialect.add_user("b", "Shared@example.com", "shared@example.com")
    async with client_of(dialect) as scim:
        with pytest.raises(Rejected, match="2 people have this address"):
            await scim.find_user("shared@example.com")


@pytest.mark.parametrize("kind", [kind for kind in USABLE if kind not in (Aws, PlainMembers)])
async def test_members_are_all_read_and_each_goes(kind: Callable[[], Dialect]) -> None:
    dialect = kind()
    group = dialect.add_group("moor-demo", "mark")
    async with client_of(dialect) as scim:
        assert await scim.members(group) == []
        await scim.add_members(group, ["u1", "u/2", "u3"])
        assert await scim.members(group) == ["u1", "u/2", "u3"]
        await scim.remove_member(group, "u/2")
        await scim.remove_member(group, "u9")
        assert await scim.members(group) == ["u1", "u3"]
        with pytest.raises(NotFound):
            await scim.members("none")


@ALL_KINDS
async def test_list_is_read_to_its_end_or_refused(kind: Callable[[], Dialect]) -> None:
    """Ensures that the last group of any list is found, however the directory pages and counts."""
    dialect = kind()
    async with client_of(dialect) as scim:
        for size in (0, 1, 2, 3, 4, 7, 100, 101):
            while len(dialect.groups) < size:
                dialect.add_group("same", f"mark-{len(dialect.groups)}")
            try:
                found = await scim.groups_by_name("same")
            except MalformedAnswer:
                assert size >= 50, "it is small enough for any of them"
            else:
                assert [group.external_id for group in found] == [f"mark-{n}" for n in range(size)]


class Scripted(Dialect):
    """One answer to everything."""

    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.answer = answer

    async def __call__(self, request: Request) -> Response:
        """Give the answer."""
        await request.body()
        return self.answer


async def test_id_in_a_location_is_that_of_the_list() -> None:
    created = Response(
        status_code=201, headers={"Location": "https://idp.example.com/scim/Groups/a%2Fb%20c/?v=1"}
    )
    async with client_of(Scripted(created)) as scim:
        assert await scim.create_group("n", "m") == Group("a/b c", "n", "m")


@pytest.mark.parametrize(
    "answer",
    [
        JSONResponse({"id": "", "displayName": "x"}, status_code=201),
        JSONResponse({"id": "..", "displayName": "x"}, status_code=201),
        JSONResponse([], status_code=201),
        Response("null", status_code=201),
        Response("", status_code=201),
    ],
)
async def test_create_without_an_id_is_in_doubt(answer: Response) -> None:
    async with client_of(Scripted(answer)) as scim:
        with pytest.raises(MalformedAnswer) as failed:
            await scim.create_group("n", "m")
    assert failed.value.ambiguous


@pytest.mark.parametrize(
    ("members", "ids"),
    [
        (
            [
                {"value": "a"},
                {"VALUE": "b"},
                {"$ref": "https://x/scim/Users/c%2Fd"},
                {"value": "a", "$ref": "y"},
            ],
            "a b c/d",
        ),
        (
            [{"value": None, "$ref": "Users/e"}, {"value": "", "$Ref": "/Users/f/"}, "g", {"value": 7}],
            "e f g 7",
        ),
        ({"value": "a"}, "a"),
        ("a", "a"),
        ([], ""),
        (None, ""),
    ],
)
async def test_member_is_known_by_value_or_reference(members: object, ids: str) -> None:
    async with client_of(Scripted(JSONResponse({"id": "g", "DISPLAYNAME": "n", "Members": members}))) as scim:
        assert await scim.members("g") == ids.split()


@pytest.mark.parametrize("members", [[{"display": "a"}], [{"value": ""}], [7], [{"$ref": ""}], [{"$ref": 7}]])
async def test_member_without_an_id_is_unintelligible(members: object) -> None:
    async with client_of(Scripted(JSONResponse({"id": "g", "displayName": "n", "members": members}))) as scim:
        with pytest.raises(MalformedAnswer):
            await scim.members("g")


@pytest.mark.parametrize("method", ["members", "delete_group"])
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error(404), NotFound),
        (Response(status_code=404), NotFound),
        (error(410), NotFound),
        (Response("\n<!DOCTYPE html><title>404</title>", status_code=404), MalformedAnswer),
        (Response("<html>gone</html>", status_code=410), MalformedAnswer),
    ],
)
async def test_page_of_a_proxy_does_not_say_that_a_group_is_gone(
    method: str, answer: Response, kind: type[Exception]
) -> None:
    async with client_of(Scripted(answer)) as scim:
        with pytest.raises(kind):
            await getattr(scim, method)("g")


@pytest.mark.parametrize("body", [{}, {"message": "ok"}, [], None, {"totalResults": 1, "totalresults": 0}])
async def test_check_wants_a_list(body: object) -> None:
    async with client_of(Scripted(JSONResponse(body))) as scim:
        with pytest.raises(MalformedAnswer):
            await scim.check()
