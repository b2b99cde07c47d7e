"""Charts from an OCI registry, over TLS and by its real protocol; Helm pulls them."""

import hashlib
import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import helm_python
import pytest

from embedded.host.tls import authority, server_certificate

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.cncf.helm.config.v1+json"
CONTENT = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
#: Go reads its trusted authorities from this variable only once, so the pull runs in its own process.
PULL = """
import asyncio
import sys
from clients.helm.chart_store import ChartStore
from clients.errors import ClientError
from clients.host.models import Chart

async def pull():
    charts = ChartStore()
    try:
        chart = await charts.load("h", Chart(sys.argv[1], "dock", sys.argv[2]))
        print(chart.name, chart.version)
    except ClientError as error:
        print(type(error).__name__, error)
    finally:
        await charts.close()

asyncio.run(pull())
"""


class Registry(http.server.BaseHTTPRequestHandler):
    """What a registry answers to one who pulls: manifests by tag or digest, blobs, tags."""

    blobs: dict[str, bytes] = {}
    tags: dict[str, str] = {}
    asked: list[str] = []
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.asked.append(self.path)
        what = self.path.removeprefix("/v2/charts/dock/").split("/")
        if self.path == "/v2/":
            self._answer(200, b"{}")
        elif what[0] == "tags":
            self._answer(200, json.dumps({"name": "charts/dock", "tags": list(self.tags)}).encode())
        elif what[0] == "manifests" and (digest := self.tags.get(what[1], what[1])) in self.blobs:
            self._answer(200, self.blobs[digest], MANIFEST, digest)
        elif what[0] == "blobs" and what[1] in self.blobs:
            self._answer(200, self.blobs[what[1]], "application/octet-stream", what[1])
        else:
            code = "MANIFEST_UNKNOWN" if what[0] == "manifests" else "NAME_UNKNOWN"
            self._answer(404, json.dumps({"errors": [{"code": code, "message": "unknown"}]}).encode())

    def _answer(self, status: int, body: bytes, kind: str = "application/json", digest: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: tests look at `asked`."""


def digest_of(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


@contextmanager
def registry(folder: Path, archive: bytes) -> Iterator[str]:
    """A registry that has the archive as charts/dock:1.2.3."""
    config = json.dumps({"name": "dock", "version": "1.2.3", "apiVersion": "v2"}).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": [{"mediaType": CONTENT, "digest": digest_of(archive), "size": len(archive)}],
    }
    body = json.dumps(manifest).encode()
    Registry.blobs = {digest_of(each): each for each in (config, archive, body)}
    Registry.tags = {"1.2.3": digest_of(body)}
    Registry.asked.clear()
    authority(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*server_certificate(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"oci://127.0.0.1:{server.server_port}/charts"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Where the registry is, and the file of who signed its certificate."""
    folder = tmp_path_factory.mktemp("registry")
    chart = folder / "dock"
    chart.mkdir()
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: dock\nversion: 1.2.3\n")
    with helm_python.Chart.load(chart) as loaded:
        archive = Path(loaded.save(folder)).read_bytes()
    with registry(folder, archive) as address:
        yield address, authority(folder)


def pull(address: str, version: str, trusted: Path | None) -> str:
    environment = {**os.environ, **({"SSL_CERT_FILE": str(trusted)} if trusted else {})}
    done = subprocess.run(
        [sys.executable, "-c", PULL, address, version],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    return done.stdout.strip()


def test_a_chart_of_a_registry(url: tuple[str, Path]) -> None:
    """Ensures that the pinned version is pulled, and loads."""
    address, trusted = url
    assert pull(address, "1.2.3", trusted) == "dock 1.2.3"
    assert any("/manifests/" in path for path in Registry.asked), "it did not come from the registry"


def test_a_version_that_the_registry_does_not_have(url: tuple[str, Path]) -> None:
    """Ensures that the error is a rejection, so that the pull is not tried again."""
    address, trusted = url
    said = pull(address, "9.9.9", trusted)
    assert said.startswith("Rejected ")
    assert f"{address} has no version 9.9.9 of the chart dock" in said


def test_a_registry_that_cannot_be_asked(url: tuple[str, Path]) -> None:
    """Ensures that an untrusted or unreachable registry is not reported as a missing version."""
    assert pull(url[0], "1.2.3", None).startswith("Unreachable ")
    assert pull("oci://127.0.0.1:1/charts", "1.2.3", None).startswith("Unreachable ")
