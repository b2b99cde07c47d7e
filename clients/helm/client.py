"""Helm's own Go SDK (`helm_python`) as a `clients.kubernetes.release.helm.Helm`.

Its calls block, so they run in a few threads of their own; charts are fetched before, without a thread. No
call waits for the start of its objects, because Helm's own wait hides why an object does not start.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from clients.errors import (
    AlreadyExists,
    ClientError,
    Denied,
    NotFound,
    Rejected,
    ServerFailed,
    Unreachable,
)
from clients.helm.chart_store import ChartStore, sdk
from clients.host.models import Chart
from clients.kubernetes.api.refusals import is_account_refusal, is_policy_denial, is_transient, missing_right
from clients.kubernetes.auth.credentials import CredentialSource
from clients.kubernetes.auth.kubeconfig import UnusableCredentials
from clients.transport.measured_calls import measured
from clients.transport.traced_requests import traced_request
from clients.transport.write_deadline import current_deadline_check, ensure_before_deadline

_T = TypeVar("_T")

#: Revisions of a release that Helm keeps: each is a Secret with the whole chart.
MAX_REVISIONS = 5
#: Helm's status of a revision that was once in force.
_GOOD_STATUS = frozenset({"deployed", "superseded"})


class HelmSdk:
    """Releases of one host through Helm's Go SDK; several hosts may share the charts and the threads."""

    def __init__(
        self, system: str, access: CredentialSource, charts: ChartStore, threads: ThreadPoolExecutor
    ) -> None:
        self.system = system
        self._access = access
        self._charts = charts
        self._threads = threads

    @measured
    async def install(
        self, namespace: str, name: str, chart: Chart, values: Mapping[str, Any], labels: Mapping[str, str]
    ) -> None:
        """Install the release without waiting for its start."""
        operation = f"install release {name}"
        loaded = await self._charts.load(self.system, chart)
        kubeconfig = await self._kubeconfig(operation)
        cancelling = sdk().HelmContext()

        is_late = current_deadline_check()

        def install() -> None:
            # Check this in the thread, because the wait for a free thread may have taken all the time.
            ensure_before_deadline(self.system, operation, is_late)
            with sdk().Config(namespace=namespace, kubeconfig_content=kubeconfig) as config:
                config.install(
                    loaded, name, dict(values), context=cancelling, namespace=namespace, labels=dict(labels)
                )

        try:
            await self._run(operation, install, cancel=cancelling.cancel)
        finally:
            cancelling.close()

    @measured
    async def upgrade(
        self, namespace: str, name: str, chart: Chart, values: Mapping[str, Any], labels: Mapping[str, str]
    ) -> None:
        """Upgrade the release without waiting for its pods; its former values do not count."""
        operation = f"upgrade release {name}"
        loaded = await self._charts.load(self.system, chart)
        kubeconfig = await self._kubeconfig(operation)
        cancelling = sdk().HelmContext()
        is_late = current_deadline_check()

        def upgrade() -> None:
            ensure_before_deadline(self.system, operation, is_late)
            with sdk().Config(namespace=namespace, kubeconfig_content=kubeconfig) as config:
                config.upgrade(
                    loaded,
                    name,
                    dict(values),
                    context=cancelling,
                    namespace=namespace,
                    reset_values=True,
                    max_history=MAX_REVISIONS,
                    labels=dict(labels),
                )

        try:
            await self._run(operation, upgrade, cancel=cancelling.cancel)
        finally:
            cancelling.close()

    @measured
    async def roll_back(self, namespace: str, name: str) -> None:
        """Restore the revision that was deployed last, which ends a pending call."""
        operation, is_late = f"roll back release {name}", current_deadline_check()
        kubeconfig = await self._kubeconfig(operation)

        def roll_back() -> None:
            ensure_before_deadline(self.system, operation, is_late)
            with sdk().Config(namespace=namespace, kubeconfig_content=kubeconfig) as config:
                history = config.history(name)
                deployed = [one["revision"] for one in history if one.get("status") in _GOOD_STATUS]
                if not deployed:
                    raise NotFound(self.system, operation, "no revision of it was ever deployed")
                config.rollback(name, version=max(deployed))

        await self._run(operation, roll_back)

    @measured
    async def uninstall(self, namespace: str, name: str) -> None:
        """Uninstall the release without waiting for the end of its pods."""
        operation, is_late = f"uninstall release {name}", current_deadline_check()
        kubeconfig = await self._kubeconfig(operation)

        def uninstall() -> None:
            ensure_before_deadline(self.system, operation, is_late)
            with sdk().Config(namespace=namespace, kubeconfig_content=kubeconfig) as config:
                config.uninstall(name)

        await self._run(operation, uninstall)

    async def check(self, chart: Chart, values: Mapping[str, Any]) -> None:
        """Check that the chart is available and accepts the values."""
        operation = f"check the values of chart {chart.name} {chart.version}"
        loaded = await self._charts.load(self.system, chart)

        def check() -> None:
            loaded.validate_schema(dict(values))
            if problem := kubernetes_version_problem(values, loaded.values):
                raise Rejected(self.system, operation, problem)

        await self._run(operation, check)

    async def render(
        self, namespace: str, name: str, chart: Chart, values: Mapping[str, Any]
    ) -> Mapping[str, str]:
        """Return the manifests that an install would create, by the chart's template files."""
        loaded = await self._charts.load(self.system, chart)

        def render() -> dict[str, str]:
            manifests: dict[str, str] = loaded.render(dict(values), name=name, namespace=namespace)
            return manifests

        return await self._run(f"render chart {chart.name} {chart.version}", render)

    async def _kubeconfig(self, operation: str) -> str:
        """Load the current credentials, the same as for our own calls."""
        try:
            return (await self._access.load()).kubeconfig()
        except UnusableCredentials as error:
            raise Denied(self.system, operation, str(error)) from None
        except TimeoutError as error:
            raise Unreachable(self.system, operation, str(error)) from None

    async def _run(
        self, operation: str, call: Callable[[], _T], *, cancel: Callable[[], None] | None = None
    ) -> _T:
        with traced_request(f"Helm at {self.system}", operation):
            return await self._run_in_thread(operation, call, cancel=cancel)

    async def _run_in_thread(
        self, operation: str, call: Callable[[], _T], *, cancel: Callable[[], None] | None = None
    ) -> _T:
        """Make the call in a thread; when cancelled, wait for its end: threads cannot be killed.

        A call that still waits for a free thread is not made any more.
        """
        job = self._threads.submit(call)
        running = asyncio.wrap_future(job)
        cancelled = False
        while not running.done():
            try:
                await asyncio.wait({running})
            except asyncio.CancelledError:
                if job.cancel():
                    raise
                cancelled = True
                if cancel is not None:
                    cancel()
        error = running.exception()
        if cancelled:
            raise asyncio.CancelledError
        if error is None:
            return running.result()
        if isinstance(error, ClientError):
            raise error
        # Use `from None`, because the SDK's error may quote values.
        raise map_helm_error(self.system, operation, error) from None


#: Helm's messages when a release with that name exists, in any status.
_NAME_IN_USE = re.compile(r"cannot re-?use a name|already exists")
_REFUSED = re.compile(r"is forbidden|is invalid|Invalid value|cannot be imported into")
#: Messages for a connection that was never established, so that no request was sent.
_NOT_CONNECTED = re.compile(r"connection refused|no such host|no route to host|i/o timeout.*dial|dial tcp")
_CUT = re.compile(r"EOF|connection reset|broken pipe|timeout|deadline exceeded|http2: |TLS handshake")
_UNAUTHORIZED = re.compile(r"Unauthorized|provide credentials|certificate signed by unknown authority")


def map_helm_error(system: str, operation: str, error: BaseException) -> ClientError:
    """Map an error of Helm to `clients.errors`; most of them differ only in their text."""
    helm = sdk()
    text = " ".join(str(error).split())
    if isinstance(error, helm.HelmNotFoundError):
        return NotFound(system, operation, text)
    if (
        isinstance(error, helm.HelmValuesError | helm.HelmRenderError)
        or "specifications of the schema" in text
    ):
        return Rejected(system, operation, schema_problem(str(error)))
    if is_policy_denial(text):
        return Rejected(system, operation, text, ambiguous=True)
    if missing := missing_right(text):
        return Denied(system, operation, missing, ambiguous=True)
    if is_account_refusal(text):
        return Denied(system, operation, text, ambiguous=True)
    if "webhook" in text and is_transient(text):
        # Check this before the messages about connections: here the API server could not reach another
        # system.
        return ServerFailed(system, operation, text, status=500)
    if _UNAUTHORIZED.search(text):
        return Denied(system, operation, text)
    if 'namespaces "' in text and "not found" in text:
        return NotFound(system, operation, text)
    if "cannot reuse a name" in text or _NAME_IN_USE.search(text):
        return AlreadyExists(system, operation, text)
    if _REFUSED.search(text) and not is_transient(text):
        return Rejected(system, operation, text, ambiguous=True)
    if isinstance(error, helm.HelmKubeError) and _NOT_CONNECTED.search(text):
        return Unreachable(system, operation, text)
    if _NOT_CONNECTED.search(text) or _CUT.search(text):
        return Unreachable(system, operation, text, ambiguous=True)
    if isinstance(error, helm.HelmChartLoadError | helm.HelmChartInvalidError):
        return Rejected(system, operation, text)
    return ServerFailed(system, operation, text, status=500)


def kubernetes_version_problem(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Return what is wrong with the Kubernetes version in a vCluster's values; "" if nothing.

    The result is also "" if the version cannot be determined. The chart's default is the newest version that
    its release supports; newer ones have APIs that its syncer does not support.
    """
    requested, newest = _version_at(values, "version"), _version_at(defaults, "image", "tag")
    if requested is None or newest is None or requested <= newest:
        return ""
    return f"it supports Kubernetes up to 1.{newest}, and the values request 1.{requested}"


def _version_at(values: Mapping[str, Any], *path: str) -> int | None:
    """Return the minor number of the Kubernetes 1 version at this path of the values."""
    found: Any = values
    for key in ("controlPlane", "distro", "k8s", *path):
        found = found.get(key) if isinstance(found, Mapping) else None
    match = re.match(r"v?1\.(\d+)", str(found or ""))
    return int(match[1]) if match else None


def schema_problem(text: str) -> str:
    """Return places and reasons from a schema error of a chart; any other text unchanged."""
    found = re.findall(r"- at '([^']*)': (?!validation failed)([^\n]+)", text)
    if not found:
        return text.removeprefix("execution error at ")
    return "; ".join(f"{path.strip('/').replace('/', '.') or 'the values'}: {why}" for path, why in found)
