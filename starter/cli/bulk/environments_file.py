"""The file of `moorage request --file`: YAML or JSON, as people and programs write it, with every place."""

import codecs
import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from clients.safe_yaml import UnsupportedYaml, compose_all_yaml, text_value_of
from clients.yaml_places import lone_surrogates, place_of, places_below, repeated_keys
from starter.cli.bulk.requests import MAX_ENVIRONMENTS, BulkRequest, Place
from starter.cli.errors import CliError, Code

#: Largest file: five hundred environments take a tenth of it.
MAX_BYTES = 2 * 1024 * 1024
#: The field of a document that has several environments.
_LIST = "environments"
_COUNT = "count"
#: How deep the fields of an environment are: `labels.KEY`, `collaborators.0`.
_DEPTH = 2
#: The first bytes of each encoding; that of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class _Problems:
    """The problems of a file so far, each with its place."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: list[str] = []

    def add(self, place: tuple[int, int], message: str) -> None:
        line, column = place
        self.lines.append(f"{self.file}:{line}:{column}: {message}")

    def raise_if_any(self) -> None:
        if self.lines:
            raise unusable(self.lines)


def unusable(lines: list[str]) -> CliError:
    """Return the error for requests with these problems: none was sent."""
    return CliError(Code.BAD_INPUT, "the requests are not valid; nothing was started", lines=lines)


def read_requests(file: Path) -> list[BulkRequest]:
    """Read the requests in a file, or from standard input if it is "-".

    Several documents, and documents with a list, make one list. Fields whose names begin with "x-" are for
    anchors.

    Raises:
        CliError: The file cannot be read; `lines` has every problem with line and column.
    """
    name = "standard input" if str(file) == "-" else str(file)
    problems = _Problems(name)
    text = _text(file, name)
    try:
        roots = compose_all_yaml(_as_yaml(text))
        # Compute the values here as well, because this finds keys and merges that are not supported.
        documents = [(root, text_value_of(root)) for root in roots]
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        words = problem if isinstance(error, UnsupportedYaml) else f"is not valid YAML or JSON: {problem}"
        problems.add(place, words)
        raise unusable(problems.lines) from None
    every = (request for root, content in documents for request in _requests_of(root, content, problems))
    # No more than needed to know that there are too many: each entry may stand for hundreds.
    requests = list(islice(every, MAX_ENVIRONMENTS + 1))
    problems.raise_if_any()
    if not requests:
        raise CliError(Code.BAD_INPUT, f"{name} has no environment in it; nothing was started")
    if len(requests) > MAX_ENVIRONMENTS:
        message = f"{name} has more than {MAX_ENVIRONMENTS} environments, which is the most at once"
        raise CliError(Code.BAD_INPUT, message)
    _require_distinct(requests, problems)
    return requests


def _text(file: Path, name: str) -> str:
    try:
        if str(file) == "-":
            raw = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with file.open("rb") as opened:
                raw = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise CliError(Code.BAD_INPUT, f"{name} cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise CliError(Code.BAD_INPUT, f"{name} is too large: at most {MAX_BYTES // 1024} KiB")
    encoding = next((each for mark, each in _MARKS if raw.startswith(mark)), "")
    if not encoding:
        # Without a mark, every second byte of UTF-16 is zero where the text is ASCII, as its beginning is.
        encoding = {b"\0": "utf-16-be"}.get(raw[:1], "utf-16-le" if raw[1:2] == b"\0" else "utf-8")
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        message = f"{name}:{line}:1: is not text in {encoding.removesuffix('-sig').upper()}"
        raise unusable([message]) from None


def _as_yaml(text: str) -> str:
    """Return JSON as YAML: the parser refuses tabs between its parts, and strings have none."""
    if "\t" in text and text.lstrip()[:1] in ("{", "["):
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            return text
        return text.replace("\t", " ")
    return text


def _requests_of(root: yaml.Node, content: Any, problems: _Problems) -> Iterator[BulkRequest]:
    path: tuple[str, ...] = ()
    for key, mark in repeated_keys(root):
        problems.add((mark.line + 1, mark.column + 1), f"{key}: stands here twice")
    for mark in lone_surrogates(root):
        problems.add((mark.line + 1, mark.column + 1), "holds half of a character (\\ud800 to \\udfff)")
    if content is None:
        return
    if isinstance(content, dict) and _LIST in content:
        for field in content:
            if field != _LIST and not field.startswith("x-"):
                message = f'{field}: there is no such field beside {_LIST}; one for anchors begins with "x-"'
                problems.add(place_of(root, (field,)), message)
        content, path = content[_LIST], (_LIST,)
    elif isinstance(content, dict):
        yield from _entry(root, (), content, problems)
        return
    if not isinstance(content, list):
        words = "is not a list of environments" if path else "is neither an environment nor a list of them"
        problems.add(place_of(root, path), words)
        return
    for index, entry in enumerate(content):
        yield from _entry(root, (*path, index), entry, problems)


def _entry(
    root: yaml.Node, path: tuple[str | int, ...], entry: Any, problems: _Problems
) -> Iterator[BulkRequest]:
    start = place_of(root, path)
    if not isinstance(entry, dict):
        problems.add(start, "is not an environment: write its fields, such as name and template")
        return
    body = {key: value for key, value in entry.items() if key != _COUNT and not key.startswith("x-")}
    request = BulkRequest(body, Place(problems.file, places_below(root, path, _DEPTH), start))
    if _COUNT not in entry:
        yield request
        return
    count = entry[_COUNT]
    if not (isinstance(count, str) and count.isdecimal() and 1 <= int(count[:9]) <= MAX_ENVIRONMENTS):
        message = f"{_COUNT}: is not a whole number from 1 to {MAX_ENVIRONMENTS}"
        problems.add(place_of(root, (*path, _COUNT)), message)
        return
    yield from request.times(int(count))


def _require_distinct(requests: list[BulkRequest], problems: _Problems) -> None:
    """Raise CliError if two requests have the same name, which the API sees only within one check."""
    first: dict[str, BulkRequest] = {}
    for request in requests:
        known = first.setdefault(request.name, request)
        if known is not request and request.name:
            problems.lines.append(
                f"{request.place.describe('name')}name: {request.name} is requested twice, "
                f"first at {known.place.describe('name').removesuffix(': ')}"
            )
    problems.raise_if_any()
