"""`python -m benchmarks [WHAT …]`: runs them one after the other, and prints a table and JSON.

A run of all of them writes the documentation's page as well.
"""

import argparse
import asyncio
import datetime
import json
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.admission import measure_admission
from benchmarks.api import measure_api
from benchmarks.burst import measure_burst, measure_throughput
from benchmarks.credentials import measure_credentials
from benchmarks.first_paint import measure_first_paint
from benchmarks.idle_pool import measure_idle_pool
from benchmarks.orchestration import measure
from benchmarks.results_page import PAGE, measurements, page
from benchmarks.seats import measure_seats
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
    "first-paint": measure_first_paint,
    "startup": measure_startup,
    "watchers": measure_watchers,
    "idle-pool": measure_idle_pool,
    "seats": measure_seats,
}


def main() -> int:
    """Run what was asked for; exit code 1 when a target was not reached."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("what", nargs="*", help=f"one or more of {', '.join(ALL)}; all without")
    parser.add_argument("--json", type=Path, help="write the numbers to this file as well")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE}, as without WHAT")
    chosen = parser.parse_args()
    if unknown := set(chosen.what) - set(ALL):
        parser.error(f"there is no {', '.join(sorted(unknown))}: choose from {', '.join(ALL)}")
    # Before the first one: the benchmarks are most of the load after it.
    machine = {"cores": os.cpu_count(), "load": os.getloadavg()[0], "python": platform.python_version()}
    results = [_run(name) for name in chosen.what or ALL]
    report = json.dumps({"machine": machine, "results": results}, indent=2)
    table = Table("what", "measured", "target", "reached")
    for result in results:
        measured = "\n".join(f"{name} {value}" for name, value in measurements(result).items())
        table.add_row(result["what"], measured, result["target"], "yes" if result["reached"] else "NO")
    Console().print(table)
    print(report)
    if chosen.json:
        chosen.json.write_text(report + "\n")
    if chosen.page or not chosen.what:
        PAGE.write_text(page(machine, results, datetime.datetime.now(datetime.UTC).date()), encoding="utf-8")
    return 0 if all(result["reached"] for result in results) else 1


def _run(name: str) -> dict[str, Any]:
    print(f"measuring: {name}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="moorage-bench-") as folder:
        try:
            result = asyncio.run(_measured(name, Path(folder)))
        except Exception as error:
            # The others are measured all the same.
            traceback.print_exc()
            failure = f"{type(error).__name__}: {error}"
            result = {"what": name, "failed": failure, "target": "a result", "reached": False}
    # At once: what is measured is known even if the next one fails.
    print(json.dumps(result), file=sys.stderr, flush=True)
    return result


async def _measured(name: str, folder: Path) -> dict[str, Any]:
    return await ALL[name](folder)


if __name__ == "__main__":
    sys.exit(main())
