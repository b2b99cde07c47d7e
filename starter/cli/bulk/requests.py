"""The requests of one command, and where the user has written each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

#: Environments that one command requests: more is a mistake in a count.
MAX_ENVIRONMENTS = 500


@dataclass(frozen=True)
class Place:
    """Where a request is written: a file with the line and column of each field; "" for a command line."""

    file: str = ""
    lines: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    start: tuple[int, int] = (1, 1)

    def describe(self, name: str) -> str:
        """Return the place of a field as compilers print it; "" without a file."""
        if not self.file:
            return ""
        path = name
        while path and path not in self.lines:
            path = path.rpartition(".")[0]
        line, column = self.lines.get(path, self.start)
        return f"{self.file}:{line}:{column}: "


@dataclass(frozen=True)
class BulkRequest:
    """The body of one request to the API, and its place."""

    body: Mapping[str, Any]
    place: Place = field(default_factory=Place)

    @property
    def name(self) -> str:
        """The name that it requests, or "" if it has none."""
        name = self.body.get("name")
        return name if isinstance(name, str) else ""

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels that it requests."""
        labels = self.body.get("labels")
        return labels if isinstance(labels, dict) else {}

    def with_labels(self, labels: Mapping[str, str]) -> "BulkRequest":
        """Return it with these labels, which replace its own ones of the same key."""
        if not labels or not isinstance(self.body.get("labels", {}), dict):
            return self
        return replace(self, body={**self.body, "labels": {**self.labels, **labels}})

    def times(self, count: int) -> list["BulkRequest"]:
        """Return so many of it, whose names end with a number, from 1."""
        return [
            replace(self, body={**self.body, "name": f"{self.name}-{number}"})
            for number in range(1, count + 1)
        ]


def common_labels(requests: Sequence[BulkRequest]) -> dict[str, str]:
    """Return the labels that all requests have, by which they can be listed and deleted together."""
    first, *others = (set(request.labels.items()) for request in requests)
    return dict(sorted(first.intersection(*others)))
