"""The sources of settings: `MOORAGE_*` variables, a TOML file below them, and files with secrets.

    MOORAGE_CONTROL_PLANE__URL           the variable of control_plane.url: two underscores lead into a group
    MOORAGE_CONTROL_PLANE__API_KEY_FILE  any secret may be given as the path of a file that holds it
    MOORAGE_CONFIG                       path of the TOML file; there, [control_plane] url = "…"

This module knows the models only through their fields. It does not use pydantic-settings, because that
ignores unknown variables, stops at the first unreadable one, and cannot read secrets from paths.
"""

import difflib
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from clients.private_files import read_trusted
from worker.service_variables import service_links

PREFIX = "MOORAGE_"
#: Variables with this prefix that are not settings, and their meaning.
OTHER_VARIABLES: Mapping[str, str] = {
    "MOORAGE_CONFIG": "TOML file with settings; variables win over it",
    "MOORAGE_STATE": "folder in which `moorage up` keeps its state (default: `.moorage` in the current one); "
    "commands use the stack that runs from it",
    "MOORAGE_READY_FILE": "file that is there while the worker takes work, for health checks",
    "MOORAGE_URL": "where the CLI finds the API, instead of the current context",
    "MOORAGE_TOKEN": "the bearer token that the CLI shows to the API, instead of the sign-in of a context",
    "MOORAGE_TOKEN_FILE": "file with that token",
    "MOORAGE_CA_FILE": "PEM file with the authorities that the CLI trusts the API's certificate by",
}
_BY_PATH = "_file"
#: Secrets are short; a longer file is the wrong one.
_MAX_SECRET_BYTES = 64 * 1024

SettingPath = tuple[str, ...]
Values = dict[str, Any]


class SettingsError(Exception):
    """The settings cannot be used. The text lists every problem, one a line, and no secret."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        lines = "".join(f"\n  {problem}" for problem in self.problems)
        super().__init__(f"the settings have {_count(self.problems)}:{lines}")


def variable(path: Sequence[str]) -> str:
    """Return the name of the environment variable for the setting at `path`."""
    return PREFIX + "__".join(path).upper().replace("<NAME>", "<name>")


def read_sources(model: type[BaseModel], environ: Mapping[str, str]) -> tuple[Values, list[str]]:
    """Read all sources; return the merged values, not validated, and the problems of reading."""
    problems: list[str] = []
    from_file = _read_file(environ, problems)
    from_variables = _read_variables(environ, problems)
    for layer, name_of in ((from_file, ".".join), (from_variables, variable)):
        _read_secrets(model, layer, (), name_of, problems)
    return _merge(from_file, from_variables), problems


def explain(model: type[BaseModel], error: ValidationError) -> Iterator[str]:
    """Yield each problem of a validation as one sentence: the setting, the fault, the correction."""
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        # Where the kind selects one of several models, pydantic adds the kind to the path.
        path = tuple(str(part) for part in problem["loc"] if part not in ("simulated", "kubernetes"))
        field = field_at(model, path)
        fault = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing" and (inner := _required_settings(field, path)):
            # A whole group is missing, so name the settings that it needs.
            for each in inner:
                about = _describe_field(field_at(model, each))
                yield f"{variable(each)} ({'.'.join(each)}): is missing{about}"
            continue
        if problem["type"] == "missing":
            fault = "is missing"
        elif problem["type"] == "extra_forbidden":
            fault = f"is not a setting{_suggestion(model, path)}"
        elif problem["type"] in ("model_type", "model_attributes_type", "dict_type"):
            fault = "is a group: give its settings one by one"
        elif problem["type"] in ("union_tag_not_found", "union_tag_invalid"):
            path, fault = (*path, "kind"), "must be simulated or kubernetes"
        yield f"{variable(path)} ({'.'.join(path)}): {fault}{_describe_field(field)}"


def field_at(model: type[BaseModel], path: Sequence[str]) -> FieldInfo | None:
    """Return the field that `path` leads to; None if there is none, as for entries of a mapping."""
    models, field = [model], None
    for part in path:
        found = [each.model_fields[part] for each in models if part in each.model_fields]
        field = found[0] if found else None
        if found:
            models = [inner for each in found for inner in models_in(each.annotation)]
        elif not models or any(part in each.model_fields for each in models):
            return None
    return field


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models of a field.

    A group has one model, a field whose kind selects the model has several, and a mapping has those of its
    entries.
    """
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Annotated, Union, UnionType, dict):
        return [model for each in get_args(annotation) for model in models_in(each)]
    return []


def is_mapping(annotation: Any) -> bool:
    """Return whether a field is a mapping by names that users choose."""
    return get_origin(annotation) is dict


def is_secret(annotation: Any) -> bool:
    """Return whether a field is a secret."""
    return annotation is SecretStr or any(is_secret(each) for each in get_args(annotation))


def _read_file(environ: Mapping[str, str], problems: list[str]) -> Values:
    path = environ.get("MOORAGE_CONFIG")
    if not path:
        return {}
    try:
        return tomllib.loads(read_trusted(Path(path)).decode())
    except OSError as error:
        problems.append(f"MOORAGE_CONFIG: cannot read {path}: {error.strerror}")
    except ValueError as error:
        problems.append(f"MOORAGE_CONFIG: {path} is not TOML: {error}")
    return {}


def _read_variables(environ: Mapping[str, str], problems: list[str]) -> Values:
    values: Values = {}
    links = set(service_links(environ))
    for name, text in sorted(environ.items()):
        # An empty variable counts as not set, because compose files and unit files cannot leave a variable
        # out.
        if not name.startswith(PREFIX) or name in OTHER_VARIABLES or name in links or not text:
            continue
        *groups, last = name.removeprefix(PREFIX).lower().split("__")
        place = values
        for group in groups:
            place = place.setdefault(group, {})
            if not isinstance(place, dict):
                break
        if isinstance(place, dict):
            place[last] = text
        else:
            problems.append(f"{name}: one of its groups is set as if it were a single setting")
    return values


def _read_secrets(
    model: type[BaseModel], values: Values, path: SettingPath, name: Any, problems: list[str]
) -> None:
    """Replace each `<secret>_file` in `values` by `<secret>` with the content of that file."""
    for key, value in list(values.items()):
        here = (*path, key)
        if isinstance(value, dict):
            _read_secrets(model, value, here, name, problems)
            continue
        secret = key.removesuffix(_BY_PATH)
        field = _secret_at(model, (*path, secret))
        if secret == key or field is None:
            continue
        del values[key]
        if secret in values:
            problems.append(f"{name(here)}: {name((*path, secret))} is set as well; set one of them")
            continue
        try:
            values[secret] = SecretOfFile(Path(str(value)))
        except OSError as error:
            problems.append(f"{name(here)}: cannot read {value}: {error.strerror}")
        except UnicodeDecodeError:
            problems.append(f"{name(here)}: {value} is not text")


class SecretOfFile(SecretStr):
    """A secret that knows its file.

    Raises OSError if the file cannot be read, and UnicodeDecodeError if it is not text.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(_read_secret(path))


def reader_of(secret: SecretStr, *, is_one_line: bool = True) -> Callable[[], str] | None:
    """Return a function that reads a secret again from its file; None if it has no file.

    The function returns "" while the file cannot be used. Keys have several lines, all other secrets one.
    """
    if not isinstance(secret, SecretOfFile):
        return None
    path = secret.path

    def read() -> str:
        try:
            text = _read_secret(path)
        except (OSError, UnicodeDecodeError):
            return ""
        # Secrets of one line are sent in a header; the settings reject what a header cannot hold.
        return text if not is_one_line or (text.isascii() and text.isprintable()) else ""

    return read


def _read_secret(path: Path) -> str:
    # Editors on Windows write a byte order mark.
    return read_trusted(path, longest=_MAX_SECRET_BYTES).decode("utf-8-sig").strip()


def _secret_at(model: type[BaseModel], path: SettingPath) -> FieldInfo | None:
    field = field_at(model, path)
    return field if field is not None and is_secret(field.annotation) else None


def _merge(below: Values, above: Values) -> Values:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _required_settings(field: FieldInfo | None, path: SettingPath) -> list[SettingPath]:
    """Return the settings of a group that have no default; [] if the field is not a group."""
    if field is None:
        return []
    path = (*path, "<name>") if is_mapping(field.annotation) else path
    models = models_in(field.annotation)
    needed = [{name for name, inner in model.model_fields.items() if inner.is_required()} for model in models]
    # Where the kind selects the model, take what every kind needs.
    common = set.intersection(*needed) if needed else set()
    return [(*path, name) for name in models[0].model_fields if name in common] if models else []


def _suggestion(model: type[BaseModel], path: SettingPath) -> str:
    known = [".".join(each) for each in paths(model)]
    close = difflib.get_close_matches(".".join(path), known, n=1)
    return f"; did you mean {variable(close[0].split('.'))}?" if close else ""


def paths(model: type[BaseModel], start: SettingPath = ()) -> Iterator[SettingPath]:
    """Yield the paths of all settings; a name that users choose is `<name>` in them."""
    for name, field in model.model_fields.items():
        inner = models_in(field.annotation)
        # A mapping of plain values is one setting; a mapping of groups has settings for each name.
        here = (*start, name, "<name>") if inner and is_mapping(field.annotation) else (*start, name)
        seen = set()
        for each in inner:
            for path in paths(each, here):
                if path not in seen:
                    seen.add(path)
                    yield path
        if not inner:
            yield here


def _describe_field(field: FieldInfo | None) -> str:
    if field is None or not field.description:
        return ""
    example = f', such as "{field.examples[0]}"' if field.examples else ""
    return f" [{field.description}{example}]"


def _count(problems: Sequence[str]) -> str:
    return "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
