"""Checks all requests of a command at the API before the first of them is sent."""

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from starter.cli.bulk.environments_file import unusable
from starter.cli.bulk.requests import BulkRequest
from starter.cli.errors import CliError

if TYPE_CHECKING:
    from starter.cli.client.api import Api

#: Requests and bytes of one check. The API takes at most 100 and 64 KiB.
CHECKED_AT_ONCE, MAX_BYTES = 100, 48 * 1024


def check_requests(api: "Api", requests: Sequence[BulkRequest]) -> str:
    """Return a sentence if all are valid; raise CliError with every problem and its place."""
    lines: list[str] = []
    seen: set[tuple[int, str]] = set()
    message = ""
    for part in _parts(requests):
        body = {"environments": [request.body for request in part]}
        try:
            message = api.call("POST", "requests/check", body=body)["message"]
        except CliError as error:
            if not (errors := (error.problem or {}).get("errors")):
                raise
            lines += _lines(part, errors, seen)
    if lines:
        raise unusable(lines)
    return message if len(requests) <= CHECKED_AT_ONCE else f"All {len(requests)} requests are valid."


def _parts(requests: Sequence[BulkRequest]) -> Iterator[list[BulkRequest]]:
    part: list[BulkRequest] = []
    size = 0
    for request in requests:
        length = len(json.dumps(request.body)) + 1
        if part and (len(part) == CHECKED_AT_ONCE or size + length > MAX_BYTES):
            yield part
            part, size = [], 0
        part.append(request)
        size += length
    if part:
        yield part


def _lines(part: Sequence[BulkRequest], errors: Sequence[Any], seen: set[tuple[int, str]]) -> Iterator[str]:
    """Yield a line for each problem; one for what several requests of one place have in common."""
    for error in errors:
        _, _, rest = error["field"].partition(".")
        number, _, field = rest.partition(".")
        if not number.isdecimal() or int(number) >= len(part):
            yield f"{error['field']}: {error['message']}"
            continue
        request = part[int(number)]
        key = (id(request.place), f"{field}: {'' if field == 'name' else error['message']}")
        if key in seen:
            continue
        seen.add(key)
        where = request.place.describe(field) or (f"{request.name}: " if field == "name" else "")
        yield f"{where}{field}: {error['message']}" if field else f"{where}{error['message']}"
