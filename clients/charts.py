"""Charts by where they are: an HTTP repository, an OCI registry, a folder, a path. Each is fetched once.

Loaded ones are kept, a few, because a chart is large and every environment of a template uses the same.
"""

import importlib
import shutil
import tempfile
import threading
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

from clients.errors import Rejected, ServerFailed, Unreachable
from clients.host import Chart

#: Calls of Helm at once. Each takes a second or two and holds a whole rendered chart: more would only cost.
THREADS = 4
#: Loaded charts that are kept; a catalogue has a few versions in use at once.
KEPT = 4


def sdk() -> ModuleType:
    """Helm's SDK, loaded with its first use: 50 MB that a process which never installs does not pay for."""
    return importlib.import_module("helm_python")


class Charts:
    """A store of charts for the life of a process. Its methods block; they may be called from any thread."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._loaded: OrderedDict[Chart, Any] = OrderedDict()
        self._lock = threading.Lock()
        self._fetching: dict[Chart, threading.Lock] = {}

    def close(self) -> None:
        """Forget all charts, and remove what was downloaded."""
        with self._lock:
            self._loaded.clear()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = None

    def load(self, system: str, chart: Chart) -> Any:
        """The chart, a `helm_python.Chart`. Raises a `ClientError` that says why it is not to be had."""
        with self._lock:
            if chart in self._loaded:
                self._loaded.move_to_end(chart)
                return self._loaded[chart]
            one_at_a_time = self._fetching.setdefault(chart, threading.Lock())
        with one_at_a_time:
            with self._lock:
                if chart in self._loaded:
                    return self._loaded[chart]
            loaded = self._fetch(system, chart)
            with self._lock:
                self._loaded[chart] = loaded
                while len(self._loaded) > KEPT:
                    # Not closed here: another thread may be installing it. It goes with its last user.
                    self._loaded.popitem(last=False)
            return loaded

    def _fetch(self, system: str, chart: Chart) -> Any:
        operation = f"load chart {chart.name} {chart.version}"
        helm = sdk()
        repository = chart.repository or ""
        if repository.startswith(("http://", "https://", "oci://")):
            path = self._download(system, operation, chart)
        else:
            file = f"{chart.name}-{chart.version}.tgz"
            path = Path(repository, file) if repository else Path(chart.name).expanduser()
            if not path.exists():
                raise Rejected(system, operation, f"there is no chart at {path}")
        try:
            loaded = helm.Chart.load(path)
        except helm.HelmError as error:
            raise Rejected(system, operation, f"it is no chart: {error}") from None
        if _plain(loaded.version) != _plain(chart.version):
            detail = f"the chart at {chart.name} is of version {loaded.version}, not {chart.version}"
            raise Rejected(system, operation, detail)
        return loaded

    def _download(self, system: str, operation: str, chart: Chart) -> Path:
        repository = (chart.repository or "").rstrip("/")
        with self._lock:
            self._folder = self._folder or Path(tempfile.mkdtemp(prefix="moorage-charts-"))
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        helm = sdk()
        try:
            if repository.startswith("oci://"):
                helm.pull(f"{repository}/{chart.name}", version=chart.version, destination=folder)
            else:
                helm.pull(chart.name, repo_url=repository, version=chart.version, destination=folder)
        except helm.HelmError as error:
            raise _not_fetched(system, operation, chart, " ".join(str(error).split())) from None
        found = next(folder.glob("*.tgz"), None)
        if found is None:
            raise ServerFailed(system, operation, f"{repository} gave no chart", status=502, ambiguous=False)
        return found


def _not_fetched(system: str, operation: str, chart: Chart, text: str) -> Rejected | Unreachable:
    """Why a repository did not give a chart: it has none such, or it could not be asked."""
    unknown = ("not found", "no chart version", "no chart name", "MANIFEST_UNKNOWN", "improper constraint")
    if any(words in text for words in unknown) and "no such host" not in text:
        detail = f"{chart.repository} has no version {chart.version} of the chart {chart.name}"
        return Rejected(system, operation, detail)
    return Unreachable(system, operation, f"the chart repository {chart.repository}: {text}")


def _plain(version: str) -> str:
    return version.removeprefix("v")
