"""What open environments cost, as they grow: database, memory, list, capacity and its audit.

`python -m benchmarks.scale` writes the numbers to docs/reference/scale-results.md. Environments are seeded as
ready, except for those whose life is measured from request to certificate.
"""

import argparse
import asyncio
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.admission import carried_kilobytes
from benchmarks.support.harness import Ground, cpu_seconds, ground, memory_mb
from benchmarks.support.seeding import UNDISTURBED, seed_all
from benchmarks.sweep import audit_from_nothing
from contracts.types.naming import workflow_id
from embedded.stack.stack import Part
from starter.placement.reservations import Reservations

PAGE = Path("docs/reference/scale-results.md")
ROUNDS = (1000, 10_000)
#: The number that is extrapolated to, by the growth between the last two rounds.
NEXT = 100_000
#: Requests whose median is taken.
REQUESTS = 20
#: Environments that live a whole life, one after the other.
LIVES = 5
#: The largest payload that Temporal takes by default, in kB.
PAYLOAD_LIMIT_KB = 2000


@dataclass(frozen=True)
class Round:
    """What so many open environments take. Milliseconds are medians of requests by one caller."""

    open: int
    database_mb: float
    server_mb: float
    worker_mb: float
    api_mb: float
    list_ms: float
    one_ms: float
    audit_s: float
    audit_worker_mb: float
    state_kb: float


@dataclass(frozen=True)
class Life:
    """What one life takes, from its request until nothing is left. Seconds are of the processor."""

    events_ready: int
    events: int
    history_kb: float
    worker_s: float
    server_s: float
    api_s: float
    database_kb: float


async def measure_scale(folder: Path, rounds: Sequence[int] = ROUNDS) -> tuple[Life, list[Round]]:
    """Measure whole lives first, and then each round, of which the later ones are larger."""
    found = []
    async with ground(folder, environment=UNDISTURBED) as here:
        database = folder / "temporal.sqlite"
        life = await _life(here, database)
        present = 0
        for count in rounds:
            await seed_all(here, [f"s{count}-{number}" for number in range(count - present)])
            present = count
            found.append(await _round(here, database, count))
            print(found[-1], file=sys.stderr, flush=True)
    return life, found


async def _life(here: Ground, database: Path) -> Life:
    parts = (Part.WORKER, Part.TEMPORAL, Part.API)
    await here.request("first")  # pays for what a process does once
    await here.until("EnvPhase = 'ready'", 1)
    await here.gone(["first"])
    before = [cpu_seconds(here.stack.pid(part)) for part in parts]
    size = _database_mb(database)
    ready, events, kilobytes = [], [], []
    for number in range(LIVES):
        name = f"life-{number}"
        await here.request(name)
        await here.until(f"WorkflowId = '{workflow_id(name)}' AND EnvPhase = 'ready'", 1)
        handle = here.client.get_workflow_handle(workflow_id(name))
        ready.append((await handle.describe()).history_length)
        await here.gone([name])
        run = await handle.describe()
        events.append(run.history_length)
        kilobytes.append(run.raw_description.workflow_execution_info.history_size_bytes / 1000)
    worker, server, api = (
        (cpu_seconds(here.stack.pid(part)) - used) / LIVES for part, used in zip(parts, before, strict=True)
    )
    return Life(
        events_ready=round(statistics.median(ready)),
        events=round(statistics.median(events)),
        history_kb=statistics.median(kilobytes),
        worker_s=worker,
        server_s=server,
        api_s=api,
        database_kb=1000 * (_database_mb(database) - size) / LIVES,
    )


async def _round(here: Ground, database: Path, count: int) -> Round:
    server, worker, api = (
        memory_mb(here.stack.pid(part), "VmRSS") for part in (Part.TEMPORAL, Part.WORKER, Part.API)
    )
    size = _database_mb(database)
    list_ms = await _median_ms(here, "/environments?limit=100")
    one_ms = await _median_ms(here, f"/environments/s{count}-0")
    audit = await audit_from_nothing(here, count)
    held = list(await Reservations(here.client).list_reservations())
    return Round(
        open=count,
        database_mb=size,
        server_mb=server,
        worker_mb=worker,
        api_mb=api,
        list_ms=list_ms,
        one_ms=one_ms,
        audit_s=audit["known_in_s"],
        audit_worker_mb=audit["worker_peak_mb"],
        state_kb=await carried_kilobytes(here, held),
    )


async def _median_ms(here: Ground, path: str) -> float:
    taken = []
    for number in range(REQUESTS):
        # Past what the API keeps for a moment.
        await asyncio.sleep(0.6)
        began = time.perf_counter()
        (await here.api.get(path, params={"n": number} if "?" not in path else None)).raise_for_status()
        taken.append(time.perf_counter() - began)
    return 1000 * statistics.median(taken)


def _database_mb(path: Path) -> float:
    """Size of a database that another process uses, with its log."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        [pages] = connection.execute("PRAGMA page_count").fetchone()
        [size] = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    return float(pages * size / 1e6)


def page(life: Life, rounds: Sequence[Round]) -> str:
    """Return the page with the numbers, and with what they come to at `NEXT`."""
    small, large = rounds[-2:]

    def at_next(name: str) -> float:
        slope = (getattr(large, name) - getattr(small, name)) / (large.open - small.open)
        return float(getattr(large, name) + max(slope, 0) * (NEXT - large.open))

    rows = [
        ("Temporal's database, MB", "database_mb", 1),
        ("Temporal's server, MB of memory", "server_mb", 0),
        ("worker, MB of memory", "worker_mb", 0),
        ("API, MB of memory", "api_mb", 0),
        ("first page of the list, ms", "list_ms", 1),
        ("one environment, ms", "one_ms", 1),
        ("audit of a capacity workflow that knows nothing, s", "audit_s", 1),
        ("worker during that audit, MB", "audit_worker_mb", 0),
        ("state of the capacity workflow, kB", "state_kb", 0),
    ]
    table = "\n".join(
        f"| {title} | "
        + " | ".join(f"{getattr(each, name):,.{digits}f}" for each in rounds)
        + f" | {at_next(name):,.{digits}f} |"
        for title, name, digits in rows
    )
    most = int(large.open * PAYLOAD_LIMIT_KB / large.state_kb)
    heads = " | ".join(f"{each.open:,}" for each in rounds)
    return f"""# Scale results

Measured by `make scale` on {os.cpu_count()} cores, Python {platform.python_version()}, with the stand-ins and
Temporal's development server on SQLite. [Scale](../explanation/scale.md) says what follows from the numbers.

## One life

From the request until nothing is left, with all eight steps; the median or mean of {LIVES} in a row.

| | |
| --- | --- |
| events in the history when it is ready | {life.events_ready} |
| events in the history at its end | {life.events} |
| history at its end, kB | {life.history_kb:.0f} |
| Temporal's database, kB | {life.database_kb:.0f} |
| processor of the worker, s | {life.worker_s:.2f} |
| processor of Temporal's server, s | {life.server_s:.2f} |
| processor of the API, s | {life.api_s:.2f} |

## Open environments

All are ready and at rest. The last column continues the line between the two before it, upwards only.

| open | {heads} | {NEXT:,}, extrapolated |
| --- |{" ---: |" * (len(rounds) + 1)}
{table}

The state of the capacity workflow goes from run to run as one payload, of which Temporal takes
{PAYLOAD_LIMIT_KB:,} kB: the limit is at about {most // 1000 * 1000:,} open environments
of one owner and one template, which compress well, in one namespace.
"""


def main() -> int:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(prog="make scale", description=__doc__)
    parser.add_argument("rounds", nargs="*", type=int, default=ROUNDS, help="open environments; two or more")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="moorage-scale-") as folder:
        life, found = asyncio.run(measure_scale(Path(folder), rounds))
    PAGE.write_text(page(life, found), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
