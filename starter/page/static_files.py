"""The style, the script and the icons of the page, kept in memory.

Their addresses have a digest of their content, so that browsers keep them for good, and get another address
for another content.
"""

import gzip
import hashlib
from dataclasses import dataclass
from importlib.resources import files

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_YEAR = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class StaticFile:
    """A file, as it is and compressed."""

    content: bytes
    compressed: bytes
    media_type: str
    digest: str


def _load() -> dict[str, StaticFile]:
    found = {}
    for file in files("starter.page").joinpath("static").iterdir():
        ending = file.name.rpartition(".")[2]
        if ending in _TYPES:
            content = file.read_bytes()
            # Without a time in it, so that all replicas of the API send the same.
            compressed = gzip.compress(content, mtime=0)
            digest = hashlib.sha256(content).hexdigest()[:16]
            found[file.name] = StaticFile(content, compressed, _TYPES[ending], digest)
    return found


FILES = _load()


def static_path(name: str) -> str:
    """Return the path of a file, with the digest of its content."""
    return f"/static/{name}?v={FILES[name].digest}"


def add_to(pages: FastAPI) -> None:
    """Serve the files. They are public: the sign-in pages need them too."""

    @pages.get("/static/{name}")
    async def static_file(name: str, request: Request) -> Response:
        file = FILES.get(name)
        if file is None:
            raise HTTPException(404)
        is_current = request.query_params.get("v") == file.digest
        headers = {"Cache-Control": _YEAR if is_current else "no-cache", "Vary": "Accept-Encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(file.compressed, media_type=file.media_type, headers=headers)
        return Response(file.content, media_type=file.media_type, headers=headers)
