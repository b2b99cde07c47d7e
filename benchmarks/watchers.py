"""Many people with an environment's page open while it goes through its life: what that costs the API.

Each of them is a bare connection that does what the page's script does: it follows the live updates.
"""

import asyncio
import functools
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from benchmarks.support.harness import Ground, cpu_seconds, ground, memory_mb
from embedded.stack.stack import LOCAL_PERSON, Part
from starter.auth.oidc.issuers import load_issuers
from starter.auth.policy import Principal
from starter.page.session.cookies import SESSION_COOKIE
from starter.page.session.sealing import Sealer
from starter.page.session.session import Session, mark_of, new_id, seal_session
from worker.settings.groups.codec import Encryption

WATCHERS = 500
#: A host that is quick, but not at once: people watch an environment for about as long as this.
LIFE = {"start_seconds": 20.0, "stop_seconds": 4.0}
TARGET_MB = 300.0
TARGET_CORE = 0.20
TARGET_SECONDS = 2.0
_HOUR = 3600.0
_DONE = re.compile(r"(\d+) of \d+ steps are done")


@dataclass
class Watcher:
    """One person's connection: when it first saw so many steps done, and how much was sent to it."""

    port: int
    cookie: str
    seen: dict[int, float] = field(default_factory=dict)
    bytes: int = 0
    ended: bool = False

    async def follow(self, name: str, life: str, connected: Callable[[], None]) -> None:
        """Follow the environment until its life has ended."""
        reader, writer = await self._get(f"/environments/{name}/live?life={life}")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head.split(b"\r\n", 1)[0], head
        connected()
        while line := await reader.readline():
            if line.startswith(b"event: end"):
                self.ended = True
                break
            if line.startswith(b"data: {"):
                self.bytes += len(line)
                if (done := _steps_done(line)) is not None:
                    self.seen.setdefault(done, time.time())
        writer.close()

    async def _get(self, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        cookie = f"Cookie: {SESSION_COOKIE}={self.cookie}\r\n"
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nSec-Fetch-Mode: cors\r\n"
        writer.write(f"{head}{cookie}\r\n".encode())
        return reader, writer


async def measure_watchers(folder: Path) -> dict[str, Any]:
    """Measure the API's process while all watch one environment being made and deleted."""
    # One address may hold half of the connections, unless it is a proxy for many.
    settings = {"MOORAGE_API__TRUSTED_PROXIES": "127.0.0.1"}
    async with ground(folder, host=LIFE, environment=settings) as here:
        port = urlsplit(here.stack.api_url).port or 0
        watchers = [Watcher(port, cookie) for cookie in _cookies(here)]
        pid = here.stack.pid(Part.API)
        before_mb = memory_mb(pid, "VmRSS")
        await here.request("one")
        view = await _show(here)
        connected = asyncio.Semaphore(0)
        following = [
            asyncio.create_task(each.follow("one", view["life"], connected.release)) for each in watchers
        ]
        for _ in watchers:
            await connected.acquire()
        cpu, started = cpu_seconds(pid), time.monotonic()
        await here.until("EnvPhase = 'ready'", 1)
        made = await _show(here)
        await here.delete("one")
        await asyncio.gather(*following)
        took, cpu = time.monotonic() - started, cpu_seconds(pid) - cpu
        most_mb = memory_mb(pid)
    late = _lateness(watchers, made)
    reached = (
        most_mb < TARGET_MB
        and cpu / took < TARGET_CORE
        and late[-1] < TARGET_SECONDS
        and all(each.ended for each in watchers)
    )
    return {
        "what": f"{WATCHERS} people watch one life",
        "api_memory": f"{most_mb:.0f} MB, {before_mb:.0f} MB before",
        "api_core": f"{cpu / took:.0%} of a core over {took:.0f} s",
        "updates": f"p50 {late[len(late) // 2]:.2f} s, longest {late[-1]:.2f} s after the change",
        "sent": f"{sum(each.bytes for each in watchers) / WATCHERS / 1000:.0f} kB to each",
        "target": f"API < {TARGET_MB:g} MB, < {TARGET_CORE:.0%} of a core, updates in {TARGET_SECONDS:g} s",
        "reached": reached,
    }


def _lateness(watchers: list[Watcher], made: dict[str, Any]) -> list[float]:
    """How long after each step's end each watcher saw it, in order of length."""
    ends = sorted(
        datetime.fromisoformat(step["ended_at"]).timestamp() for step in made["steps"] if step["ended_at"]
    )
    late = []
    for each in watchers:
        # Who connects later has not waited for what was done before.
        first = min(each.seen.values())
        for number, ended in enumerate(ends, 1):
            if ended > first:
                late.append(min(at for done, at in each.seen.items() if done >= number) - ended)
    return sorted(late) or [0.0]


async def _show(here: Ground) -> dict[str, Any]:
    answer = await here.api.get("/environments/one")
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def _cookies(here: Ground) -> list[str]:
    """The cookies of people who have signed in: team mates of the owner."""
    encryption = Encryption(keys=SecretStr(here.stack.env["MOORAGE_ENCRYPTION__KEYS"]))
    sealer = Sealer(encryption.page_keys, here.stack.installation)
    [issuer] = load_issuers(here.stack.folder / "issuers.yaml")
    now = time.time()
    cookies = []
    for number in range(WATCHERS):
        email = f"watcher-{number}@example.com"
        session = Session(
            id=new_id(),
            root=new_id(),
            principal=Principal(person=email, email=email, teams=LOCAL_PERSON.teams),
            issuer=issuer.url,
            issuer_mark=mark_of(issuer),
            started_at=now,
            seen_at=now,
            renew_at=now + _HOUR,
            valid_until=now + _HOUR,
        )
        cookies.append(seal_session(session, sealer))
    return cookies


@functools.lru_cache(maxsize=64)
def _steps_done(line: bytes) -> int | None:
    """Return how many steps are done in an update; all watchers get the same few lines."""
    steps = json.loads(line.partition(b": ")[2]).get("parts", {}).get("steps")
    if steps is None:
        return None
    found = _DONE.search(steps)
    return int(found[1]) if found else 0
