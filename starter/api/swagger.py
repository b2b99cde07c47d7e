"""Swagger UI for the API, from installed files: the page loads no script from another host."""

from importlib.resources import files

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles
from starlette.responses import HTMLResponse

DOCS_PATH = "/docs"
_FILES_PATH = f"{DOCS_PATH}/files"


def add_docs(app: FastAPI) -> None:
    """Serve Swagger UI at `/docs`, with files from the package fastapi-offline."""
    app.mount(_FILES_PATH, StaticFiles(directory=str(files("fastapi_offline") / "static")))

    # Use paths relative to the page, so that they also work behind a proxy that serves the API under a
    # prefix.
    files_of_page, document = _FILES_PATH.lstrip("/"), str(app.openapi_url).lstrip("/")

    @app.get(DOCS_PATH, include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url=document,
            title=f"{app.title} API",
            swagger_js_url=f"{files_of_page}/swagger-ui-bundle.js",
            swagger_css_url=f"{files_of_page}/swagger-ui.css",
            swagger_favicon_url=f"{files_of_page}/favicon.png",
        )
