"""Links from one page of a list to the next."""

import httpx
import pytest

from clients.errors import MalformedAnswer
from clients.identity.pagination import MAX_PAGES, next_link, pages, path_below

BASE = "https://acme.okta.com/api/v1"


@pytest.mark.parametrize(
    ("headers", "link"),
    [
        # Okta sends one header for each relation.
        ([f'<{BASE}/groups?limit=2>; rel="self"', f'<{BASE}/groups?after=00g1,x&limit=2>; rel="next"'],
         f"{BASE}/groups?after=00g1,x&limit=2"),
        ([f'<{BASE}/groups?a=1>; rel="self", <{BASE}/groups?a=2>; rel="next"'], f"{BASE}/groups?a=2"),
        ([f'<{BASE}/groups?a=2>; title="x"; rel=next'], f"{BASE}/groups?a=2"),
        ([f'<{BASE}/groups>; rel="self"'], None),
        ([f'<{BASE}/groups>; rel="nextish"'], None),
        (["garbage; rel=next", "<"], None),
        ([], None),
    ],
)  # fmt: skip
def test_link_to_the_next_page_is_found(headers: list[str], link: str | None) -> None:
    assert next_link(httpx.Headers([("Link", value) for value in headers])) == link


@pytest.mark.parametrize(
    ("link", "path"),
    [
        (f"{BASE}/groups?after=x", "/groups?after=x"),
        (f"{BASE}/groups", "/groups"),
        ("/api/v1/groups?after=x", "/groups?after=x"),
        # Another host never gets the credential: the path counts alone.
        ("https://evil.example/api/v1/groups?after=x", "/groups?after=x"),
        ("https://acme.okta.com/api/v10/groups", None),
        ("https://acme.okta.com/oauth2/v1/token", None),
        ("not a link", None),
    ],
)
def test_next_page_is_below_the_base_url(link: str, path: str | None) -> None:
    assert path_below(BASE, link) == path


async def read_all(links: dict[str | None, str | None]) -> list[str | None]:
    async def page(path: str | None) -> tuple[str | None, str | None]:
        return path, links[path]

    read = pages(page, base_url=BASE, system="Okta", operation="read groups")
    return [each async for each in read]


async def test_pages_are_read_to_the_last() -> None:
    links = {None: f"{BASE}/groups?after=1", "/groups?after=1": f"{BASE}/groups?after=2"}
    assert await read_all({**links, "/groups?after=2": None}) == [None, "/groups?after=1", "/groups?after=2"]


@pytest.mark.parametrize("link", [f"{BASE}/groups?after=1", "https://acme.okta.com/"])
async def test_link_in_circles_or_elsewhere_is_malformed(link: str) -> None:
    with pytest.raises(MalformedAnswer, match="leads elsewhere"):
        await read_all({None: f"{BASE}/groups?after=1", "/groups?after=1": link})


async def test_list_without_end_is_malformed() -> None:
    class Endless(dict[str | None, str | None]):
        def __missing__(self, path: str | None) -> str:
            return f"{BASE}/groups?after={len(path or '')}x{path or ''}"

    with pytest.raises(MalformedAnswer, match=f"more than {MAX_PAGES} pages"):
        await read_all(Endless())
