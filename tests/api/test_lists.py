"""Lists: filters, pages, and values that people wrote, which stay values."""

import asyncio
import time
from typing import Any

import pytest

from contracts.temporal.search_attributes import quoted
from starter.auth.policy import Principal
from starter.environments.lists.listing import Filters, visibility_query
from tests.api.caller import MAX_WAIT, Caller, fields_of, problem
from tests.support.stack import CAROL, unique


async def names(caller: Caller, **query: Any) -> list[str]:
    """The names on all pages of a list."""
    found: list[str] = []
    cursor = None
    while True:
        page: dict[str, Any] = {"limit": 200, **query} | ({"cursor": cursor} if cursor else {})
        answer = await caller.http.get("/environments", params=page)
        assert answer.status_code == 200, answer.text
        found += [row["name"] for row in answer.json()["environments"]]
        cursor = answer.json()["next"]
        if not cursor:
            return found


async def until_listed(caller: Caller, wanted: set[str], **query: Any) -> None:
    """Visibility lags behind: wait until the list has them."""
    deadline = time.monotonic() + MAX_WAIT
    while not wanted <= set(await names(caller, **query)):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_filters_and_pages(carol: Caller) -> None:
    """Ensures that each filter narrows, that pages put together are the list, and that the past is apart."""
    *made, last = await asyncio.gather(
        *(carol.ready(unique("page")) for _ in range(3)), carol.ready(unique("page"), template="throwaway")
    )
    small, other = [view.name for view in made], last.name
    mine = {"owner": CAROL.email.upper()}
    await until_listed(carol, {*small, other}, **mine, phase="ready")
    assert other not in await names(carol, template="small", **mine)
    assert set(small) <= set(await names(carol, template="small", team="blue", **mine))
    assert await names(carol, team="green") == []
    assert not {*small, other} & set(await names(carol, phase="provisioning", **mine))
    one_by_one = await names(carol, limit=1, **mine)
    assert len(one_by_one) == len(set(one_by_one))
    assert set(one_by_one) == set(await names(carol, **mine))
    await carol.gone(other)
    await until_listed(carol, {other}, ended=True, **mine)
    deadline = time.monotonic() + MAX_WAIT
    while other in await names(carol, **mine):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    listed = await carol.http.get("/environments", params={"ended": True, "limit": 200, **mine})
    [row] = [row for row in listed.json()["environments"] if row["name"] == other]
    assert (row["outcome"], row["ended"]) == ("deleted", True)
    assert row["run_id"] == (await carol.show(other)).run_id != ""
    await asyncio.gather(*(carol.gone(name) for name in small))


@pytest.mark.parametrize(
    "value",
    [
        "o'neil",
        "a\\",
        "\\' OR 1=1",
        "' OR ''='",
        '"',
        "`",
        "%",
        "_",
        "é",
        ";",
        "--",
        "x' OR EnvTeam > '",
    ],
)
async def test_values_that_people_wrote(dave: Caller, value: str) -> None:
    """Ensures that the text of a filter is a value and never a part of the query."""
    for field in ("owner", "team", "template"):
        answer = await dave.http.get("/environments", params={field: value})
        assert (answer.status_code, answer.json()["environments"]) == (200, [])


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"phase": "sleeping"}, "phase"),
        ({"limit": "0"}, "limit"),
        ({"limit": "9999"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "é"}, "cursor"),
        ({"ended": "perhaps"}, "ended"),
        ({"owner": "x" * 300}, "owner"),
        ({"owner": "a\nb"}, "owner"),
        ({"team": "a\x00b"}, "team"),
        ({"template": "a\x7fb"}, "template"),
    ],
)
async def test_bad_queries(dave: Caller, query: dict[str, str], field: str) -> None:
    """Ensures that a bad filter or cursor is rejected with its name."""
    assert field in fields_of(problem(await dave.http.get("/environments", params=query), 422))


def test_the_query_of_a_developer() -> None:
    """Ensures that the query itself leaves out what the caller may not see, whatever the filters."""
    eve = Principal(person="Eve", email="e'@x.com", teams=("a", "b'c"))
    query = visibility_query(eve, Filters(owner="someone", ended=True))
    assert "(EnvOwner = 'e''@x.com' OR EnvCollaborators = 'e''@x.com' OR EnvTeam IN ('a', 'b''c'))" in query
    assert "EnvOwner = 'someone'" in query
    assert quoted("\\'") == "'\\\\'''"


async def test_templates(alice: Caller, bob: Caller) -> None:
    """Ensures that templates are listed and shown, and an unknown one has a suggestion."""
    answer = await bob.http.get("/templates")
    assert [template["name"] for template in answer.json()["templates"]] == ["medium", "small", "throwaway"]
    one = await alice.http.get("/templates/small")
    assert (one.json()["name"], one.json()["ttl"]["maximum"]) == ("small", "P3D")
    assert 'did you mean "medium"' in problem(await bob.http.get("/templates/mediun"), 404)["detail"]


@pytest.mark.parametrize("field", ["owner", "team", "template"])
@pytest.mark.parametrize("sign", ["\x00", "\x1c", "\x7f"], ids=ascii)
async def test_signs_that_cannot_be_seen_are_refused(carol: Caller, field: str, sign: str) -> None:
    """Ensures that what Temporal takes into no query is the caller's mistake, and not an outage."""
    answer = await carol.http.get("/environments", params={field: f"some{sign}body"})
    assert "holds the character U+00" in fields_of(problem(answer, 422))[field]
