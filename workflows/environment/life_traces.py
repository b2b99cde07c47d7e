"""The spans of a life: its making, in the trace of the request, and its undoing, in that of its end."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from contracts.environment.models import Outcome, Phase
    from contracts.telemetry.trace_context import parse_traceparent

from workflows.record.state import Ending, EnvironmentState
from workflows.telemetry.tracing import Operation, begin_operation, starting_trace

_UNDOING = "undo the environment"


def begin_making(state: EnvironmentState) -> Operation:
    """Begin the making, in the trace of the request."""
    making = begin_operation("make the environment", starting_trace())
    state.set_trace(making.trace)
    return making


def begin_undoing(state: EnvironmentState, ending: Ending, *, forced: bool) -> Operation:
    """Begin the undoing in the trace of the call that has ended the life.

    A life that ends by itself gets a separate trace for it, with links: the life may have lasted for days,
    and a sweep ends many.
    """
    before = parse_traceparent(state.status.traceparent)
    if state.phase is Phase.TEARDOWN_INCOMPLETE:
        undoing = begin_operation(_UNDOING, before)
    elif forced or ending.outcome is Outcome.FAILED:
        undoing = begin_operation(_UNDOING, starting_trace())
    elif ending.outcome is Outcome.EXPIRED:
        undoing = begin_operation(_UNDOING, links=(ending.trace, before))
    else:
        undoing = begin_operation(_UNDOING, ending.trace, links=(before,))
    state.set_trace(undoing.trace)
    return undoing


def end_operation(operation: Operation, state: EnvironmentState, ending: Ending | None) -> None:
    """Record the span of a making or an undoing that is over."""
    environment = state.status.environment
    problem = state.status.problem or (ending.problem if ending else None)
    operation.end(
        error=problem.type if problem else "",
        **{
            "moorage.environment": environment.name,
            "moorage.life": environment.mark.life,
            "moorage.template": environment.template.name,
            "moorage.host": environment.host,
            "moorage.outcome": ending.outcome if ending else "ready",
        },
    )
