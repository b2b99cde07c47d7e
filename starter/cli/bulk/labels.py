"""Labels on the command line, and the environments that have them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from contracts.types.labels import are_selected, ensure_selector, parse_label
from starter.cli.errors import CliError, Code
from starter.cli.views.environments import EnvironmentView

if TYPE_CHECKING:
    from starter.cli.client.api import Api

_PAGE_SIZE = 200


def parse_labels(texts: Sequence[str]) -> dict[str, str]:
    """Return the labels of the options; raise UsageError for one that is none."""
    try:
        return dict(parse_label(text) for text in texts)
    except ValueError as error:
        raise click.UsageError(f"--label: {error}") from None


def labelled_environments(api: "Api", selectors: Sequence[str]) -> list[EnvironmentView]:
    """Return the current environments that all selectors match, and that the user may see.

    The list finds them, and each is read itself, because nothing is deleted on the word of an index.

    Raises:
        CliError: There is none.
    """
    try:
        for selector in selectors:
            ensure_selector(selector)
    except ValueError as error:
        raise click.UsageError(f"--label: {error}") from None
    names: list[str] = []
    cursor = None
    while True:
        query: dict[str, Any] = {"label": list(selectors), "limit": _PAGE_SIZE, "cursor": cursor}
        page = api.call("GET", "environments", query=query)
        names += [row["name"] for row in page["environments"]]
        cursor = page["next"]
        if not cursor:
            break
    views = [view for view in map(api.environment, names) if are_selected(view.labels, selectors)]
    if found := [view for view in views if not view.ended]:
        return found
    raise CliError(Code.NOT_FOUND, f"no environment has the label {' and '.join(selectors)}")
