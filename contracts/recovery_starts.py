"""Starts of runs that continue a life whose own run is lost: one adopts it, the other tears it down. Pure."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from contracts.environment.models import (
    MADE_PHASES,
    AuditLogEntry,
    Environment,
    EnvironmentStatus,
    Outcome,
    Phase,
    SleepStatus,
    Spec,
    StepName,
    StepState,
    StepStatus,
    System,
)
from contracts.environment_workflow import CarriedState, EnvironmentStart, LifecycleTimeouts
from contracts.templates.template import MIN_SIZE, Chart, Template, TimeToLive
from contracts.types.naming import OwnerMark, Prefix

#: The owner, team and template of a life that has no record.
UNKNOWN = "unknown"
#: The time to live of a life that ends now is not used any more.
UNKNOWN_TTL = timedelta(hours=1)

#: The system of each step, as in the table of `workflows.steps`.
STEP_SYSTEMS: Mapping[StepName, System] = {
    StepName.PROJECT: System.CONTROL_PLANE,
    StepName.GROUP: System.CONTROL_PLANE,
    StepName.ROLE_BINDING: System.CONTROL_PLANE,
    StepName.IDENTITY: System.IDENTITY_PROVIDER,
    StepName.NAMESPACE: System.HOST_CLUSTER,
    StepName.VCLUSTER: System.HOST_CLUSTER,
    StepName.KUBECONFIG: System.HOST_CLUSTER,
    StepName.IMPORT: System.CONTROL_PLANE,
}


def has_step(environment: Environment, step: StepName) -> bool:
    """Return whether an environment has this step; a standby has only those on its host."""
    if environment.is_standby:
        return STEP_SYSTEMS[step] is System.HOST_CLUSTER
    return step is not StepName.IDENTITY or environment.has_identity_provider


def done_steps(environment: Environment, note: str) -> tuple[StepStatus, ...]:
    """Return every step that the environment has, as done."""
    return tuple(
        StepStatus(step=step, system=system, state=StepState.DONE, note=note)
        for step, system in STEP_SYSTEMS.items()
        if has_step(environment, step)
    )


def stand_in_environment(
    mark: OwnerMark, prefix: Prefix, host: str, *, has_identity_provider: bool
) -> Environment:
    """Return an environment for the teardown of a life of which only the mark is known."""
    return Environment(
        mark=mark,
        prefix=prefix,
        owner=UNKNOWN,
        spec=Spec(template=UNKNOWN, team=UNKNOWN),
        template=stand_in_template(UNKNOWN),
        ttl=UNKNOWN_TTL,
        host=host,
        has_identity_provider=has_identity_provider,
    )


def stand_in_template(name: str) -> Template:
    """Return a template for a teardown, which uses only the rule for retained volumes: keep them."""
    return Template(
        name=name,
        version=1,
        description="Stands in for the template of a life that Temporal has forgotten.",
        chart=Chart(version=UNKNOWN),
        kubernetes="1.30",
        size=MIN_SIZE,
        ttl=TimeToLive(default=UNKNOWN_TTL, maximum=UNKNOWN_TTL),
    )


def forced_start(
    before: EnvironmentStart,
    status: EnvironmentStatus | None,
    actor: str,
    *,
    timeouts: LifecycleTimeouts,
    requested_at: datetime,
) -> EnvironmentStart:
    """Build the start of a run that tears down the remains of the life that `before` started.

    Args:
        before: The start of the run that was closed from outside, or one made up for it.
        status: The last known status of that life, if there is one.
        actor: The person who forces the teardown.
        timeouts: The timeouts of the new run.
        requested_at: The latest time at which that life can have started; older resources are not its own.
    """
    environment = before.environment
    known = status or (before.carried.status if before.carried else None)
    if known is None:
        known = EnvironmentStatus(
            environment=environment,
            phase=Phase.ORPHANED,
            requested_at=requested_at,
            expires_at=requested_at + environment.ttl,
            steps=(),
        )
    carried = known.model_copy(
        update={
            "phase": Phase.TEARING_DOWN,
            "outcome": Outcome.DELETED,
            "ended_at": None,
            "change": None,
            "restore": None,
            "steps": done_steps(environment, "may be there"),
            "receipts": {},
            "problem": None,
            "unfinished": (),
            "next_pass_at": None,
            "certificate": None,
        }
    )
    return before.model_copy(
        update={
            # With its people and owner of then.
            "environment": known.environment,
            "timeouts": timeouts,
            "carried": CarriedState(status=carried),
            "forced_by": actor,
            "people_are_checked": True,
        }
    )


def adoption_start(
    before: EnvironmentStart,
    status: EnvironmentStatus | None,
    actor: str,
    *,
    timeouts: LifecycleTimeouts,
    requested_at: datetime,
    now: datetime,
    is_asleep: bool = False,
) -> EnvironmentStart:
    """Build the start of a run in which a life that is complete continues as ready, or asleep.

    Args:
        before: The start of the run that is lost, or one made from its life mark.
        status: The last known status of that life, if there is one.
        actor: What adopts it, for the audit trail.
        timeouts: The timeouts of the new run.
        requested_at: When the life was requested.
        now: The time of the adoption.
        is_asleep: Whether its vCluster is paused, where its last status does not say so.
    """
    environment = before.environment
    known = status or EnvironmentStatus(
        environment=environment,
        phase=Phase.ASLEEP if is_asleep else Phase.READY,
        requested_at=requested_at,
        expires_at=requested_at + environment.ttl,
        steps=(),
        sleep=SleepStatus(actor=actor, asleep_at=now) if is_asleep else None,
        audit_log=(AuditLogEntry(at=requested_at, actor=environment.owner, action="asked for it"),),
    )
    was_made = known.phase in MADE_PHASES
    entry = AuditLogEntry(at=now, actor=actor, action="adopted it", result="its own workflow was lost")
    carried = known.model_copy(
        update={
            "phase": known.phase if was_made else Phase.READY,
            "outcome": None,
            "usable_at": known.usable_at or now,
            "ready_at": known.ready_at or now,
            "ended_at": None,
            "steps": known.steps if was_made and known.steps else done_steps(environment, ""),
            "problem": None,
            "unfinished": (),
            "next_pass_at": None,
            "certificate": None,
            "audit_log": (*known.audit_log, entry),
        }
    )
    return before.model_copy(
        update={
            "environment": known.environment,
            "timeouts": timeouts,
            "carried": CarriedState(status=carried),
            "forced_by": "",
            "people_are_checked": True,
        }
    )
