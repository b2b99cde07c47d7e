"""`make outdated`: lists the pins that have a newer release. It changes nothing.

It asks each registry with its usual client: pip, go, skopeo or crane for images; for charts it reads the
index. A registry that cannot be reached is listed as well.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from tools import pins
from tools.pins import Pinned, SourceError

Source = Callable[[], Iterable[Pinned]]
SOURCES: dict[str, Source] = {
    "python": pins.python_packages,
    "go": pins.go_modules,
    "go toolchain": pins.go_toolchain,
    "chart": pins.charts,
    "images": pins.images,
}


@dataclass(frozen=True)
class Row:
    """A pin and its newest release; `problem` if that is unknown."""

    source: str
    name: str
    pinned: str
    newest: str
    problem: str = ""

    @property
    def outdated(self) -> bool:
        """Whether there is a newer release."""
        return bool(self.newest) and self.newest != self.pinned


def gather(chosen: Sequence[str], known: dict[str, Source] = SOURCES) -> list[Row]:
    """Return a row for each pin of the chosen sources; a source that fails as a whole is one row."""
    rows: list[Row] = []
    for name in chosen:
        try:
            rows += [Row(name, one.name, one.version, one.newest, one.problem) for one in known[name]()]
        except SourceError as error:
            rows.append(Row(name, "", "", "", str(error)))
    return rows


def main() -> int:
    """Print what is outdated and what is unknown; return 0 in any case."""
    parser = argparse.ArgumentParser(prog="make outdated", description=__doc__)
    parser.add_argument("what", nargs="*", help=f"one or more of: {', '.join(SOURCES)}; all without")
    parser.add_argument("--json", action="store_true", help="print every pin as JSON")
    chosen = parser.parse_args()
    if unknown := set(chosen.what) - set(SOURCES):
        parser.error(f"there is no {', '.join(sorted(unknown))}: choose from {', '.join(SOURCES)}")
    rows = gather(chosen.what or list(SOURCES))
    if chosen.json:
        print(json.dumps([asdict(row) | {"outdated": row.outdated} for row in rows], indent=2))
        return 0
    console = Console(highlight=False)
    table = Table("source", "pin", "pinned", "newest", box=None)
    for row in rows:
        if row.outdated:
            table.add_row(row.source, row.name, row.pinned, row.newest)
    console.print(table if table.row_count else "No pin is known to have a newer release.")
    for row in rows:
        if row.problem:
            console.print(f"unknown: {row.source} {row.name}".rstrip() + f": {row.problem}", soft_wrap=True)
    console.print(
        f"{len(rows)} pins, {table.row_count} outdated, {sum(bool(row.problem) for row in rows)} unknown"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
