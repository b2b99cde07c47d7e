"""The catalogue: a folder of YAML files, one template per file, with the file's name as the template's name.

`load_catalogue` is strict and fails with every problem; `read_catalogue` returns the valid templates as well.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from clients.transport.secure_urls import is_internal_host
from contracts.environment.chart_values import exported_account_problem
from contracts.environment.payload_limits import ensure_fits
from contracts.templates.sleep import SleepPolicy, policy_problems
from contracts.templates.template import (
    Chart,
    Credentials,
    Extension,
    Size,
    Template,
    TemplateQuota,
    fields_below_minimum,
)
from contracts.templates.warm_pool import WarmPool, pool_problems
from contracts.types.naming import is_name
from contracts.types.printable_text import ensure_printable
from starter.auth.policy import Principal, Role
from starter.catalogue.parameters import declaration_problems
from starter.config_files.validation_messages import did_you_mean
from starter.config_files.yaml_source import Document, FileProblem, FilesUnusable, Where

#: The catalogue that Moorage ships.
STARTER_TEMPLATES = Path(__file__).parents[1] / "templates"
#: Shortest time to live: an environment that ends before it can be ready is useless.
SHORTEST_TTL = timedelta(minutes=5)
_ENDINGS = (".yaml", ".yml")

_Part = TypeVar("_Part", bound=BaseModel)


class Catalogue:
    """The templates, sorted by name."""

    def __init__(self, templates: Iterable[Template]) -> None:
        self._templates: Mapping[str, Template] = {
            template.name: template for template in sorted(templates, key=lambda one: one.name)
        }

    def get(self, name: str) -> Template | None:
        """Return the template with exactly this name, or None."""
        return self._templates.get(name)

    def offered_to(self, teams: Iterable[str], *, everything: bool = False) -> list[Template]:
        """Return the templates that members of these teams may request; all with `everything`."""
        mine = set(teams)
        return [
            template
            for template in self._templates.values()
            if everything or not template.teams or mine & set(template.teams)
        ]


def offered_templates(catalogue: Catalogue, principal: Principal) -> list[Template]:
    """Return the templates that the principal may request: all of them for the platform team."""
    return catalogue.offered_to(principal.teams, everything=principal.role is Role.PLATFORM)


@dataclass(frozen=True)
class Entry:
    """A template and the file that it was read from."""

    template: Template
    document: Document


def load_catalogue(folder: Path) -> Catalogue:
    """Load the catalogue in `folder`; raise FilesUnusable with every problem of every file."""
    entries, problems = read_catalogue(folder)
    if problems:
        raise FilesUnusable(problems)
    return Catalogue(entry.template for entry in entries)


def read_catalogue(folder: Path) -> tuple[list[Entry], list[FileProblem]]:
    """Read `folder` and return its valid templates, and every problem of every file."""
    entries: dict[str, Entry] = {}
    problems: list[FileProblem] = []
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix in _ENDINGS)
    except OSError as error:
        return [], [FileProblem(folder, 1, "", f"the folder of templates cannot be read: {error.strerror}")]
    if not files:
        problems.append(
            FileProblem(folder, 1, "", "holds no template: put a file such as small.yaml into it")
        )
    for file in files:
        try:
            entry = _read_entry(file)
        except FilesUnusable as unusable:
            problems += unusable.problems
            continue
        name = entry.template.name
        if name in entries:
            first = entries[name].document.file.name
            problems.append(FileProblem(file, 1, "", f"{first} is the template {name} already"))
        entries[name] = entry
    return list(entries.values()), problems


def _read_entry(file: Path) -> Entry:
    name = file.stem
    if not is_name(name):
        raise FilesUnusable(
            [
                FileProblem(
                    file,
                    1,
                    "",
                    f'a template is named like its file, and "{name}" cannot be a name: at most 30 '
                    "lower-case letters, digits and hyphens, beginning with a letter",
                )
            ]
        )
    document = Document(file)
    content = document.content
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise FilesUnusable([document.problem((), 'is not a template: write one "field: value" a line')])
    if content.get("name", name) != name:
        raise FilesUnusable(
            [document.problem(("name",), f"the file is {file.name}, so the name is {name}: leave it out")]
        )
    template: Template | None = None
    wrong: list[FileProblem] = []
    try:
        template = Template.model_validate({**content, "name": name}, extra="forbid")
    except ValidationError as error:
        wrong += document.problems_of(error, Template)
    else:
        try:
            ensure_fits(template)
        except ValueError as error:
            wrong.append(document.problem(("values",), str(error)))
        wrong += [document.problem(place, words) for place, words in declaration_problems(template)]
        undecided = [name for name, parameter in template.parameters.items() if parameter.default is None]
        if template.warm and undecided:
            words = f"needs a default of every parameter, and {undecided[0]} has none"
            wrong.append(document.problem(("warm",), words))
    wrong += [document.problem(path, words) for path, words in _unfit(content)]
    if wrong or template is None:
        raise FilesUnusable(sorted(wrong, key=lambda one: (one.line, one.column)))
    return Entry(template, document)


def _unfit(content: Mapping[str, Any]) -> Iterator[tuple[Where, str]]:
    """Yield contradictions between fields, and values that are too small.

    It checks only the parts that can be parsed. This is not validated in the model, because an environment
    keeps the template that was valid when it was created.
    """
    try:
        ensure_printable(str(content.get("description", "")))
    except ValueError as error:
        yield ("description",), str(error)
    chart = _part(Chart, content.get("chart"))
    if chart and (words := _repository_problem(chart.repository)):
        yield ("chart", "repository"), words
    if size := _part(Size, content.get("size")):
        yield from ((("size", field), words) for field, words in fields_below_minimum(size).items())
    values = content.get("values")
    if isinstance(values, dict) and (words := exported_account_problem(values)):
        yield ("values", "exportKubeConfig", "serviceAccount"), words
    quota = _part(TemplateQuota, content.get("quota"))
    if quota and quota.per_person and quota.per_team and quota.per_person > quota.per_team:
        yield (
            ("quota", "per_person"),
            f"{quota.per_person} is more than a team may have together, {quota.per_team}: "
            "no one could ever have so many",
        )
    credentials = _part(Credentials, content.get("credentials")) or Credentials()
    if sleep := _part(SleepPolicy, content.get("sleep")):
        problems = policy_problems(sleep, credentials.maximum)
        yield from ((("sleep", field), words) for field, words in problems.items())
        if sleep == SleepPolicy():
            yield ("sleep",), "says nothing: write after, schedule or both"
    if warm := _part(WarmPool, content.get("warm")):
        yield from ((("warm", field), words) for field, words in pool_problems(warm).items())
    ttl = content.get("ttl")
    extension = _part(Extension, ttl.get("extension") if isinstance(ttl, dict) else None)
    if extension is None:
        return
    if extension.times and not extension.total:
        yield ("ttl", "extension", "total"), f"is missing: {extension.times} extensions, and not by how much"
    if extension.total > timedelta(0) and not extension.times:
        yield ("ttl", "extension", "times"), "is missing: how often it may be extended; without it, never"


def _repository_problem(address: str) -> str:
    """Return why charts must not come from there, or ""."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        return "is no address: write https://, oci:// or the path of a folder"
    if parts.scheme != "http" or is_internal_host(host):
        return ""
    return (
        "must start with https:// or oci://: over http://, a chart can be replaced on its way. http:// is "
        "for this machine, names without a dot, and services of the same cluster (name.namespace.svc)"
    )


def _part(model: type[_Part], content: object) -> _Part | None:
    """Return a part of a template, or None if it is missing or not valid."""
    try:
        return model.model_validate(content) if isinstance(content, dict) else None
    except ValidationError:
        return None


def unknown_template(name: str, offered: Iterable[Template]) -> str:
    """Return the message for a template that is not offered, with a similar name if any."""
    return f'there is no template "{name}"{did_you_mean(name, [one.name for one in offered])}'
