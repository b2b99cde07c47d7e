"""The SCIM client against directories that behave as the standard allows, or as products do all the same.

The embedded directory is strict and cannot be met so: here an application of a few lines answers.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clients.errors import ClientError, Denied, MalformedAnswer, NotFound, Rejected, ServerFailed
from clients.identity import scim_lists
from clients.identity.protocol import Group, User
from clients.identity.scim import Scim
from embedded.asgi_server import listening_socket
from tests.support.deadline import HANG

Answer = Callable[[Request], Response]


@asynccontextmanager
async def directory(answer: Answer) -> AsyncIterator[Scim]:
    """A client of a server that gives this answer to everything."""

    async def endpoint(request: Request) -> Response:
        await request.body()
        return answer(request)

    methods = ["GET", "POST", "PATCH", "DELETE"]
    app = Starlette(routes=[Route("/{path:path}", endpoint, methods=methods)])
    sock = listening_socket()
    server = uvicorn.Server(uvicorn.Config(app, log_level=logging.CRITICAL, lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    scim = Scim(f"http://127.0.0.1:{sock.getsockname()[1]}/scim", "t", timeout=timedelta(seconds=HANG))
    try:
        yield scim
    finally:
        await scim.close()
        server.should_exit = True
        await serving
        sock.close()


def page(*resources: dict[str, Any], total: int | None = None) -> Response:
    return JSONResponse({"totalResults": len(resources) if total is None else total, "Resources": resources})


def error(status: int, **more: str) -> Response:
    return JSONResponse({"status": str(status), **more}, status_code=status)


def group(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"id-{number}", "displayName": f"moor-{number}", "externalId": f"mark-{number}", **more}


async def test_one_that_ignores_the_filter_is_not_believed() -> None:
    everything = [group(1), group(2, displayName="Moor-1"), group(3, externalId=None)]
    async with directory(lambda _: page(*everything)) as scim:
        assert await scim.groups_by_name("moor-1") == [Group("id-1", "moor-1", "mark-1")]
        assert await scim.groups_by_external_id("mark-2") == [Group("id-2", "Moor-1", "mark-2")]
        assert await scim.groups_by_external_id("mark-9") == []


async def test_one_that_cannot_filter_by_external_id_is_read_through() -> None:
    def answer(request: Request) -> Response:
        if "filter" in request.query_params:
            return error(400, scimType="invalidFilter", detail="externalId is not filterable")
        return page(group(1), group(2))

    async with directory(answer) as scim:
        assert await scim.groups_by_external_id("mark-2") == [Group("id-2", "moor-2", "mark-2")]


async def test_one_of_small_pages_is_read_to_the_end() -> None:
    def answer(request: Request) -> Response:
        start = int(request.query_params["startIndex"])
        return page(*(group(n, externalId="m") for n in range(start, min(start + 2, 8))), total=7)

    async with directory(answer) as scim:
        found = await scim.groups_by_external_id("m")
    assert [each.id for each in found] == [f"id-{number}" for number in range(1, 8)]


async def test_one_that_counts_more_than_it_shows_does_not_hold_us_for_ever() -> None:
    def answer(request: Request) -> Response:
        return page(*([group(1)] if request.query_params["startIndex"] == "1" else []), total=99)

    async with directory(answer) as scim:
        with pytest.raises(MalformedAnswer, match="counts 99 entries and has 1"):
            await scim.groups_by_name("moor-1")


async def test_one_whose_list_has_no_end_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scim_lists, "MAX_PAGES", 5)
    asked = []

    def answer(request: Request) -> Response:
        asked.append(request)
        return page(group(len(asked)), total=10**9)

    async with directory(answer) as scim:
        with pytest.raises(MalformedAnswer, match="does not end after 5 pages"):
            await scim.groups_by_name("moor-1")
    assert len(asked) == 5


async def test_one_that_creates_without_a_body_gives_the_id_in_the_location() -> None:
    location = {"Location": "https://idp.example.com/scim/Groups/id-7"}
    async with directory(lambda _: Response(status_code=201, headers=location)) as scim:
        assert await scim.create_group("moor-7", "mark-7") == Group("id-7", "moor-7", "mark-7")


@pytest.mark.parametrize("status", [200, 204])
async def test_one_may_answer_a_patch_with_or_without_a_body(status: int) -> None:
    def answer(_: Request) -> Response:
        return JSONResponse(group(1)) if status == 200 else Response(status_code=204)

    async with directory(answer) as scim:
        await scim.add_members("id-1", ["a"])
        await scim.remove_member("id-1", "a")


@pytest.mark.parametrize("refusal", [error(400, scimType="noTarget"), error(404)])
async def test_one_that_refuses_to_remove_who_is_not_there_is_right(refusal: Response) -> None:
    def answer(request: Request) -> Response:
        return JSONResponse(group(1, members=[{"value": "b"}])) if request.method == "GET" else refusal

    async with directory(answer) as scim:
        await scim.remove_member("id-1", "a")
        with pytest.raises((Rejected, NotFound)):
            await scim.remove_member("id-1", "b")


async def test_one_that_looks_for_user_names_only_has_said_that_there_is_none() -> None:
    def answer(request: Request) -> Response:
        if request.query_params["filter"].startswith("emails"):
            return error(400, scimType="invalidFilter")
        return page()

    async with directory(answer) as scim:
        assert await scim.find_user("alice@example.com") is None


async def test_values_are_quoted_in_filters() -> None:
    asked: list[str] = []

    def answer(request: Request) -> Response:
        asked.append(request.query_params["filter"])
        return page()

    async with directory(answer) as scim:
        await scim.groups_by_name('a" or displayName pr or "\\')
    assert asked == [r'displayName eq "a\" or displayName pr or \"\\"']


async def test_unknown_fields_and_a_primary_address_are_no_problem() -> None:
    person = {
        "id": 17,
        "userName": "alice",
        "emails": [
            {"value": "alice@home.example.com", "type": "home", "odd": [1]},
            {"value": "alice@example.com", "primary": True},
            {"type": "none"},
        ],
        "urn:example:extension": {"badge": {"number": 4}},
        "groups": None,
    }
    async with directory(lambda _: page(person)) as scim:
        assert await scim.find_user("ALICE") == User("17", "alice", "alice@example.com")


@pytest.mark.parametrize(
    "body", [[], "text", {"Resources": {}}, {"Resources": [{"id": "only"}]}, {"totalResults": "many"}]
)
async def test_answers_of_another_shape_are_unintelligible(body: Any) -> None:
    async with directory(lambda _: JSONResponse(body)) as scim:
        with pytest.raises(MalformedAnswer) as failed:
            await scim.groups_by_name("moor-1")
        assert not failed.value.ambiguous
        with pytest.raises(MalformedAnswer) as failed:
            await scim.create_group("moor-1", "mark-1")
        assert failed.value.ambiguous, "the group may have been made"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, Rejected), (403, Denied), (412, Rejected), (413, Rejected), (501, Rejected), (503, ServerFailed)],
)
async def test_errors_keep_the_words_of_the_directory(status: int, kind: type[ClientError]) -> None:
    async with directory(lambda _: error(status, scimType="odd", detail="the words")) as scim:
        with pytest.raises(kind, match=f"SCIM directory: create group a: {status} odd the words") as failed:
            await scim.create_group("a", "b")
    assert type(failed.value) is kind
