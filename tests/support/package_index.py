"""A package index on loopback, of empty wheels that the test makes: PEP 503's pages, with hashes."""

import base64
import hashlib
import html
import io
import threading
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class EmptyWheel:
    """A wheel with nothing in it but its metadata, for every Python and platform."""

    name: str
    version: str
    requires: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()

    @property
    def filename(self) -> str:
        return f"{self.name.replace('-', '_')}-{self.version}-py3-none-any.whl"

    def content(self) -> bytes:
        folder = f"{self.name.replace('-', '_')}-{self.version}.dist-info"
        metadata = [
            "Metadata-Version: 2.1",
            f"Name: {self.name}",
            f"Version: {self.version}",
            *(f"Provides-Extra: {extra}" for extra in self.extras),
            *(f"Requires-Dist: {requirement}" for requirement in self.requires),
        ]
        files = {
            f"{folder}/METADATA": "\n".join(metadata) + "\n",
            f"{folder}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = "".join(
            f"{name},sha256={_digest(text.encode())},{len(text.encode())}\n" for name, text in files.items()
        )
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as wheel:
            for name, text in {**files, f"{folder}/RECORD": f"{record}{folder}/RECORD,,\n"}.items():
                # A fixed time: the same wheel has the same hash in every run.
                wheel.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), text)
        return buffer.getvalue()


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


@dataclass
class PackageIndex:
    """Serves the wheels on 127.0.0.1 while the with-block runs; `served` are the files that went out."""

    wheels: Iterable[EmptyWheel]
    served: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._files = {wheel.filename: wheel.content() for wheel in self.wheels}
        self._pages: dict[str, list[str]] = {}
        for wheel in self.wheels:
            self._pages.setdefault(wheel.name, []).append(wheel.filename)
        index = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                kind, content = index.answer(self.path)
                self.send_response(200 if kind else 404)
                self.send_header("Content-Type", kind or "text/plain")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/simple/"

    def answer(self, path: str) -> tuple[str, bytes]:
        """Return content type and body for a path; no content type for what is not there."""
        parts = path.strip("/").split("/")
        if parts[0] == "files" and parts[-1] in self._files:
            self.served.append(parts[-1])
            return "application/octet-stream", self._files[parts[-1]]
        if parts[0] == "simple" and len(parts) == 2 and parts[1] in self._pages:
            links = "".join(self._link(name) for name in self._pages[parts[1]])
            return "text/html", f"<!DOCTYPE html><html><body>{links}</body></html>".encode()
        return "", b"not here"

    def _link(self, filename: str) -> str:
        digest = hashlib.sha256(self._files[filename]).hexdigest()
        return f'<a href="/files/{filename}#sha256={digest}">{html.escape(filename)}</a>\n'


def lock_of(wheels: Iterable[EmptyWheel]) -> str:
    """Return the lock file that pins exactly these wheels."""
    return "".join(
        f"{wheel.name}=={wheel.version} \\\n    --hash=sha256:{hashlib.sha256(wheel.content()).hexdigest()}\n"
        for wheel in wheels
    )


def environment_of(index: PackageIndex, environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which pip knows this index and no other source of packages."""
    kept = {name: value for name, value in environment.items() if not name.startswith("PIP_")}
    return kept | {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": index.url,
        "PIP_NO_CACHE_DIR": "1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
