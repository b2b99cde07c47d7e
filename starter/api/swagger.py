"""Swagger UI for the API, from installed files: the page loads no script from another host."""

import base64
import hashlib
import re
from importlib.resources import files

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles
from starlette.responses import HTMLResponse

DOCS_PATH = "/docs"
_FILES_PATH = f"{DOCS_PATH}/files"
#: The developers' page is at the same origin, so a script that got in here could act as the signed-in person.
#: Swagger UI has styles and pictures in itself, and the one script of the page starts it.
_POLICY = (
    "default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def add_docs(app: FastAPI) -> None:
    """Serve Swagger UI at `/docs`, with files from the package fastapi-offline."""
    app.mount(_FILES_PATH, StaticFiles(directory=str(files("fastapi_offline") / "static")))

    # Use paths relative to the page, so that they also work behind a proxy that serves the API under a
    # prefix.
    files_of_page, document = _FILES_PATH.lstrip("/"), str(app.openapi_url).lstrip("/")

    @app.get(DOCS_PATH, include_in_schema=False)
    async def docs() -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url=document,
            title=f"{app.title} API",
            swagger_js_url=f"{files_of_page}/swagger-ui-bundle.js",
            swagger_css_url=f"{files_of_page}/swagger-ui.css",
            swagger_favicon_url=f"{files_of_page}/favicon.png",
        )
        page.headers.update(
            {
                "Content-Security-Policy": _POLICY.format(scripts=_hashes_of(bytes(page.body).decode())),
                "X-Content-Type-Options": "nosniff",
                "Referrer-Policy": "same-origin",
            }
        )
        return page


def _hashes_of(html: str) -> str:
    """Return the sources that allow the scripts which are in the page."""
    digests = (hashlib.sha256(script.encode()).digest() for script in _SCRIPT.findall(html))
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
