"""Values for the shell's completion, from the API; none if it does not answer quickly.

Other people have chosen some of them: an address may have a backquote, and the name of a team any character.
A value that means more than itself to a shell is left out, because the script by which kubectl completes in
bash expands the values, commands included, and all shells insert them as they are.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import click

from starter.cli.connection_options import Complete, connection_options_of
from starter.cli.errors import CliError

#: Timeout of completion: the shell waits for suggestions while a user types, so none are better than late
#: ones.
COMPLETION_SECONDS = 1.5
#: Values that every shell takes as they are: they are no option, pattern, expansion or message of Cobra's.
_PLAIN = re.compile(r"[^\W_][\w.,:@/+=% -]*")


def complete_environment(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of environments."""
    return _values(ctx, "environments", incomplete)


def complete_owner(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the addresses of the owners of environments."""
    return _values(ctx, "environments", incomplete, field="owner")


def complete_template(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of templates."""
    return _values(ctx, "templates", incomplete)


def complete_booking(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of events that are booked."""
    return _values(ctx, "bookings", incomplete, field="event")


def complete_host(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of hosts."""
    return _values(ctx, "capacity", incomplete, section="hosts")


def complete_team(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of the user's teams."""
    found = _values(ctx, "capacity", f"team {incomplete}", section="quotas", field="whose")
    return [name.removeprefix("team ") for name in found]


def complete_label(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the labels of environments."""
    found = _entries(ctx, "environments", {"limit": 200})
    labels = (row.get("labels") for row in found)
    pairs = (each.items() for each in labels if isinstance(each, dict))
    return offered((f"{key}={value}" for items in pairs for key, value in items), incomplete)


def complete_parameter(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the parameters of the template in the command, as NAME= or NAME=CHOICE."""
    from starter.cli.client.api_paths import template_path

    template = _argument(ctx, "template")
    if template is None:
        return []
    parameters = _answer(ctx, template_path(template), {}).get("parameters")
    found: list[str] = []
    for name, parameter in parameters.items() if isinstance(parameters, dict) else ():
        choices = (
            ["true", "false"] if parameter.get("type") == "boolean" else parameter.get("choices") or [""]
        )
        found += [f"{name}={choice}" for choice in choices]
    return offered(found, incomplete)


def complete_snapshot(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the numbers of the snapshots of the environment in the command."""
    from starter.cli.client.api_paths import environment_path

    try:
        found = _entries(ctx, environment_path(_argument(ctx, "name") or ""), {}, "snapshots")
    except CliError:
        return []
    return offered((str(one.get("number")) for one in found if one.get("taken_at")), incomplete)


def complete_context(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of contexts for the shell's completion."""
    from starter.cli.client.contexts import read_contexts

    try:
        return offered(read_contexts().by_name, incomplete)
    except CliError:
        return []


def offered(values: Iterable[object], incomplete: str) -> list[str]:
    """Return the values that begin with the incomplete one and that a shell takes as they are, sorted."""
    texts = {value for value in values if isinstance(value, str)}
    return sorted(text for text in texts if text.startswith(incomplete) and _PLAIN.fullmatch(text))


def one_of(*values: str) -> Complete:
    """Return the completion of an option with these values."""

    def complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete)]

    return complete


def _argument(ctx: click.Context, name: str) -> str | None:
    """Return an argument of the command, if it has one already."""
    value = ctx.params.get(name)
    if not isinstance(value, str):
        # Click does not assign arguments before an option that has no value yet.
        names = [each.name for each in ctx.command.params if isinstance(each, click.Argument)]
        value = dict(zip(names, ctx.args, strict=False)).get(name)
    return value


def _values(
    ctx: click.Context, path: str, incomplete: str, *, section: str = "", field: str = "name"
) -> list[str]:
    query = {"limit": 200} if path == "environments" else {}
    entries = _entries(ctx, path, query, section)
    return offered((entry.get(field) for entry in entries), incomplete)


def _entries(
    ctx: click.Context, path: str, query: Mapping[str, Any], section: str = ""
) -> list[dict[str, Any]]:
    """Return the objects in a section of an answer of the API; none if it does not answer quickly."""
    entries = _answer(ctx, path, query).get(section or path)
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _answer(ctx: click.Context, path: str, query: Mapping[str, Any]) -> dict[str, Any]:
    from starter.cli.client.api import Api
    from starter.cli.client.connection import find_connection

    try:
        connection = find_connection(connection_options_of(ctx))
        with Api(connection, timeout=COMPLETION_SECONDS, tries=1, quiet=True) as api:
            answer = api.call("GET", path, query=query)
            return answer if isinstance(answer, dict) else {}
    except CliError:
        return {}
