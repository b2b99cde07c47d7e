"""The traces of workflows: to which call an activity belongs, and the spans of a whole making or undoing.

The workflow is replayed, so the ids that are made here depend on the run's id only. An activity belongs to
the call that has caused it: a task has the trace of the request, update or signal that has started it.
"""

from dataclasses import dataclass, replace
from typing import Any, NoReturn

from temporalio import workflow
from temporalio.worker import (
    ContinueAsNewInput,
    ExecuteWorkflowInput,
    HandleSignalInput,
    HandleUpdateInput,
    SignalExternalWorkflowInput,
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowOutboundInterceptor,
)

with workflow.unsafe.imports_passed_through():
    from contracts.telemetry.finished_span import Span
    from contracts.telemetry.trace_context import TraceContext, current_trace, derived_trace
    from contracts.temporal.trace_header import trace_in, with_trace

from workflows.telemetry.replay_detection import is_new_occurrence

#: The functions outside the sandbox that a worker with tracing offers: whether a new trace is recorded, and
#: the record of a span. They change nothing in the workflow.
IS_SAMPLED = "moorage_is_sampled"
RECORD_SPAN = "moorage_record_span"


class TraceWorkflows(WorkflowInboundInterceptor):
    """Sets the trace of everything that a workflow does."""

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        """Wrap the outbound interceptor as well; see the base class."""
        super().init(_Outbound(outbound))

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        """Run the workflow in the trace that its start names."""
        current_trace.set(starting_trace())
        return await super().execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        """Handle the signal in the trace that it names."""
        current_trace.set(trace_in(input.headers) or starting_trace())
        await super().handle_signal(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        """Handle the update in the trace that it names."""
        current_trace.set(trace_in(input.headers) or _root(f"update/{input.id}"))
        return await super().handle_update_handler(input)


class _Outbound(WorkflowOutboundInterceptor):
    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
        input.headers = with_trace(input.headers, current_trace.get())
        return super().start_activity(input)

    async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:
        input.headers = with_trace(input.headers, current_trace.get())
        await super().signal_external_workflow(input)

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
        input.headers = with_trace(input.headers, current_trace.get())
        super().continue_as_new(input)


@dataclass(frozen=True)
class Operation:
    """A part of a life that has its own span: the making, or the undoing."""

    name: str
    trace: TraceContext
    parent_id: str
    links: tuple[TraceContext, ...]
    start_ns: int

    def end(self, *, error: str = "", **attributes: str) -> None:
        """Record the span, once."""
        record = workflow.extern_functions().get(RECORD_SPAN)
        if record is None or not self.trace.sampled or not is_new_occurrence(self.trace.span_id):
            return
        info = workflow.info()
        record(
            Span(
                name=self.name,
                trace=self.trace,
                parent_id=self.parent_id,
                links=self.links,
                start_ns=self.start_ns,
                end_ns=workflow.time_ns(),
                attributes={
                    "temporal.workflow.id": info.workflow_id,
                    "temporal.run.id": info.run_id,
                    **attributes,
                },
                error=error,
            )
        )


def begin_operation(
    name: str, parent: TraceContext | None = None, links: tuple[TraceContext | None, ...] = ()
) -> Operation:
    """Begin an operation below `parent`, or in a new trace; the rest of this task belongs to it."""
    seed = f"{workflow.info().run_id}/{name}"
    trace = parent.derived_child(seed) if parent else _root(name)
    current_trace.set(trace)
    linked = tuple(link for link in links if link is not None)
    return Operation(name, trace, parent.span_id if parent else "", linked, workflow.time_ns())


def starting_trace() -> TraceContext:
    """Return the trace that the start of this run names, or one made of the run's id.

    A run that a schedule has started has none, and so has a run that was started before there were traces.
    """
    return trace_in(workflow.info().headers) or _root("start")


def _root(what: str) -> TraceContext:
    trace = derived_trace(f"{workflow.info().run_id}/{what}")
    is_sampled = workflow.extern_functions().get(IS_SAMPLED)
    return replace(trace, sampled=is_sampled is not None and is_sampled(trace.trace_id))
