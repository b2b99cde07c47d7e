"""Paths of the API. Separate from its client, which takes long to import."""

from urllib.parse import quote

from contracts.types.environment_name import is_name
from starter.cli.errors import CliError, Code


def environment_path(name: str) -> str:
    """Return the path of an environment; raise CliError (not found) for an impossible name."""
    if not is_name(name):
        raise CliError(Code.NOT_FOUND, f'there is no environment "{name}": this is not a valid name')
    return f"environments/{name}"


def template_path(name: str) -> str:
    """Return the path of a template."""
    return f"templates/{quote(name, safe='')}"
