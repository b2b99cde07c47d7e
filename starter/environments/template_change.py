"""Changes of an environment's template in place, as callers ask for them: resize and upgrade."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from contracts.capacity.models import ReservationRequest
from contracts.environment.models import Environment
from contracts.environment.payload_limits import ensure_fits
from contracts.environment.template_change import describe_template, in_place_problems, term_problem
from contracts.environment_workflow import ChangeTemplateInput
from contracts.errors import Refusal, RefusalReason
from contracts.templates.parameters import ParameterValue
from contracts.templates.template import Template
from starter.auth.policy import Principal, Verb, is_allowed
from starter.catalogue.loader import Catalogue, offered_templates, unknown_template
from starter.catalogue.parameters import read_parameters
from starter.config_files.reloading import Reloaded
from starter.environments.access import EnvironmentAccess, relations_to
from starter.environments.commands import EnvironmentCommands
from starter.environments.reader import EnvironmentReader, EnvironmentSnapshot
from starter.environments.schemas import Done, DoneKind
from starter.installation_settings import InstallationConfig
from starter.placement.advisor import PlacementAdvisor
from starter.placement.candidates import candidate_hosts
from starter.placement.chart_check import ChartCheck
from starter.request_errors import FieldProblem, InvalidRequest
from starter.temporal.errors import NoWorker
from starter.temporal.updates import NoCapacity, Refused, WorkflowClosed

_NO_ROOM = frozenset({RefusalReason.NO_ROOM, RefusalReason.OVER_QUOTA, RefusalReason.NOT_KNOWN})

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class RequestedChange:
    """The change that a caller asks for: `template` is None for the newer version."""

    template: str | None = None
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)


class TemplateChanges:
    """Changes templates for callers. A repeat with the same key is answered and not executed again."""

    def __init__(
        self,
        installation: InstallationConfig,
        catalogue: Reloaded[Catalogue],
        access: EnvironmentAccess,
        reader: EnvironmentReader,
        commands: EnvironmentCommands,
        placement: PlacementAdvisor,
        chart_check: ChartCheck,
    ) -> None:
        self._installation = installation
        self._catalogue = catalogue
        self._access = access
        self._reader = reader
        self._commands = commands
        self._placement = placement
        self._chart_check = chart_check

    async def change(
        self,
        verb: Verb,
        name: str,
        requested: RequestedChange,
        principal: Principal,
        key: str | None,
        life: str | None,
        *,
        dry_run: bool = False,
    ) -> Done:
        """Start to change the template, or say what would be changed.

        Raises:
            EnvironmentNotFound, NotAllowed: The principal may not.
            InvalidRequest: The template or a parameter is wrong, or the chart rejects them.
            Refused: It cannot be changed in place, or not now.
            NoCapacity: There is no room for it.
        """
        snapshot = await self._access.find(name, principal, verb, life)
        if snapshot.ended:
            raise Refused(Refusal(reason=RefusalReason.NOT_NOW, message=f"{name} is gone: nothing to change"))
        if snapshot.status is None:
            raise NoWorker
        before = snapshot.status.environment
        after = self._planned(before, requested, principal)
        what = describe_template(after.template)
        if (before.template, before.spec) == (after.template, after.spec):
            message = f"{name} has {what} already, which is the newest."
            return self._done(DoneKind.NOTHING_TO_DO, message, snapshot)
        _ensure_in_place(before, after)
        too_late = term_problem(
            before.template, after.template, snapshot.status.expires_at, datetime.now(UTC)
        )
        # The platform team may also grant such an end.
        if too_late and not is_allowed(Verb.EXTEND_BEYOND, relations_to(snapshot, principal)):
            message = (
                f"{name} cannot be changed to {what}: {too_late}. Request another environment of it, or ask "
                "the platform team."
            )
            raise Refused(Refusal(reason=RefusalReason.BEYOND_POLICY, message=message))
        values = await self._chart_check.values(after)
        request = self._placement.reservation_of(after)
        if dry_run:
            done = self._done(
                DoneKind.DRY_RUN, f"{name} would be changed to {what}. Nothing was changed.", snapshot
            )
            return done.model_copy(update={"values": values})
        return await self._send(verb, snapshot, after, request, principal, key)

    async def plan_upgrade(
        self, before: Environment, principal: Principal
    ) -> tuple[Environment, ReservationRequest]:
        """Return the environment with the newer version of its template, and what it would hold.

        Raises:
            InvalidRequest: It cannot have that version, or the chart rejects its values.
            Refused: It cannot be changed in place.
        """
        after = self._planned(before, RequestedChange(), principal)
        _ensure_in_place(before, after)
        await self._chart_check.values(after)
        return after, self._placement.reservation_of(after)

    async def _send(
        self,
        verb: Verb,
        snapshot: EnvironmentSnapshot,
        after: Environment,
        request: ReservationRequest,
        principal: Principal,
        key: str | None,
    ) -> Done:
        update = ChangeTemplateInput(
            actor=principal.email,
            template=after.template,
            spec=after.spec,
            request=request,
            with_snapshot=True,
        )
        try:
            answer = await self._commands.send(verb, snapshot, update, key or secrets.token_hex(8))
        except Refused as refused:
            if refused.refusal.reason in _NO_ROOM:
                raise NoCapacity(refused.refusal, None) from None
            raise
        except WorkflowClosed:
            message = f"{snapshot.name} has just ended: nothing to change"
            raise Refused(Refusal(reason=RefusalReason.BEING_TORN_DOWN, message=message)) from None
        _log.info(
            "changed template",
            environment=snapshot.name,
            life=answer.life,
            actor=principal.email,
            verb=verb,
            template=after.template.name,
            version=after.template.version,
            answer=answer.kind,
        )
        now = await self._reader.read(snapshot.name)
        return self._done(DoneKind(answer.kind), answer.message, now or snapshot)

    def _planned(self, before: Environment, requested: RequestedChange, principal: Principal) -> Environment:
        """Return the environment with the other template; raise InvalidRequest if it cannot have it."""
        offered = offered_templates(self._catalogue.current(), principal)
        wanted = requested.template or before.template.name
        template = next((one for one in offered if one.name == wanted), None)
        team = before.spec.team
        if template is None:
            raise _invalid("template", unknown_template(wanted[:80], offered))
        if template.teams and team not in template.teams:
            raise _invalid("template", f'"{wanted}" is for {", ".join(template.teams)}, not for {team}')
        if not candidate_hosts(template, before.host, self._installation):
            raise _invalid("template", f'"{wanted}" wants another host than {before.host}')
        try:
            ensure_fits(template)
        except ValueError as error:
            raise _invalid("template", str(error)) from None
        is_older = template.name == before.template.name and template.version < before.template.version
        if is_older:
            message = f"the catalogue has only version {template.version} of {wanted} now"
            raise _invalid("template", message)
        kept = {name: value for name, value in before.spec.parameters.items() if name in template.parameters}
        parameters, problems = read_parameters(template, {**kept, **requested.parameters})
        if problems:
            raise InvalidRequest(problems)
        spec = before.spec.model_copy(update={"template": template.name, "parameters": parameters})
        resolved: Template = template.with_parameters(parameters)
        return before.model_copy(update={"template": resolved, "spec": spec})

    def _done(self, kind: DoneKind, message: str, snapshot: EnvironmentSnapshot) -> Done:
        return Done(
            kind=kind, message=message, name=snapshot.name, life=snapshot.life, environment=snapshot.view
        )


def _ensure_in_place(before: Environment, after: Environment) -> None:
    if problems := list(in_place_problems(before, after)):
        message = (
            f"{before.name} cannot be changed to {describe_template(after.template)} in place: "
            f"{'; '.join(problems)}. Request another environment of it."
        )
        raise Refused(Refusal(reason=RefusalReason.NOT_IN_PLACE, message=message))


def _invalid(name: str, message: str) -> InvalidRequest:
    return InvalidRequest([FieldProblem(field=name, message=message)])
