"""Adds the developers' page to the application of the API."""

from fastapi import FastAPI

from worker.settings.models import Settings


def add_pages(app: FastAPI, settings: Settings) -> None:
    """Add the routes and the middleware of the page; `create_app` calls it after the API's middleware."""
