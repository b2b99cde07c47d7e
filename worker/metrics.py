"""The metrics of a worker process beside those of its workflows and activities, by Temporal's meter."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

from temporalio.client import Client
from temporalio.common import MetricMeter

from clients.transport.measured_calls import measure_calls
from contracts.telemetry.metrics import (
    BUILD_INFO,
    CALL_DURATION,
    CALLS,
    CERTIFICATE_EXPIRY,
    REFUSED_PAYLOADS,
    system_label,
)
from worker.certificates import Certificates
from worker.codec import DecodeError, KeyMissing
from worker.settings.models import HostWorkerSettings, Settings
from worker.version import installed_version

#: Certificates expire after months, and reading a few files takes milliseconds.
CERTIFICATES_INTERVAL = timedelta(minutes=10)


class WorkerMetrics:
    """What a worker process measures itself."""

    def __init__(self, meter: MetricMeter) -> None:
        self._calls = meter.create_counter(CALLS.name, CALLS.help)
        self._call_duration = meter.create_histogram_float(CALL_DURATION.name, CALL_DURATION.help)
        self._refused = meter.create_counter(REFUSED_PAYLOADS.name, REFUSED_PAYLOADS.help)
        self._expiry = meter.create_gauge_float(CERTIFICATE_EXPIRY.name, CERTIFICATE_EXPIRY.help)
        build = meter.create_gauge(BUILD_INFO.name, BUILD_INFO.help)
        build.set(1, {"component": "worker", "version": installed_version()})

    def count_refusal(self, error: DecodeError) -> None:
        """Count a payload whose key is missing.

        Others are rejected in a sound installation too: Temporal hands the result of a sweep to the next one,
        for which it is not.
        """
        if isinstance(error, KeyMissing):
            self._refused.add(1, {"reason": "key_missing"})

    def observe_call(self, system: str, result: str, seconds: float) -> None:
        """Count and measure a call to an outside system."""
        label = system_label(system)
        self._calls.add(1, {"system": label, "result": result})
        self._call_duration.record(seconds, {"system": label})

    def set_certificates(self, certificates: Certificates) -> None:
        """Set when each certificate expires."""
        for one in certificates.read():
            self._expiry.set(one.expires_at.timestamp(), {"certificate": one.use, "host": one.host})


@asynccontextmanager
async def measuring(
    metrics: WorkerMetrics, settings: Settings | HostWorkerSettings, client: Client
) -> AsyncIterator[None]:
    """Measure calls and certificates while the block runs."""
    certificates = await asyncio.to_thread(Certificates, settings, client)

    async def read_certificates() -> None:
        while True:
            await asyncio.to_thread(metrics.set_certificates, certificates)
            await asyncio.sleep(CERTIFICATES_INTERVAL.total_seconds())

    measure_calls(metrics.observe_call)
    reading = asyncio.create_task(read_certificates())
    try:
        yield
    finally:
        measure_calls(None)
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
