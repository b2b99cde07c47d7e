"""Names, duplicates, look-ups and pages: the common rules of the stand-in's collections."""

import re
import sqlite3
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from embedded.rafay.database import Database
from embedded.rafay.error_responses import Reason, Refusal
from embedded.rafay.requests import number, query

#: Names of projects, groups and clusters: the strictest rule that Rafay's documents suggest.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
#: Entries of a page without a `limit`.
DEFAULT_LIMIT = 25


def check_name(kind: str, name: str) -> None:
    """Check a name.

    Raises:
        Refusal: it is malformed.
    """
    if not _NAME.fullmatch(name):
        raise Refusal(Reason.INVALID, f"invalid {kind} name: lower-case letters, digits and -, at most 63")


def insert(database: Database, kind: str, name: str, sql: str, *values: Any) -> None:
    """Insert one row.

    Raises:
        Refusal: it is a duplicate.
    """
    try:
        database.run(sql, *values)
    except sqlite3.IntegrityError as error:
        raise Refusal(Reason.DUPLICATE, f"{kind} with name {name} already exists") from error


def existing(database: Database, table: str, id: str) -> sqlite3.Row:
    """Return the row with this id.

    Raises:
        Refusal: it is missing.
    """
    row: sqlite3.Row | None = database.one(f"SELECT * FROM {table} WHERE id = ?", id)  # noqa: S608 - our names
    if row is None:
        raise Refusal(Reason.MISSING, f"{table.removesuffix('s')} {id} not found")
    return row


def window(request: Request, page_limit: int) -> tuple[int, int]:
    """Return the `limit` and `offset` of the request, within bounds."""
    return min(number(request, "limit", DEFAULT_LIMIT), page_limit), number(request, "offset", 0)


def page(
    database: Database,
    page_limit: int,
    request: Request,
    table: str,
    to_json: Callable[[sqlite3.Row], dict[str, Any]],
    *,
    name_column: str = "name",
    key: str = "results",
    where: str = "1 = 1",
    values: tuple[Any, ...] = (),
) -> Response:
    """Return one page of a v1 list, oldest first. `q` and `name` are substrings of the name, as at Rafay."""
    limit, offset = window(request, page_limit)
    wanted = (
        f"FROM {table} WHERE {where} AND instr(lower({name_column}), ?) AND instr(lower({name_column}), ?)"
    )
    values = (*values, query(request, "q").lower(), query(request, "name").lower())
    count = database.count(f"SELECT count(*) {wanted}", *values)
    rows = database.all(f"SELECT * {wanted} ORDER BY rowid LIMIT ? OFFSET ?", *values, limit, offset)
    following = urlencode({"limit": limit, "offset": offset + limit, "q": query(request, "q")})
    return JSONResponse(
        {
            "count": count,
            "next": f"?{following}" if offset + limit < count else None,
            "previous": None,
            key: [to_json(row) for row in rows],
        }
    )
