"""How the control plane speaks: its headers, error bodies and lists, and answers checked at the edge.

The facts come from Rafay's published clients; where none of them shows a fact, it is said so here.
"""

import json
import ssl
from collections.abc import Callable, Mapping, Set
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator

from clients.errors import AlreadyExists, ClientError, Denied, InUse, NotFound, Rejected, Unintelligible
from clients.http import Answer, HttpSystem

#: Entries asked for at once. Rafay's own scripts ask for 100 to 1000; a narrowed list fits into one page.
PAGE_SIZE = 100
#: Longest list that is read, in pages: far beyond any organisation, and an end for a list without one.
MAX_PAGES = 500
#: How often a list is read anew because its length changed between two of its pages.
LIST_ATTEMPTS = 3

# The texts by which Rafay's own tools tell errors apart, because statuses do not; all in lower case.
_DENIED = ("no or invalid credentials", "method or route not allowed", "do not have enough privileges")
_MISSING = ("not found", "does not exist", "no rows in result set")
_DUPLICATE = ("already taken", "already assigned", "already exist", "duplicate key")
#: What a Go server says of a path that it does not serve: nothing is known of the thing asked for.
_NO_SUCH_PATH = "page not found"
#: Statuses whose text is the control plane's own. Those of gateways and of throttling speak for themselves.
_TELLING_STATUSES = frozenset({400, 404, 409, 422, 500})
#: Statuses of a gateway or proxy that mean the same with a page of HTML as without.
_SAME_IN_HTML = frozenset({401, 403, 407, 408, 429})

_Shape = TypeVar("_Shape")


class WireModel(BaseModel):
    """One shape on the wire. Fields that we do not know are ignored; errors never quote the input."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, frozen=True)


class RafayTransport(HttpSystem):
    """`HttpSystem` that authenticates with an API key, and knows Rafay's errors and lists.

    Both header styles are always sent: v1 and v2 read one, v3 the other, and neither minds the second.
    """

    def __init__(
        self,
        system: str,
        base_url: str,
        api_key: str,
        *,
        timeout: timedelta,
        verify: ssl.SSLContext | bool,
        reread: Callable[[], str] | None = None,
    ) -> None:
        if not _is_key(api_key):
            raise ValueError("the API key is empty, or holds characters that no API key has")
        secrets: set[str] = set()

        def headers(key: str) -> dict[str, str]:
            # The secret is the last of the dotted parts of a key such as "ra2.<key id>.<secret>".
            secrets.update({key, key.rpartition(".")[2]} - {""})
            return {"X-RAFAY-API-KEYID": key, "X-API-KEY": key, "Accept": "application/json"}

        def renewed() -> dict[str, str]:
            key = reread() if reread else ""
            return headers(key) if _is_key(key) else {}

        super().__init__(
            system,
            base_url,
            headers=headers(api_key),
            timeout=timeout,
            explain=_without(secrets),
            classify=classify,
            verify=verify,
            renewed=renewed,
        )

    async def create(self, path: str, operation: str, body: Any, shape: type[_Shape]) -> _Shape:
        """POST `body` and return the answer as `shape`."""
        answer = await self.call_json("POST", path, operation, body=body)
        return self.parse(shape, answer, operation, ambiguous=True)

    async def get(self, path: str, operation: str, shape: type[_Shape]) -> _Shape:
        """GET `path` and return the answer as `shape`."""
        return self.parse(shape, await self.call_json("GET", path, operation), operation)

    async def delete(self, path: str, operation: str, query: dict[str, str | int] | None = None) -> None:
        """DELETE `path`. NotFound if it is gone already.

        A refusal is InUse, whatever its words: the words are not published, and an undo comes again anyway.
        """
        try:
            await self.call("DELETE", path, operation, query=query)
        except (Rejected, AlreadyExists) as refusal:
            raise InUse(self.system, operation, refusal.detail) from refusal

    async def entries(
        self,
        path: str,
        operation: str,
        shape: type[_Shape],
        *,
        q: str = "",
        query: Mapping[str, str] | None = None,
        paging: str = "",
    ) -> list[_Shape]:
        """All entries of the list at `path`, to its end. `q` narrows it down; it is no exact match.

        `query` is added to what is asked, and `paging` is put before the names of limit and offset.

        A list whose length changes between its pages is read anew: an entry may have slipped from one to
        the other unseen. Unintelligible if it keeps changing or has no end.
        """
        for _ in range(LIST_ATTEMPTS):
            pages = await self._pages(path, operation, {**(query or {}), **({"q": q} if q else {})}, paging)
            if len({page.count for page in pages}) == 1:
                found = [raw for page in pages for raw in page.found]
                return self.parse(list[shape], found, operation)  # type: ignore[valid-type]
        raise Unintelligible(self.system, operation, "the list kept changing while it was read")

    async def first(self, path: str, operation: str, shape: type[_Shape]) -> _Shape | None:
        """The first entry of the list at `path`, whichever that is; None if it is empty."""
        page = await self._page(path, operation, {"limit": 1, "offset": 0})
        return self.parse(shape, page.found[0], operation) if page.found else None

    async def _page(self, path: str, operation: str, query: dict[str, str | int]) -> "_Page":
        return self.parse(_Page, await self.call_json("GET", path, operation, query=query), operation)

    async def _pages(
        self, path: str, operation: str, narrowed: Mapping[str, str], paging: str
    ) -> list["_Page"]:
        pages: list[_Page] = []
        offset = 0
        while len(pages) < MAX_PAGES:
            window = {f"{paging}limit": PAGE_SIZE, f"{paging}offset": offset}
            page = await self._page(path, operation, {**narrowed, **window})
            if pages and page.found and page.found == pages[-1].found:
                raise Unintelligible(self.system, operation, "the list gives the same page again and again")
            pages.append(page)
            offset += len(page.found)
            if not page.found or (page.count is not None and offset >= page.count):
                return pages
        raise Unintelligible(self.system, operation, f"the list does not end after {MAX_PAGES} pages")

    def parse(self, shape: type[_Shape], answer: Any, operation: str, *, ambiguous: bool = False) -> _Shape:
        """`answer` as `shape`, or Unintelligible with the names of the fields that are wrong."""
        try:
            return _adapter(shape).validate_python(answer)
        except ValidationError as error:
            wrong = {".".join(map(str, e["loc"])) or "the whole answer" for e in error.errors()}
        # Raised outside of the handler: the validation error would carry the answer along.
        detail = f"the answer is not of the agreed form: {', '.join(sorted(wrong)[:5])}"
        raise Unintelligible(self.system, operation, detail, ambiguous=ambiguous)


#: Building one costs more than the validation of an answer, and there are few shapes.
_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def _adapter(shape: type[_Shape]) -> TypeAdapter[_Shape]:
    if shape not in _ADAPTERS:
        _ADAPTERS[shape] = TypeAdapter(shape)
    return _ADAPTERS[shape]


class _Page(WireModel):
    """One page of a list under any of its names: `results` (v1), `users` (v1 users), `items` (v2, v3)."""

    found: list[Any]
    count: int | None

    @model_validator(mode="before")
    @classmethod
    def _any_name(cls, answer: Any) -> Any:
        if isinstance(answer, list):
            return {"found": answer, "count": len(answer)}
        if not isinstance(answer, dict):
            return answer
        name = next((name for name in ("results", "items", "users") if name in answer), "results")
        metadata = answer.get("metadata")
        count = answer.get("count", metadata.get("count") if isinstance(metadata, dict) else None)
        # A Go server writes an empty list as null, but a missing one is no list.
        found = [] if name in answer and answer[name] is None else answer.get(name)
        return {"found": found, "count": count}


def filled(template: str, **parts: str) -> str:
    """The path `template` with its `{parts}` filled in, each quoted so that it stays one part.

    Raises ValueError for a part that would make it the path of something else: "", "." or "..".
    """
    for name, part in parts.items():
        if part in ("", ".", ".."):
            raise ValueError(f"{name} {part!r} cannot be part of {template}")
    return template.format(**{name: quote(part, safe="") for name, part in parts.items()})


def explain(answer: Answer) -> str:
    """The human words in an error's body, whichever of Rafay's shapes it has."""
    text = answer.body.decode(errors="replace").strip()
    if _is_html(answer):
        return "a page of HTML"
    try:
        body = json.loads(text)
    except ValueError:
        return text
    return "; ".join(_words(body)) or text


def classify(answer: Answer, detail: str) -> type[ClientError] | None:
    """The error class that the text of an answer gives away where its status does not; else None."""
    if _is_html(answer):
        # From a proxy, which knows nothing of the thing: its 404 must not be read as "gone".
        return Unintelligible if answer.status < 500 and answer.status not in _SAME_IN_HTML else None
    if answer.status not in _TELLING_STATUSES:
        return None
    text = detail.lower()
    if _NO_SUCH_PATH in text:
        return Unintelligible
    for markers, kind in ((_DENIED, Denied), (_MISSING, NotFound), (_DUPLICATE, AlreadyExists)):
        if any(marker in text for marker in markers):
            return kind
    return None


def _words(body: Any) -> list[str]:
    match body:
        case str():
            return [body]
        case list():
            return [word for part in body for word in _words(part)]
        case dict():
            known = ("details", "error_code", "detail", "info", "error", "external", "internal")
            fields = (body.get(name) for name in (*known, "message", "reason"))
            return list(dict.fromkeys(word for field in fields if field for word in _words(field)))
    return []


def _is_html(answer: Answer) -> bool:
    return answer.body.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html"))


def _is_key(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def _without(secrets: Set[str]) -> Callable[[Answer], str]:
    """`explain`, with what is secret of the API keys struck out should the control plane quote it back."""

    def explain_without(answer: Answer) -> str:
        text = explain(answer)
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, "…")
        return text

    return explain_without
