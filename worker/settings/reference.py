"""The table of all settings for docs/reference/settings.md, generated from the models."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined

from contracts.types.durations import format_duration
from worker.settings.models import SHIPPED_TEMPLATES, Settings
from worker.settings.sources import OTHER_VARIABLES, field_at, paths, variable


@dataclass(frozen=True)
class SettingDescription:
    """One setting: its variable, value form, default and meaning.

    The default is "" when it has none.
    """

    name: str
    form: str
    default: str
    meaning: str


def describe_settings() -> list[SettingDescription]:
    """Return every setting, in the order of the models."""
    return list(_describe(Settings))


def settings_table() -> str:
    """Return the table as Markdown."""
    rows = ["| variable | value | default | meaning |", "| --- | --- | --- | --- |"]
    for each in describe_settings():
        default = f"`{each.default}`" if each.default not in ("", "required") else each.default
        rows.append(f"| `{each.name}` | {each.form} | {default} | {each.meaning} |")
    rows += [f"| `{name}` | | | {meaning} |" for name, meaning in OTHER_VARIABLES.items()]
    return "\n".join(rows)


def print_settings() -> None:
    """Write the table to standard output."""
    print(settings_table())


def _describe(model: type[BaseModel]) -> Iterator[SettingDescription]:
    for path in paths(model):
        field = field_at(model, path)
        if field is None:
            continue
        group = field_at(model, path[:-1])
        optional = group is not None and group.default is None
        needed = "" if optional else "required"
        yield SettingDescription(
            name=variable(path),
            form=_form(field.annotation),
            default=needed if field.is_required() else _default(field.default),
            meaning=field.description or "",
        )


def _form(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return "`simulated` or `kubernetes`"  # The host model of each kind knows only its own value.
    parts = set(_parts(annotation))
    if SecretStr in parts:
        return "secret, or its file as `…_FILE`"
    for part, form in (
        (timedelta, "duration"),
        (Path, "path"),
        (int, "number"),
        (float, "number"),
        (bool, "`true` or `false`"),
    ):
        if part in parts:
            return form
    for part in parts:
        if isinstance(part, type(Enum)):
            choices = [f"`{each.value}`" for each in part]
            is_list = any(get_origin(each) is tuple for each in parts)
            return " ".join(["any of", *choices]) if is_list else " or ".join(choices)
    return "text"


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for each in get_args(annotation):
        # The arguments of Annotated are values, and not all of them are hashable.
        if isinstance(each, type) or get_args(each):
            yield from _parts(each)


def _default(value: Any) -> str:
    if value is None or value == () or value is PydanticUndefined:
        return ""
    if isinstance(value, timedelta):
        return format_duration(value)
    if value == SHIPPED_TEMPLATES:
        return "starter/templates"  # The absolute path exists on this machine only.
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return " ".join(map(_default, value))
    return str(value.value if isinstance(value, Enum) else value)
