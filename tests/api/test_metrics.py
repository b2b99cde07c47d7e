"""Metrics of the API: what they count, and that they are on their own address only."""

import asyncio
import re
import time
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from starter.api.server import _metrics_on
from starter.config_files import reloading
from starter.http_server.sockets import open_listening_socket
from starter.monitoring.metrics import ApiMetrics
from tests.api.application import DEVELOPER, PLATFORM, an_app, bearer
from tests.starter.test_catalogue import GOOD
from tests.support.stand_ins import TLS


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloading, "LOOK_EVERY_SECONDS", 0.0)


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All values, by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def http(app: object, **options: object) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url="http://api", **options)  # type: ignore[arg-type]


async def scraped(app: object) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    async with http(app.state.metrics.app()) as client:  # type: ignore[attr-defined]
        answer = await client.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/plain")
        return samples(answer.text)


async def test_a_broken_template_is_counted_until_it_is_mended(tmp_path: Path) -> None:
    templates = tmp_path / "templates"
    templates.mkdir()
    for name in ("small", "medium", "large"):
        (templates / f"{name}.yaml").write_text(GOOD.replace("small", name))
    app = await an_app(tmp_path, MOORAGE_TEMPLATES=str(templates))

    async def unusable() -> tuple[float, float]:
        found = await scraped(app)
        return found["moorage_template_files_unusable", ()], found["moorage_tokens_files_unusable", ()]

    assert await unusable() == (0, 0)
    (templates / "small.yaml").write_text("oops")
    (templates / "large.yaml").write_text("version: x\nsize: y\n")
    assert await unusable() == (2, 0)
    (tmp_path / "tokens.yaml").write_text("oops")
    assert await unusable() == (2, 1)
    (templates / "small.yaml").write_text(GOOD)
    assert await unusable() == (1, 1)
    (templates / "large.yaml").unlink()
    assert await unusable() == (0, 1)


async def test_requests_are_counted_by_route_and_status(tmp_path: Path) -> None:
    """Ensures that neither names nor methods that callers invent become labels."""
    app = await an_app(tmp_path)
    async with http(app) as client:
        for _ in range(2):
            assert (await client.get("/healthz")).status_code == 200
        for name in ("one", "two", "three"):
            assert (await client.get(f"/api/v1/environments/{name}")).status_code == 401
            await client.get(f"/api/v1/templates/{name}", headers=bearer(DEVELOPER))
            await client.get(f"/nowhere/{name}", headers=bearer(PLATFORM))
            await client.request(f"X{name}", "/healthz")
        assert (await client.get("/api/v1/templates", headers=bearer(DEVELOPER))).status_code == 200
    found = await scraped(app)
    counts = {
        tuple(value for _, value in labels): count
        for (name, labels), count in found.items()
        if name == "moorage_api_request_duration_seconds_count"
    }
    assert counts[("GET", "/healthz", "200")] == 2
    assert counts[("GET", "none", "401")] == 3
    assert counts[("GET", "/templates", "200")] == 1
    assert counts[("other", "/healthz", "405")] == 3
    assert not [labels for labels in counts if {"one", "two", "three"} & {*re.split(r"\W+", labels[1])}]
    [version] = [labels for name, labels in found if name == "moorage_build_info"]
    assert dict(version)["version"]


#: What the reads of the test cost: seconds of processor.
READ_SECONDS = 0.02


class Slow(Collector):
    """Takes its time, as many series do, and keeps when it was read."""

    def __init__(self) -> None:
        self.reads: list[tuple[float, float]] = []

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> list[Metric]:
        began, used = time.monotonic(), time.thread_time()
        while time.thread_time() - used < READ_SECONDS:
            pass
        self.reads.append((began, time.monotonic()))
        return [GaugeMetricFamily("reads", "So far.", value=len(self.reads))]


async def test_scrapers_take_a_small_share_of_the_process() -> None:
    """Ensures that, however many ask at once and however often, and that no scraper gets former values."""
    metrics, slow = ApiMetrics("1", lambda: 0, lambda: 0), Slow()
    metrics.registry.register(slow)
    async with http(metrics.app()) as client:

        async def scrape() -> None:
            before = len(slow.reads)
            answer = await client.get("/metrics")
            assert samples(answer.text)["reads", ()] > before

        await asyncio.gather(*(scrape() for _ in range(40)))
        assert len(slow.reads) <= 3
        for _ in range(2):
            await scrape()
    for (_, ended), (next_began, _) in pairwise(slow.reads):
        assert next_began - ended >= 9 * READ_SECONDS


async def test_metrics_are_not_on_the_public_address(tmp_path: Path) -> None:
    app = await an_app(tmp_path)
    async with http(app) as client:
        for headers in ({}, bearer(PLATFORM)):
            for path in ("/metrics", "/api/v1/metrics", "/metrics/"):
                assert (await client.get(path, headers=headers)).status_code in (401, 404)
    with open_listening_socket("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        async with _metrics_on(app, listening), httpx.AsyncClient(trust_env=False, verify=TLS) as client:
            assert "moorage_build_info" in (await client.get(f"http://127.0.0.1:{port}/metrics")).text
            for path in ("/", "/healthz", "/api/v1/templates"):
                answer = await client.get(f"http://127.0.0.1:{port}{path}", headers=bearer(PLATFORM))
                assert answer.status_code == 404
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)
