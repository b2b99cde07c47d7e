"""The API's answers as the command line reads them, from the server's models."""

import inspect
from typing import Any

from pydantic import BaseModel

from starter.cli.views import bookings as booking_views
from starter.cli.views import environments as views
from starter.cli.views import rollouts as rollout_views
from starter.cli.views import sweeps as sweep_views
from starter.cli.views import templates as template_views

#: All views of the command line, by name.
VIEWS: dict[str, Any] = {
    each.__name__: each
    for module in (views, booking_views, rollout_views, sweep_views, template_views)
    for each in vars(module).values()
    if inspect.isclass(each) and issubclass(each, views.View) and each is not views.View
}


def client_view(model: BaseModel) -> Any:
    """Return the client's view of a response model: the class with the same name."""
    return views.parse(model.model_dump(mode="json"), VIEWS[type(model).__name__])
