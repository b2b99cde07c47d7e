"""Validates a requested environment against the catalogue and the rules, and plans its start. No I/O."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from contracts.environment.models import Environment, EnvironmentStatus, Phase, Spec, StepStatus
from contracts.environment.payload_limits import MAX_COLLABORATORS, ensure_fits
from contracts.environment_workflow import EnvironmentStart
from contracts.templates.parameters import ParameterValue
from contracts.templates.template import Template
from contracts.temporal import search_attributes
from contracts.types.durations import format_duration, parse_duration
from contracts.types.labels import MAX_LABELS, ensure_label
from contracts.types.naming import OwnerMark, is_name
from starter.auth.policy import Principal
from starter.auth.tokens import read_email
from starter.catalogue.loader import SHORTEST_TTL, Catalogue, offered_templates, unknown_template
from starter.catalogue.parameters import read_parameters
from starter.config_files.validation_messages import did_you_mean
from starter.installation_settings import InstallationConfig
from starter.placement.candidates import candidate_hosts, matching_hosts
from starter.request_errors import FieldProblem, InvalidRequest
from workflows.steps import steps_of

NAME_FORM = (
    "at most 30 lower-case letters, digits and hyphens, beginning with a letter and not ending with a hyphen"
)


@dataclass(frozen=True)
class RequestedEnvironment:
    """The environment that a caller requests, with the values as written."""

    name: str
    template: str
    team: str | None = None
    ttl: str | None = None
    collaborators: tuple[str, ...] = ()
    host: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)


def plan(
    requested: RequestedEnvironment,
    principal: Principal,
    request_id: str,
    catalogue: Catalogue,
    installation: InstallationConfig,
) -> EnvironmentStart:
    """Plan the start of the requested environment; raise InvalidRequest with every problem.

    The people in it are not checked against the directory yet.
    """
    problems: list[FieldProblem] = []

    def check(name: str, read: Callable[[], object]) -> None:
        try:
            read()
        except ValueError as error:
            problems.append(FieldProblem(field=name, message=str(error)))

    team = requested.team or principal.teams[0]
    offered = offered_templates(catalogue, principal)
    template = next((one for one in offered if one.name == requested.template), None)
    check("name", lambda: _check_name(requested.name))
    check("team", lambda: _check_team(team, principal))
    check("template", lambda: _check_template(requested.template, template, team, offered))
    check("ttl", lambda: _read_ttl(requested.ttl, template))
    for index, address in enumerate(requested.collaborators):
        check(f"collaborators.{index}", partial(read_email, address))
    check("collaborators", lambda: _check_collaborators(requested.collaborators, principal.email))
    for key, value in requested.labels.items():
        check(f"labels.{key}", partial(ensure_label, key, value))
    check("labels", lambda: _check_labels(requested.labels))
    parameters: dict[str, ParameterValue] = {}
    if template:
        parameters, wrong = read_parameters(template, requested.parameters)
        problems += wrong
    host_field = "host" if requested.host else "template"
    check(host_field, lambda: _check_host(requested.host, template, installation))
    if problems or template is None:
        raise InvalidRequest(problems)

    ttl = _read_ttl(requested.ttl, template)
    # Sort them, so that the same people in another order make the same request.
    collaborators = sorted({read_email(address) for address in requested.collaborators} - {principal.email})
    environment = Environment(
        mark=OwnerMark.for_request(installation.installation, requested.name, request_id),
        prefix=installation.prefix,
        owner=principal.email,
        spec=Spec(
            template=template.name,
            team=team,
            collaborators=tuple(collaborators),
            ttl=ttl,
            host=requested.host,
            labels=dict(requested.labels),
            parameters=parameters,
        ),
        template=template.with_parameters(parameters),
        ttl=ttl or template.ttl.default,
        # The first candidate, until a reservation assigns one of the candidates.
        host=candidate_hosts(template, requested.host, installation)[0],
        has_identity_provider=installation.has_identity_provider,
    )
    return EnvironmentStart(
        environment=environment,
        request_id=request_id,
        people_are_checked=False,
        timeouts=installation.timeouts,
    )


def people_problems(
    start: EnvironmentStart, requested: RequestedEnvironment, unknown: Mapping[str, str]
) -> list[FieldProblem]:
    """Return the problems of unknown people, at the request fields that name them."""
    problems = []
    if message := unknown.get(start.environment.owner):
        problems.append(FieldProblem(field="owner", message=message))
    for index, address in enumerate(requested.collaborators):
        if message := unknown.get(address.lower()):
            problems.append(FieldProblem(field=f"collaborators.{index}", message=message))
    return problems


def status_at_start(start: EnvironmentStart) -> EnvironmentStatus:
    """Return the status of the environment at its start, real or planned: every step waits."""
    now = datetime.now(UTC)
    return EnvironmentStatus(
        environment=start.environment,
        phase=Phase.PROVISIONING,
        requested_at=now,
        expires_at=now + start.environment.ttl,
        steps=tuple(StepStatus(step=step.name, system=step.system) for step in steps_of(start.environment)),
    )


def _check_name(name: str) -> None:
    if not is_name(name):
        raise ValueError(f'"{name[:80]}" cannot be a name: {NAME_FORM}')


def _check_team(team: str, principal: Principal) -> None:
    if team not in principal.teams:
        raise ValueError(f'you are not in a team "{team[:80]}"{did_you_mean(team, principal.teams)}')


def _check_template(name: str, template: Template | None, team: str, offered: Sequence[Template]) -> None:
    if template is None:
        raise ValueError(unknown_template(name[:80], offered))
    ensure_fits(template)
    if template.teams and team not in template.teams:
        raise ValueError(f'"{name}" is for {", ".join(template.teams)}: ask for it with that team')


def _read_ttl(text: str | None, template: Template | None) -> timedelta | None:
    if text is None:
        return None
    ttl = parse_duration(text[:80])
    if ttl < SHORTEST_TTL:
        raise ValueError(f'"{text}" is too short: at least {format_duration(SHORTEST_TTL)}')
    if template and ttl > template.ttl.maximum:
        longest = format_duration(template.ttl.maximum)
        raise ValueError(f'"{text}" is longer than "{template.name}" allows: at most {longest}')
    return ttl


def _check_collaborators(collaborators: Sequence[str], owner: str) -> None:
    if len(collaborators) > MAX_COLLABORATORS:
        raise ValueError(f"too many people: at most {MAX_COLLABORATORS}")
    search_attributes.ensure_collaborators_fit(
        sorted({address.lower() for address in collaborators} - {owner})
    )


def _check_labels(labels: Mapping[str, str]) -> None:
    if len(labels) > MAX_LABELS:
        raise ValueError(f"too many labels: at most {MAX_LABELS}")


def _check_host(host: str | None, template: Template | None, installation: InstallationConfig) -> None:
    if host is not None and host not in installation.hosts:
        raise ValueError(f'there is no host "{host[:80]}"{did_you_mean(host, installation.hosts)}')
    if template is None or candidate_hosts(template, host, installation):
        return
    labels = ", ".join(f"{name}={value}" for name, value in sorted(template.hosts.items()))
    matching = matching_hosts(template, installation)
    if host and matching:
        raise ValueError(f'"{template.name}" wants a host with {labels}: {", ".join(matching)}, not {host}')
    raise ValueError(
        f'"{template.name}" wants a host with {labels}, and there is none: tell the platform team'
    )
