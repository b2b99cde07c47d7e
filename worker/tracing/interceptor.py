"""Carries traces through Temporal: out of clients, through workflows, and into activities."""

from contextlib import AbstractContextManager
from typing import Any

from temporalio import activity, client, worker

from contracts.telemetry.finished_span import SpanKind
from contracts.telemetry.trace_context import current_trace
from contracts.temporal.trace_header import trace_in, with_trace
from worker.tracing.recorder import OpenSpan, begin_trace, current_recorder, span
from workflows.telemetry.tracing import IS_SAMPLED, RECORD_SPAN, TraceWorkflows


class TraceInterceptor(client.Interceptor, worker.Interceptor):
    """Carries the trace of the caller. A client that has it gives it to its workers as well."""

    def intercept_client(self, next: client.OutboundInterceptor) -> client.OutboundInterceptor:
        """Wrap the client; see the base class."""
        return _ClientCalls(next)

    def intercept_activity(
        self, next: worker.ActivityInboundInterceptor
    ) -> worker.ActivityInboundInterceptor:
        """Wrap an activity; see the base class."""
        return _Activities(next)

    def workflow_interceptor_class(self, input: worker.WorkflowInterceptorClassInput) -> type[TraceWorkflows]:
        """Return the interceptor of workflows, with the way to the recorder if there is one."""
        if recorder := current_recorder():
            input.unsafe_extern_functions[IS_SAMPLED] = recorder.is_sampled
            input.unsafe_extern_functions[RECORD_SPAN] = recorder.record
        return TraceWorkflows


class _ClientCalls(client.OutboundInterceptor):
    async def start_workflow(self, input: client.StartWorkflowInput) -> client.WorkflowHandle[Any, Any]:
        with _call("start", input.workflow, input.id):
            input.headers = with_trace(input.headers, current_trace.get())
            return await super().start_workflow(input)

    async def signal_workflow(self, input: client.SignalWorkflowInput) -> None:
        with _call("signal", input.signal, input.id):
            input.headers = with_trace(input.headers, current_trace.get())
            await super().signal_workflow(input)

    async def query_workflow(self, input: client.QueryWorkflowInput) -> Any:
        with _call("query", input.query, input.id):
            return await super().query_workflow(input)

    async def start_workflow_update(
        self, input: client.StartWorkflowUpdateInput
    ) -> client.WorkflowUpdateHandle[Any]:
        with _call("update", input.update, input.id):
            input.headers = with_trace(input.headers, current_trace.get())
            return await super().start_workflow_update(input)

    async def start_update_with_start_workflow(
        self, input: client.StartWorkflowUpdateWithStartInput
    ) -> client.WorkflowUpdateHandle[Any]:
        start, update = input.start_workflow_input, input.update_workflow_input
        with _call("start and update", update.update, start.id):
            start.headers = with_trace(start.headers, current_trace.get())
            update.headers = with_trace(update.headers, current_trace.get())
            return await super().start_update_with_start_workflow(input)


def _call(verb: str, name: str, workflow_id: str) -> AbstractContextManager[OpenSpan]:
    return span(f"Temporal {verb} {name}", SpanKind.CLIENT, {"temporal.workflow.id": workflow_id})


class _Activities(worker.ActivityInboundInterceptor):
    async def execute_activity(self, input: worker.ExecuteActivityInput) -> Any:
        info, trace = activity.info(), trace_in(input.headers)
        current_trace.set(trace or begin_trace())
        attributes: dict[str, str | int] = {
            "temporal.workflow.id": info.workflow_id or "",
            "temporal.run.id": info.workflow_run_id or "",
            "temporal.activity.attempt": info.attempt,
        }
        with span(info.activity_type, SpanKind.CONSUMER, attributes, is_root=trace is None):
            return await self.next.execute_activity(input)
