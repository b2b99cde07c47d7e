"""The API's answers as the command line reads them, from the server's models."""

from typing import Any

from pydantic import BaseModel

from starter.cli.client import views


def client_view(model: BaseModel) -> Any:
    """Return the client's view of a response model: the class with the same name."""
    return views.parse(model.model_dump(mode="json"), getattr(views, type(model).__name__))
