"""Lint of the catalogue for `moorage templates check`: it returns all problems and warnings at once."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path

from clients.errors import ClientError
from clients.host.protocol import Host
from contracts.templates.parameters import marker, unused_parameters
from contracts.templates.supported_charts import chart_warning
from contracts.templates.template import Chart
from contracts.types.durations import format_duration
from contracts.types.models import Frozen
from contracts.types.naming import Prefix
from starter.catalogue.loader import SHORTEST_TTL, Entry, read_catalogue
from starter.config_files.yaml_source import FileProblem
from starter.placement.host_check import check_templates

#: The default repository publishes a version once. A tag of another can be moved, and a copy can differ.
_KNOWN_REPOSITORY = Chart(version="").repository
_REMOTE = ("http://", "https://", "oci://")

#: The labels of each host cluster, by the host's name.
LabelsOfHosts = Mapping[str, Mapping[str, str]]


class LintWarning(Frozen):
    """One problem or warning about one file. `field` is "" for the whole file."""

    file: Path
    line: int
    column: int
    field: str
    message: str

    def __str__(self) -> str:
        """Format it as compilers do, so that editors can open the place."""
        return str(FileProblem(self.file, self.line, self.field, self.message, self.column))


class CheckedTemplate(Frozen):
    """A template that is valid."""

    name: str
    version: int
    description: str
    file: Path


class CatalogueCheck(Frozen):
    """The result of the lint. With a problem, the API does not start, or keeps the last valid catalogue."""

    folder: Path
    well: bool
    templates: tuple[CheckedTemplate, ...]
    problems: tuple[LintWarning, ...]
    warnings: tuple[LintWarning, ...]


def check_catalogue(folder: Path, hosts: LabelsOfHosts, today: date | None = None) -> CatalogueCheck:
    """Check the templates in `folder`; without `hosts`, the host labels are not checked."""
    entries, problems = read_catalogue(folder)
    today = today or datetime.now(UTC).date()
    warnings = [warning for entry in entries for warning in _warnings(entry, hosts, today)]
    return CatalogueCheck(
        folder=folder,
        well=not problems,
        templates=tuple(
            CheckedTemplate(
                name=entry.template.name,
                version=entry.template.version,
                description=entry.template.description,
                file=entry.document.file,
            )
            for entry in entries
        ),
        problems=tuple(map(_remark, problems)),
        warnings=tuple(map(_remark, warnings)),
    )


async def check_on_hosts(
    found: CatalogueCheck,
    hosts: Mapping[str, Host],
    labels: LabelsOfHosts,
    installation: str,
    prefix: Prefix,
) -> CatalogueCheck:
    """Add the results of the checks on the hosts, for each template that can be placed on them.

    A host that cannot be reached, or that only the worker beside it reaches, is a warning.
    """
    folder = found.folder
    entries = {entry.template.name: entry for entry in read_catalogue(folder)[0]}
    problems, warnings = list(found.problems), list(found.warnings)
    for name in sorted(labels.keys() - hosts.keys()):
        message = f"host {name} is not asked: only the worker beside it can (own_worker is true)"
        warnings.append(_remark(FileProblem(folder, 1, "", message, 1)))
    for name, host in hosts.items():
        here = [one for one in entries.values() if one.template.hosts.items() <= labels.get(name, {}).items()]
        try:
            misfit = await check_templates([one.template for one in here], host, installation, prefix)
        except ClientError as error:
            warnings.append(_remark(FileProblem(folder, 1, "", f"host {name} cannot be asked: {error}", 1)))
            continue
        problems += [
            _remark(entries[template].document.problem(("values",), f"cannot be made on host {name}: {why}"))
            for template, why in misfit.items()
        ]
    return found.model_copy(
        update={"well": not problems, "problems": tuple(problems), "warnings": tuple(warnings)}
    )


def _warnings(entry: Entry, hosts: LabelsOfHosts, today: date) -> Iterator[FileProblem]:
    """Yield warnings: settings that are valid but probably not intended."""
    template, document = entry.template, entry.document
    if caveat := chart_warning(template.chart.version, today):
        yield document.problem(("chart", "version"), caveat)
    repository = template.chart.repository
    is_foreign = repository.startswith(_REMOTE) and repository.rstrip("/") != _KNOWN_REPOSITORY
    if is_foreign and not template.chart.digest:
        yield document.problem(
            ("chart", "digest"),
            f"is missing: {repository} can give another chart as version {template.chart.version} later. "
            "Write sha256: and what `sha256sum` prints for the packaged chart",
        )
    ttl = template.ttl
    if ttl.default < SHORTEST_TTL:
        yield document.problem(
            ("ttl", "default"),
            f"{format_duration(ttl.default)} may be over before it is ready: at least "
            f"{format_duration(SHORTEST_TTL)}, as for those who ask",
        )
    for index, lead in enumerate(ttl.warnings):
        if lead >= ttl.default and "warnings" in ttl.model_fields_set:
            yield document.problem(
                ("ttl", "warnings", index),
                f"{format_duration(lead)} before its end is before its beginning, when it lives "
                f"{format_duration(ttl.default)}: then this warning is left out",
            )
    for name in unused_parameters(template.values, template.parameters):
        yield document.problem(("parameters", name), f"changes nothing: no value is {marker(name)}")
    wanted = template.hosts.items()
    if hosts and not any(wanted <= labels.items() for labels in hosts.values()):
        words = ", ".join(f"{label}={value}" for label, value in wanted)
        yield document.problem(
            ("hosts",), f"no host cluster of the settings bears {words}: no one can request it"
        )


def _remark(problem: FileProblem) -> LintWarning:
    return LintWarning(
        file=problem.file,
        line=problem.line,
        column=problem.column,
        field=problem.field,
        message=problem.message,
    )
