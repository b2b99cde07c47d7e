"""What docs/reference/metrics.md lists, and the naming conventions of Prometheus.

https://prometheus.io/docs/practices/naming/ has the conventions.
"""

import re
from dataclasses import dataclass

from prometheus_client.metrics_core import Metric

from tests.support.stand_ins import CHECKOUT

PAGE = CHECKOUT / "docs" / "reference" / "metrics.md"
#: Labels that Temporal's SDK adds to what workflows and activities measure.
COMMON_LABELS = {"namespace", "task_queue", "workflow_type", "activity_type"}
#: What Prometheus adds to the name of a histogram.
SUFFIXES = ("_bucket", "_sum", "_count")

_UNITS = ("seconds", "bytes", "ratio", "info")
#: Units that are not base units, and words that belong in a label or a suffix.
_WRONG = re.compile(
    r"(^|_)(milliseconds?|ms|minutes?|hours?|kilobytes?|kb|mb|gib|percent|counter|gauge|histogram)(_|$)"
)
_ROW = re.compile(r"^\| `(moorage_\w+)` \| (\w+) \|([^|\n]*)\|([^|\n]*)\|", re.MULTILINE)


@dataclass(frozen=True)
class Row:
    """One line of the tables. `is_rare`: it is served only after what it counts has happened."""

    type: str
    labels: tuple[str, ...]
    is_rare: bool


def documented() -> dict[str, Row]:
    """All metrics of Moorage that the page lists."""
    rows = _ROW.findall(PAGE.read_text(encoding="utf-8"))
    return {
        name: Row(kind, tuple(re.findall(r"`(\w+)`", labels)), "only after" in about)
        for name, kind, labels, about in rows
    }


def lint(family: Metric) -> list[str]:
    """Return the faults of the name and the help of a metric."""
    found = []
    if not family.documentation.strip():
        found.append("has no help")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", family.name) or _WRONG.search(family.name):
        found.append("has a name with a unit that is not a base unit, or with its type")
    if family.name.endswith(("_total", *SUFFIXES)) or (family.type == "gauge" and "_total" in family.name):
        found.append("ends with what the type adds")
    if family.type == "histogram" and not family.name.endswith(_UNITS):
        found.append("does not end with its unit")
    if "timestamp" in family.name and not family.name.endswith("_timestamp_seconds"):
        found.append("is a time that does not end with _timestamp_seconds")
    return [f"{family.name} {what}" for what in found]


def documented_of_sdk() -> set[str]:
    """The metrics of Temporal's SDK that the page names."""
    return set(re.findall(r"^\| `(temporal_\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
