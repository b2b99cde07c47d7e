"""Charts by where they are: an HTTP repository, an OCI registry, a folder, a path. Each is fetched once.

Loaded ones are kept, a few, because a chart is large and every environment of a template uses the same.
"""

import asyncio
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
from clients.helm.chart_pull import NotPulled, pull
from clients.host import Chart

#: Calls of Helm at once. Each takes a second or two and holds a whole rendered chart: more would only cost.
THREADS = 4
#: Loaded charts that are kept; a catalogue has a few versions in use at once.
KEPT = 4
#: How long a fetch is waited for, from its beginning and whoever waits: a chart takes a second or two.
#: Shorter than the 40 s that the command line waits for the API, which asks for charts. Later ones are kept.
PATIENCE = timedelta(seconds=30)
#: How long a failure is the answer for all who ask: it spares a repository that is down the many steps that
#: try again, and costs hardly anything once it is back.
REMEMBERED = timedelta(seconds=10)


#: What Helm says, word for word, of a chart that a repository or a registry does not have.
_NO_SUCH_CHART = re.compile(
    r"no chart (version|name) found|chart \"[^\"]*\" (version|matching) .*not found in|improper constraint"
    r"|FetchReference\" on source: \S+: not found$|\b(MANIFEST|NAME)_UNKNOWN\b"
)
#: And where it would have had to say who it is: charts are to be had without that. Docker Hub and others
#: answer so as well for what they do not have.
_LOGIN = re.compile(r"status code 40[13]\b|: 40[13] (Unauthorized|Forbidden)|credential not found")


def sdk() -> ModuleType:
    """Helm's SDK, loaded with its first use: 50 MB that a process which never installs does not pay for."""
    return importlib.import_module("helm_python")


class Charts:
    """A store of charts for the life of a process, in one event loop.

    All who want a chart wait for the same fetch, and hold no thread meanwhile. No chart waits for a
    repository that is not its own.
    """

    def __init__(self) -> None:
        self._loaded: OrderedDict[Chart, Any] = OrderedDict()
        self._fetches: dict[Chart, _Fetch] = {}
        # Each pull is a process of 70 MB: one at a time from each repository, of which there are few.
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        # Reading is the processor's work, and apart from Helm's calls: no uninstall waits for a chart.
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="charts")

    async def close(self) -> None:
        """Forget all charts, and end what is being fetched: a repository that hangs does not hold up this.

        A pull is a process: it is killed, and its folder removed. The read of a local file ends by itself.
        """
        tasks = [fetch.task for fetch in self._fetches.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._reading.shutdown(wait=False, cancel_futures=True)
        self._loaded.clear()

    async def load(self, system: str, chart: Chart) -> Any:
        """The chart, a `helm_python.Chart`. Rejected if it is not to be had, Unreachable if nobody knows yet.

        It waits no longer than `PATIENCE`. Cancelled, it ends at once; the fetch goes on, for others.
        """
        if chart in self._loaded:
            self._loaded.move_to_end(chart)
            return self._loaded[chart]
        fetch = self._fetches.get(chart) or self._begin(chart)
        now = asyncio.get_running_loop().time()
        # Not awaited itself: who is cancelled must not cancel it for the others.
        await asyncio.wait({fetch.task}, timeout=max(0.0, fetch.overdue_at - now))
        if fetch.task.done():
            found = fetch.task.result()
        else:
            where = chart.repository or chart.name
            detail = f"the chart repository {where} gives no answer within {PATIENCE.total_seconds():g} s"
            found = _NotHad(Unreachable, detail)
        if isinstance(found, _NotHad):
            raise found.kind(system, f"load chart {chart.name} {chart.version}", found.detail)
        return found

    def _begin(self, chart: Chart) -> "_Fetch":
        overdue_at = asyncio.get_running_loop().time() + PATIENCE.total_seconds()
        self._fetches[chart] = _Fetch(asyncio.create_task(self._fetched(chart)), overdue_at)
        return self._fetches[chart]

    async def _fetched(self, chart: Chart) -> "Any | _NotHad":
        """The chart, which is then kept, or why there is none, which is remembered for a while."""
        try:
            loaded = await self._fetch(chart)
        except BaseException:
            # Closed in its middle, or a fault of ours: nothing that the next one has to hear.
            del self._fetches[chart]
            raise
        if isinstance(loaded, _NotHad):
            loop = asyncio.get_running_loop()
            loop.call_later(REMEMBERED.total_seconds(), self._fetches.pop, chart, None)
            return loaded
        del self._fetches[chart]
        self._loaded[chart] = loaded
        while len(self._loaded) > KEPT:
            # Not closed here: a thread may be installing it. It goes with its last user.
            self._loaded.popitem(last=False)
        return loaded

    async def _fetch(self, chart: Chart) -> "Any | _NotHad":
        repository = chart.repository or ""
        if not repository.startswith(("http://", "https://", "oci://")):
            return await self._read(chart, _place(repository, chart))
        with tempfile.TemporaryDirectory(prefix="moorage-chart-") as folder:
            try:
                async with self._turns[repository]:
                    archive = await pull(repository.rstrip("/"), chart.name, chart.version, Path(folder))
            except NotPulled as error:
                return _not_pulled(chart, " ".join(str(error).split()))
            return await self._read(chart, archive)

    async def _read(self, chart: Chart, path: Path) -> "Any | _NotHad":
        return await asyncio.get_running_loop().run_in_executor(self._reading, _read, chart, path)


@dataclass(frozen=True)
class _NotHad:
    """Why a chart is not to be had: the same for all who asked, each of whom raises an error of its own."""

    kind: type[Rejected] | type[Unreachable]
    detail: str


@dataclass(frozen=True)
class _Fetch:
    """A fetch that all wait for who want the chart; `overdue_at` by the event loop's clock."""

    task: "asyncio.Task[Any | _NotHad]"
    overdue_at: float


def _place(folder: str, chart: Chart) -> Path:
    """Where a chart is that need not be pulled."""
    return Path(folder, f"{chart.name}-{chart.version}.tgz") if folder else Path(chart.name).expanduser()


def _read(chart: Chart, path: Path) -> "Any | _NotHad":
    """The chart of that version at `path`. It blocks."""
    if not path.exists():
        return _NotHad(Rejected, f"there is no chart at {path}")
    helm = sdk()
    try:
        loaded = helm.Chart.load(path)
    except helm.HelmError as error:
        return _NotHad(Rejected, f"it is no chart: {error}")
    if _plain(loaded.version) != _plain(chart.version):
        detail = f"the chart at {chart.name} is of version {loaded.version}, not {chart.version}"
        return _NotHad(Rejected, detail)
    return loaded


def _not_pulled(chart: Chart, text: str) -> _NotHad:
    """Why a repository did not give a chart: it has none such, or it could not be asked."""
    if _NO_SUCH_CHART.search(text):
        detail = f"{chart.repository} has no version {chart.version} of the chart {chart.name}"
        return _NotHad(Rejected, detail)
    if _LOGIN.search(text):
        detail = f"{chart.repository} wants a login, or has no chart {chart.name}: {text}"
        return _NotHad(Rejected, detail)
    return _NotHad(Unreachable, f"the chart repository {chart.repository}: {text}")


def _plain(version: str) -> str:
    return version.removeprefix("v")
