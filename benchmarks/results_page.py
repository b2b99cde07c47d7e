"""The documentation's pages with the results of benchmarks. Only a run writes them."""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PAGE = Path("docs/reference/benchmark-results.md")
HOST_PAGE = Path("docs/reference/host-benchmark-results.md")
#: What a result has beside its measurements.
_ABOUT = ("what", "target", "reached")
#: A machine with so much else to do says nothing about times of the clock.
_BUSY = """

**The machine was busy with other work**, so only the processor times and the memory mean anything.
Run it again on a quiet one."""


def page(
    machine: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    day: datetime.date,
    *,
    title: str = "Benchmark results",
    command: str = "make bench",
    where: str = "All processes are",
) -> str:
    """Return the page: the target of each benchmark, whether it was reached, and what was measured."""
    parts = "\n".join(map(_part, results))
    busy = "" if machine["load"] < machine["cores"] / 2 else _BUSY
    return f"""# {title}

Measured by `{command}` on {day:%Y-%m-%d}, on {machine["cores"]} cores with a load of {machine["load"]:.1f}
before, and Python {machine["python"]}. {where} on this machine: the API, a worker, the stand-ins,
Temporal's development server on SQLite, and the benchmark itself. Times are of the clock unless they are
named processor or cpu.{busy}

{parts}"""


def measurements(result: Mapping[str, Any]) -> dict[str, str]:
    """Return what was measured, by name."""
    return {name: _text(value) for name, value in result.items() if name not in _ABOUT}


def _part(result: Mapping[str, Any]) -> str:
    what = str(result["what"])
    rows = "\n".join(f"| {_cell(name)} | {_cell(value)} |" for name, value in measurements(result).items())
    return f"""## {what[0].upper()}{what[1:]}

Target: {result["target"]}. **{"Reached" if result["reached"] else "Not reached"}.**

| measured | |
| --- | --- |
{rows}
"""


def _cell(text: str) -> str:
    # In a table, a bar ends a cell, and an angle bracket may begin an element.
    return " ".join(text.replace("_", " ").split()).replace("|", "\\|").replace("<", "&lt;")


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_text(one)}" for name, one in value.items())
    return str(value)
