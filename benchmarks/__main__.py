"""`python -m benchmarks [WHAT …]`: runs them one after the other, and prints a table and JSON."""

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.admission import measure_admission
from benchmarks.api import measure_api
from benchmarks.burst import measure_burst, measure_throughput
from benchmarks.credentials import measure_credentials
from benchmarks.orchestration import measure
from benchmarks.sign_in import measure_sign_in
from benchmarks.startup import measure_startup
from benchmarks.sweep import measure_sweep
from benchmarks.watchers import measure_watchers

Measure = Callable[[Path], Awaitable[dict[str, Any]]]
ALL: dict[str, Measure] = {
    "orchestration": measure,
    "throughput": measure_throughput,
    "burst": measure_burst,
    "sweep": measure_sweep,
    "admission": measure_admission,
    "api": measure_api,
    "credentials": measure_credentials,
    "sign-in": measure_sign_in,
    "startup": measure_startup,
    "watchers": measure_watchers,
}


def main() -> int:
    """Run what was asked for; exit code 1 when a target was not reached."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("what", nargs="*", help=f"one or more of {', '.join(ALL)}; all without")
    parser.add_argument("--json", type=Path, help="write the numbers to this file as well")
    chosen = parser.parse_args()
    if unknown := set(chosen.what) - set(ALL):
        parser.error(f"there is no {', '.join(sorted(unknown))}: choose from {', '.join(ALL)}")
    results = [_run(name) for name in chosen.what or ALL]
    machine = {"cores": os.cpu_count(), "load": os.getloadavg()[0], "python": platform.python_version()}
    report = json.dumps({"machine": machine, "results": results}, indent=2)
    table = Table("what", "measured", "target", "reached")
    for result in results:
        measured = "\n".join(
            f"{key} {value}" for key, value in result.items() if key not in ("what", "target", "reached")
        )
        table.add_row(result["what"], measured, result["target"], "yes" if result["reached"] else "NO")
    Console().print(table)
    print(report)
    if chosen.json:
        chosen.json.write_text(report + "\n")
    return 0 if all(result["reached"] for result in results) else 1


def _run(name: str) -> dict[str, Any]:
    print(f"measuring: {name}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="moorage-bench-") as folder:
        result = asyncio.run(_measured(name, Path(folder)))
    # At once: what is measured is known even if the next one fails.
    print(json.dumps(result), file=sys.stderr, flush=True)
    return result


async def _measured(name: str, folder: Path) -> dict[str, Any]:
    return await ALL[name](folder)


if __name__ == "__main__":
    sys.exit(main())
