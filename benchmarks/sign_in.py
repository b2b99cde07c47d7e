"""A request of a person who has signed in, beside the same request with a token of the file."""

import statistics
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.support.harness import cpu_seconds, ground
from benchmarks.support.http_driver import Caller, Connection, Timed
from embedded.stack.stack import Part
from tests.support.sign_in import embedded_provider

#: The path that is read: it is answered from the API's memory, so that the check of the token weighs most.
PATH = "/api/v1/templates"
REQUESTS = 2000
#: Requests with one kind of token before it is the other's turn.
TURN = 50
TARGET_OVERHEAD_MS = 1.0


async def measure_sign_in(folder: Path) -> dict[str, Any]:
    """Read with both kinds of token in turns, over one connection each."""
    async with ground(folder) as here:
        stack = here.stack
        provider = embedded_provider(stack.url(Part.OPENID_PROVIDER), stack.password_of)
        tokens = await provider.sign_in(stack.options.people[0].email)
        port = urlsplit(stack.api_url).port or 0
        timed = {"file": Timed(), "sign-in": Timed()}
        connections = {
            "file": Connection(Caller(port, stack.token)),
            "sign-in": Connection(Caller(port, tokens["access_token"])),
        }
        spent = dict.fromkeys(timed, 0.0)
        for _ in range(REQUESTS // TURN):
            for kind, connection in connections.items():
                before = cpu_seconds(stack.pid(Part.API))
                await _read(connection, timed[kind])
                spent[kind] += cpu_seconds(stack.pid(Part.API)) - before
        for connection in connections.values():
            connection.close()
    halves = {kind: 1000 * statistics.median(each.seconds) for kind, each in timed.items()}
    overhead = halves["sign-in"] - halves["file"]
    failed = any(each.failed for each in timed.values())
    return {
        "what": "request of a person who has signed in, beside a token of the file",
        **{
            kind: f"p50 {halves[kind]:.2f} ms, p95 {each.percentile(0.95):.2f} ms, "
            f"{1000 * spent[kind] / REQUESTS:.2f} ms cpu, errors: {each.failed or 'none'}"
            for kind, each in timed.items()
        },
        "p50 more": f"{overhead:.2f} ms",
        "target": f"p50 less than {TARGET_OVERHEAD_MS:g} ms more, no error",
        "reached": overhead < TARGET_OVERHEAD_MS and not failed,
    }


async def _read(connection: Connection, timed: Timed) -> None:
    for _ in range(TURN):
        started = time.monotonic()
        status = await connection.get(PATH)
        timed.seconds.append(time.monotonic() - started)
        timed.statuses[status] += 1
