"""Charts from an HTTP repository, an OCI registry, a folder or a path; each is fetched once.

A few loaded charts are cached, because a chart is large and all environments of a template use the same one.
"""

import asyncio
import hashlib
import importlib
import re
import tempfile
from collections import OrderedDict, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

from clients.errors import Rejected, Unreachable
from clients.helm.chart_pull import PullFailed, pull
from clients.host.models import Chart
from clients.transport.traced_requests import traced_request

#: Concurrent calls of Helm. Each takes a second or two and holds a whole rendered chart in memory, so more
#: would only cost memory.
THREADS = 4
#: Number of cached charts; a catalogue has a few versions in use at the same time.
MAX_CACHED_CHARTS = 4
#: How long callers wait for a fetch, from its start and for any caller: a chart takes a second or two. It
#: is shorter than the 40 s that the command line waits for the API, which requests charts. A chart that
#: arrives later is cached all the same.
LOAD_TIMEOUT = timedelta(seconds=30)
#: How long a failure is cached for all callers: this spares a repository that is down the many steps that
#: retry, and costs little after it recovers.
FAILURE_CACHE_TTL = timedelta(seconds=10)


#: Helm's exact messages for a chart that a repository or a registry does not have.
_NO_SUCH_CHART = re.compile(
    r"no chart (version|name) found|chart \"[^\"]*\" (version|matching) .*not found in|improper constraint"
    r"|FetchReference\" on source: \S+: not found$|\b(MANIFEST|NAME)_UNKNOWN\b"
)
#: Helm's messages when a login is required; we support only charts without login. Docker Hub and others
#: send the same answer for charts that they do not have.
_LOGIN = re.compile(r"status code 40[13]\b|: 40[13] (Unauthorized|Forbidden)|credential not found")


def sdk() -> ModuleType:
    """Return Helm's SDK, imported at its first use.

    This saves 50 MB in processes that never install a chart.
    """
    return importlib.import_module("helm_python")


class ChartStore:
    """A store of charts for the lifetime of a process, in one event loop.

    All callers of the same chart wait for the same fetch, and block no thread meanwhile. A chart waits only
    for its own repository.
    """

    def __init__(self) -> None:
        self._loaded: OrderedDict[Chart, Any] = OrderedDict()
        self._fetches: dict[Chart, _Fetch] = {}
        # Each pull is a process of 70 MB, so allow one at a time for each repository, of which there are
        # few.
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        # Reading uses the CPU; keep it apart from Helm's calls, so that no uninstall waits for a chart.
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="charts")

    async def close(self) -> None:
        """Drop all charts and cancel the fetches; a repository that hangs does not block this.

        A pull is a process: it is killed, and its folder removed. The read of a local file ends by itself.
        """
        tasks = [fetch.task for fetch in self._fetches.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._reading.shutdown(wait=False, cancel_futures=True)
        self._loaded.clear()

    async def load(self, system: str, chart: Chart) -> Any:
        """Return the chart as a `helm_python.Chart`.

        It waits at most `LOAD_TIMEOUT`. A cancelled call ends at once; the fetch continues for other callers.

        Raises:
            Rejected: the chart is not available.
            Unreachable: its availability is not known yet.
        """
        if chart in self._loaded:
            self._loaded.move_to_end(chart)
            return self._loaded[chart]
        fetch = self._fetches.get(chart) or self._begin(chart)
        now = asyncio.get_running_loop().time()
        # Use `wait` and not `await`, because a cancelled caller must not cancel the fetch for the others.
        await asyncio.wait({fetch.task}, timeout=max(0.0, fetch.overdue_at - now))
        if fetch.task.done():
            found = fetch.task.result()
        else:
            where = chart.repository or chart.name
            detail = f"the chart repository {where} did not answer within {LOAD_TIMEOUT.total_seconds():g} s"
            found = _Unavailable(Unreachable, detail)
        if isinstance(found, _Unavailable):
            raise found.kind(system, f"load chart {chart.name} {chart.version}", found.detail)
        return found

    def _begin(self, chart: Chart) -> "_Fetch":
        overdue_at = asyncio.get_running_loop().time() + LOAD_TIMEOUT.total_seconds()
        self._fetches[chart] = _Fetch(asyncio.create_task(self._fetched(chart)), overdue_at)
        return self._fetches[chart]

    async def _fetched(self, chart: Chart) -> "Any | _Unavailable":
        """Fetch the chart and cache it, or cache for a while why it is not available."""
        try:
            loaded = await self._fetch(chart)
        except BaseException:
            # The fetch was cancelled by `close` or failed by a fault of ours, so the next caller must not
            # get its result.
            del self._fetches[chart]
            raise
        if isinstance(loaded, _Unavailable):
            loop = asyncio.get_running_loop()
            loop.call_later(FAILURE_CACHE_TTL.total_seconds(), self._fetches.pop, chart, None)
            return loaded
        del self._fetches[chart]
        self._loaded[chart] = loaded
        while len(self._loaded) > MAX_CACHED_CHARTS:
            # Do not close the chart here, because a thread may be installing it; its last reference frees
            # it.
            self._loaded.popitem(last=False)
        return loaded

    async def _fetch(self, chart: Chart) -> "Any | _Unavailable":
        repository = chart.repository or ""
        if not repository.startswith(("http://", "https://", "oci://")):
            return await self._read(chart, _local_path(repository, chart))
        with tempfile.TemporaryDirectory(prefix="moorage-chart-") as folder:
            try:
                async with self._turns[repository]:
                    with traced_request("chart repository", f"pull chart {chart.name} {chart.version}"):
                        archive = await pull(repository.rstrip("/"), chart.name, chart.version, Path(folder))
            except PullFailed as error:
                return _map_pull_failure(chart, " ".join(str(error).split()))
            return await self._read(chart, archive)

    async def _read(self, chart: Chart, path: Path) -> "Any | _Unavailable":
        return await asyncio.get_running_loop().run_in_executor(self._reading, _read, chart, path)


@dataclass(frozen=True)
class _Unavailable:
    """Why a chart is not available; shared by all callers, each of which raises its own error."""

    kind: type[Rejected] | type[Unreachable]
    detail: str


@dataclass(frozen=True)
class _Fetch:
    """A fetch shared by all callers of a chart; `overdue_at` is by the event loop's clock."""

    task: "asyncio.Task[Any | _Unavailable]"
    overdue_at: float


def _local_path(folder: str, chart: Chart) -> Path:
    """Return the path of a chart that need not be pulled."""
    return Path(folder, f"{chart.name}-{chart.version}.tgz") if folder else Path(chart.name).expanduser()


def _read(chart: Chart, path: Path) -> "Any | _Unavailable":
    """Read the chart with that version from `path`; this blocks."""
    if not path.exists():
        return _Unavailable(Rejected, f"there is no chart at {path}")
    if chart.digest and (problem := _digest_problem(chart, path)):
        return _Unavailable(Rejected, problem)
    helm = sdk()
    try:
        loaded = helm.Chart.load(path)
    except helm.HelmError as error:
        return _Unavailable(Rejected, f"it is no chart: {error}")
    if _without_prefix(loaded.version) != _without_prefix(chart.version):
        detail = f"the chart at {chart.name} is of version {loaded.version}, not {chart.version}"
        return _Unavailable(Rejected, detail)
    return loaded


def _digest_problem(chart: Chart, path: Path) -> str:
    """Return why the chart at `path` is not the one with the chart's digest, or ""; this blocks."""
    if path.is_dir():
        return f"the chart at {path} is a folder, and only a packaged chart has a digest: package it"
    try:
        with path.open("rb") as archive:
            found = f"sha256:{hashlib.file_digest(archive, 'sha256').hexdigest()}"
    except OSError as error:
        return f"the chart at {path} cannot be read: {error.strerror}"
    where = chart.repository or path
    return "" if found == chart.digest else f"{where} serves a chart with digest {found}, not {chart.digest}"


def _map_pull_failure(chart: Chart, text: str) -> _Unavailable:
    """Return why a repository did not give a chart: it has none, or it could not be reached."""
    if _NO_SUCH_CHART.search(text):
        detail = f"{chart.repository} has no version {chart.version} of the chart {chart.name}"
        return _Unavailable(Rejected, detail)
    if _LOGIN.search(text):
        detail = f"{chart.repository} requires a login, or has no chart {chart.name}: {text}"
        return _Unavailable(Rejected, detail)
    return _Unavailable(Unreachable, f"the chart repository {chart.repository}: {text}")


def _without_prefix(version: str) -> str:
    return version.removeprefix("v")
