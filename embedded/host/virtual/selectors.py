"""Selectors of lists: by label, as `kubectl get -l`, and by field, for the few fields of an API server."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from embedded.host.virtual.errors import bad_request

_KEY = r"[A-Za-z0-9][-A-Za-z0-9_./]*"
_TERM = re.compile(
    rf"\s*(?:(?P<absent>!)\s*(?P<no_key>{_KEY})"
    rf"|(?P<key>{_KEY})\s*(?:(?P<set>in|notin)\s*\((?P<values>[^()]*)\)|(?P<op>==|!=|=)\s*(?P<value>[-A-Za-z0-9_.]*))?)"
    r"\s*(?:,|$)"
)
#: Fields by which lists may be selected; an API server serves these for the kinds that have them.
_FIELDS = ("metadata.name", "metadata.namespace", "spec.signerName")

Matches = Callable[[Mapping[str, Any]], bool]


def label_selector(text: str) -> Matches:
    """Return whether an object matches the selector; raise ApiError 400 for text that is none."""
    terms = []
    position = 0
    while position < len(text):
        match = _TERM.match(text, position)
        if match is None:
            raise bad_request(f"unable to parse requirement: {text!r}")
        terms.append(match.groupdict())
        position = match.end()

    def matches(document: Mapping[str, Any]) -> bool:
        labels = document["metadata"].get("labels") or {}
        return all(_holds(term, labels) for term in terms)

    return matches


def field_selector(text: str) -> Matches:
    """Return whether an object matches; raise ApiError 400 for a field that is not served."""
    terms = []
    for term in filter(None, text.split(",")):
        match = re.fullmatch(r"([\w.]+)(==|!=|=)(.*)", term)
        if match is None or match[1] not in _FIELDS:
            raise bad_request(f"field label not supported: {term}")
        terms.append((match[1].split("."), match[2] == "!=", match[3]))

    def matches(document: Mapping[str, Any]) -> bool:
        return all(
            (document[part].get(name, "") == value) != negated for (part, name), negated, value in terms
        )

    return matches


def _holds(term: Mapping[str, str | None], labels: Mapping[str, str]) -> bool:
    if term["no_key"] is not None:
        return term["no_key"] not in labels
    key = str(term["key"])
    if term["set"]:
        is_in = labels.get(key) in [each.strip() for each in (term["values"] or "").split(",")]
        return is_in == (term["set"] == "in")
    if term["op"]:
        return (labels.get(key) == term["value"]) == (term["op"] != "!=")
    return key in labels
