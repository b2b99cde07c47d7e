"""Lists in pages that link to the next one: `Link` headers (RFC 8288) and `@odata.nextLink`."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from clients.errors import MalformedAnswer

#: Maximum number of pages of one list. The lists here match a handful of groups or one address; only a group
#: with more than 20,000 members has more pages.
MAX_PAGES = 100

_LINK = re.compile(r"<([^<>]*)>((?:\s*;\s*[^;,<>]+)*)")
_NEXT = re.compile(r";\s*rel\s*=\s*\"?next\"?\s*(;|$)", re.IGNORECASE)


def next_link(headers: Mapping[str, str]) -> str | None:
    """Return the address of the next page from the `Link` header; None after the last page."""
    return next((link[1] for link in _LINK.finditer(headers.get("Link", "")) if _NEXT.search(link[2])), None)


def path_below(base_url: str, link: str) -> str | None:
    """Return the path and query of a link below the base URL; None if it leads elsewhere.

    The link's host does not count, because only the base URL is trusted with the credential.
    """
    base, parts = urlsplit(base_url).path.rstrip("/"), urlsplit(link)
    if not parts.path.startswith(f"{base}/"):
        return None
    return f"{parts.path[len(base) :]}{'?' if parts.query else ''}{parts.query}"


async def pages(
    read: Callable[[str | None], Awaitable[tuple[Any, str | None]]],
    *,
    base_url: str,
    system: str,
    operation: str,
) -> AsyncIterator[Any]:
    """Yield each page of a list.

    `read` reads the page at a path, or the first one for None, and returns it with the link to the next one.

    Raises:
        MalformedAnswer: a link leads elsewhere or to a page that was read before, or the list has no end.
    """
    path: str | None = None
    seen: set[str] = set()
    for _ in range(MAX_PAGES):
        page, link = await read(path)
        yield page
        if link is None:
            return
        path = path_below(base_url, link)
        if path is None or path in seen:
            raise MalformedAnswer(system, operation, "the link to the next page leads elsewhere")
        seen.add(path)
    raise MalformedAnswer(system, operation, f"the list has more than {MAX_PAGES} pages")
