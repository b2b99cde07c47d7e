"""The API's answers as the command line reads them, from the server's models."""

import importlib
import inspect
import pkgutil
from typing import Any

from pydantic import BaseModel

from starter.cli import views
from starter.cli.views.base import View, parse

#: All views of the command line, by name.
VIEWS: dict[str, Any] = {
    each.__name__: each
    for module in pkgutil.iter_modules(views.__path__, f"{views.__name__}.")
    for each in vars(importlib.import_module(module.name)).values()
    if inspect.isclass(each) and issubclass(each, View) and each is not View
}


def client_view(model: BaseModel) -> Any:
    """Return the client's view of a response model: the class with the same name."""
    return parse(model.model_dump(mode="json"), VIEWS[type(model).__name__])
