"""The control plane's wire format: headers, error bodies, lists, and validation of answers.

The facts come from Rafay's published clients; a comment marks each fact that none of them shows.
"""

import json
import ssl
from collections.abc import Callable, Mapping, Set
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator

from clients.errors import AlreadyExists, ClientError, Denied, InUse, MalformedAnswer, NotFound, Rejected
from clients.transport.http import Answer, HttpSystem

#: Entries per page. Rafay's own scripts request 100 to 1000; a filtered list fits into one page.
PAGE_SIZE = 100
#: Maximum number of pages of a list: far beyond any organisation, and a limit for an endless list.
MAX_PAGES = 500
#: Attempts to read a list whose length changed between two of its pages.
LIST_ATTEMPTS = 3

# The texts by which Rafay's own tools distinguish errors, because statuses do not; all in lower case.
_DENIED = ("no or invalid credentials", "method or route not allowed", "do not have enough privileges")
_MISSING = ("not found", "does not exist", "no rows in result set")
_DUPLICATE = ("already taken", "already assigned", "already exist", "duplicate key")
#: Message of a Go server for a path that it does not serve; it says nothing about the requested object.
_NO_SUCH_PATH = "page not found"
#: Statuses with a text of the control plane itself; those of gateways and of throttling need no text.
_STATUSES_WITH_TEXT = frozenset({400, 404, 409, 422, 500})
#: Statuses of a gateway or proxy that mean the same with and without a page of HTML.
_SAME_IN_HTML = frozenset({401, 403, 407, 408, 429})

_Shape = TypeVar("_Shape")


class WireModel(BaseModel):
    """A wire model: unknown fields are ignored, and errors never quote the input."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, frozen=True)


class IdentifiedModel(WireModel):
    """An entry of a list that has an id."""

    id: str


_Identified = TypeVar("_Identified", bound=IdentifiedModel)


class RafayTransport(HttpSystem):
    """An `HttpSystem` that authenticates with an API key, and handles Rafay's errors and lists.

    Both header styles are always sent: v1 and v2 read one, v3 reads the other, and none rejects the second.
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
            explain=_redact(secrets),
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
        """DELETE `path`.

        Raises:
            NotFound: the resource does not exist any more.
            InUse: the control plane refuses, with any text: the texts are not published, and the
                compensation retries anyway.
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
        """Return all entries of the list at `path`; `q` filters the list, but not exactly.

        `query` is added to the request, and `paging` is a prefix of the parameters for limit and offset.

        A list whose length changes between its pages is read again, because an entry may have moved from one
        page to another and be missing.

        Raises:
            MalformedAnswer: the list keeps changing or has no end.
        """
        for _ in range(LIST_ATTEMPTS):
            pages = await self._pages(path, operation, {**(query or {}), **({"q": q} if q else {})}, paging)
            if len({page.count for page in pages}) == 1:
                found = [raw for page in pages for raw in page.found]
                return self.parse(list[shape], found, operation)  # type: ignore[valid-type]
        raise MalformedAnswer(self.system, operation, "the list kept changing while it was read")

    async def whole_list(self, path: str, operation: str, shape: type[_Identified]) -> list[_Identified]:
        """Return all entries of the list at `path`, each once.

        An entry that is missing in the answer would be taken for one that does not exist. So the list must
        have as many entries as it counts.

        Raises:
            MalformedAnswer: the list contradicts itself, keeps changing or has no end.
        """
        counted = 0
        for _ in range(LIST_ATTEMPTS):
            pages = await self._pages(path, operation, {}, "")
            raw = [entry for page in pages for entry in page.found]
            entries: list[_Identified] = self.parse(list[shape], raw, operation)  # type: ignore[valid-type]
            found = {entry.id: entry for entry in entries}
            counted = max((page.count for page in pages if page.count is not None), default=len(raw))
            if len({page.count for page in pages}) == 1 and len(found) == len(raw) == counted:
                return list(found.values())
        detail = f"the list counts {counted} entries and has {len(found)}"
        raise MalformedAnswer(self.system, operation, detail)

    async def first(self, path: str, operation: str, shape: type[_Shape]) -> _Shape | None:
        """Return any one entry of the list at `path`; None if it is empty."""
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
                detail = "the list returns the same page again and again"
                raise MalformedAnswer(self.system, operation, detail)
            pages.append(page)
            offset += len(page.found)
            if not page.found or (page.count is not None and offset >= page.count):
                return pages
        raise MalformedAnswer(self.system, operation, f"the list does not end after {MAX_PAGES} pages")

    def parse(self, shape: type[_Shape], answer: Any, operation: str, *, ambiguous: bool = False) -> _Shape:
        """Parse `answer` as `shape`; raise MalformedAnswer with the names of invalid fields."""
        try:
            return _adapter(shape).validate_python(answer)
        except ValidationError as error:
            wrong = {".".join(map(str, e["loc"])) or "the whole answer" for e in error.errors()}
        # Raise outside of the handler, because the validation error would carry the answer along.
        detail = f"the answer is not of the agreed form: {', '.join(sorted(wrong)[:5])}"
        raise MalformedAnswer(self.system, operation, detail, ambiguous=ambiguous)


#: Cached, because building an adapter costs more than validating an answer, and there are few shapes.
_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def _adapter(shape: type[_Shape]) -> TypeAdapter[_Shape]:
    if shape not in _ADAPTERS:
        _ADAPTERS[shape] = TypeAdapter(shape)
    return _ADAPTERS[shape]


class _Page(WireModel):
    """One page of a list, under `results` (v1), `users` (v1 users) or `items` (v2, v3)."""

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
        # A Go server writes an empty list as null, but an answer without the key is not a list.
        found = [] if name in answer and answer[name] is None else answer.get(name)
        return {"found": found, "count": count}


def fill_path(template: str, **parts: str) -> str:
    """Fill the `{parts}` of a path `template`, each quoted so that it stays one part.

    Raises:
        ValueError: a part ("", "." or "..") would turn it into the path of another resource.
    """
    for name, part in parts.items():
        if part in ("", ".", ".."):
            raise ValueError(f"{name} {part!r} cannot be part of {template}")
    return template.format(**{name: quote(part, safe="") for name, part in parts.items()})


def explain(answer: Answer) -> str:
    """Return the message for people in an error body, in any of Rafay's formats."""
    text = answer.body.decode(errors="replace").strip()
    if _is_html(answer):
        return "a page of HTML"
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return "; ".join(_texts(body)) or text


def classify(answer: Answer, detail: str) -> type[ClientError] | None:
    """Return the error class by the text of an answer where its status is not enough; else None."""
    if _is_html(answer):
        # The page is from a proxy, which knows nothing of the resource: its 404 must not be read as
        # "deleted".
        return MalformedAnswer if answer.status < 500 and answer.status not in _SAME_IN_HTML else None
    if answer.status not in _STATUSES_WITH_TEXT:
        return None
    text = detail.lower()
    if _NO_SUCH_PATH in text:
        return MalformedAnswer
    for markers, kind in ((_DENIED, Denied), (_MISSING, NotFound), (_DUPLICATE, AlreadyExists)):
        if any(marker in text for marker in markers):
            return kind
    return None


def _texts(body: Any) -> list[str]:
    match body:
        case str():
            return [body]
        case list():
            return [word for part in body for word in _texts(part)]
        case dict():
            known = ("details", "error_code", "detail", "info", "error", "external", "internal")
            fields = (body.get(name) for name in (*known, "message", "reason"))
            return list(dict.fromkeys(word for field in fields if field for word in _texts(field)))
    return []


def _is_html(answer: Answer) -> bool:
    return answer.body.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html"))


def _is_key(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def _redact(secrets: Set[str]) -> Callable[[Answer], str]:
    """Return an `explain` that removes secrets of API keys, which an answer may quote."""

    def explain_without(answer: Answer) -> str:
        text = explain(answer)
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, "…")
        return text

    return explain_without
