"""`python -m tests.support.faulty_process`: `moorage`, with faults in its calls to Temporal.

Before and after each call its client looks for a fault in a file; see `tests.support.temporal_faults`.
"""

import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from temporalio import activity, client
from temporalio.service import RPCError, RPCStatusCode

#: In the environment of the process: the file of its faults.
FAULTS_FILE = "TESTS_TEMPORAL_FAULTS"


class Moment(StrEnum):
    """What becomes of the call."""

    KILLED_BEFORE = "killed before it"
    KILLED_AFTER = "killed after it"
    NOT_DONE = "not done"
    LOST = "done, its answer lost"


KILLED = (Moment.KILLED_BEFORE, Moment.KILLED_AFTER)
UNANSWERED = (Moment.NOT_DONE, Moment.LOST)


@dataclass(frozen=True)
class CallFault:
    """One fault, of the next such call.

    `of` is the workflow that the call is sent to, or the one whose activity sends it.
    """

    call: str
    of: str
    moment: Moment


def read_faults(file: Path) -> list[CallFault]:
    """Return the faults that have struck no call yet."""
    try:
        found = json.loads(file.read_text())
    except FileNotFoundError:
        return []
    return [CallFault(one["call"], one["of"], Moment(one["moment"])) for one in found]


def write_faults(file: Path, faults: Iterable[CallFault]) -> None:
    """Replace all faults by these."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps([asdict(one) for one in faults]))
    new.replace(file)


class _Faults(client.Interceptor):
    def __init__(self, file: Path) -> None:
        self._file = file

    def intercept_client(self, next: client.OutboundInterceptor) -> client.OutboundInterceptor:
        return _Calls(next, self._file)


class _Calls(client.OutboundInterceptor):
    def __init__(self, next: client.OutboundInterceptor, file: Path) -> None:
        super().__init__(next)
        self._file = file

    def _begin(self, call: str, id: str) -> Moment | None:
        """Take the fault of the call; return it if it comes after the call."""
        caller = activity.info().workflow_id if activity.in_activity() else ""
        faults = read_faults(self._file)
        fault = next((one for one in faults if one.call == call and one.of in (id, caller)), None)
        if fault is None:
            return None
        faults.remove(fault)
        write_faults(self._file, faults)
        if fault.moment in (Moment.KILLED_BEFORE, Moment.NOT_DONE):
            _strike(fault.moment)
        return fault.moment

    async def describe_workflow(self, input: client.DescribeWorkflowInput) -> Any:
        after = self._begin("describe_workflow", input.id)
        found = await super().describe_workflow(input)
        _strike(after)
        return found

    async def query_workflow(self, input: client.QueryWorkflowInput) -> Any:
        after = self._begin("query_workflow", input.id)
        found = await super().query_workflow(input)
        _strike(after)
        return found

    async def signal_workflow(self, input: client.SignalWorkflowInput) -> None:
        after = self._begin("signal_workflow", input.id)
        await super().signal_workflow(input)
        _strike(after)

    async def start_workflow(self, input: client.StartWorkflowInput) -> Any:
        after = self._begin("start_workflow", input.id)
        found = await super().start_workflow(input)
        _strike(after)
        return found

    async def start_workflow_update(self, input: client.StartWorkflowUpdateInput) -> Any:
        after = self._begin("start_workflow_update", input.id)
        found = await super().start_workflow_update(input)
        _strike(after)
        return found

    async def start_update_with_start_workflow(self, input: client.StartWorkflowUpdateWithStartInput) -> Any:
        after = self._begin("start_update_with_start_workflow", input.start_workflow_input.id)
        found = await super().start_update_with_start_workflow(input)
        _strike(after)
        return found

    def list_workflows(self, input: client.ListWorkflowsInput) -> Any:
        return self._each("list_workflows", "", super().list_workflows(input))

    def fetch_workflow_history_events(self, input: client.FetchWorkflowHistoryEventsInput) -> Any:
        events = super().fetch_workflow_history_events(input)
        return self._each("fetch_workflow_history_events", input.id, events)

    def _each(self, call: str, id: str, found: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Return the pages as they are unless a fault may strike: some callers need more than an iterator."""
        is_faulty = any(fault.call == call for fault in read_faults(self._file))
        return self._each_or_fault(call, id, found) if is_faulty else found

    async def _each_or_fault(self, call: str, id: str, found: AsyncIterator[Any]) -> AsyncIterator[Any]:
        after = self._begin(call, id)
        async for one in found:
            _strike(after)
            after = None
            yield one
        _strike(after)


def _strike(moment: Moment | None) -> None:
    if moment in KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
    elif moment:
        raise RPCError("the connection is lost", RPCStatusCode.UNAVAILABLE, b"")


def main() -> None:
    """Run `moorage` with the arguments."""
    connect = client.Client.connect

    async def connect_with_faults(*arguments: Any, interceptors: Any = (), **options: Any) -> client.Client:
        faults = _Faults(Path(os.environ[FAULTS_FILE]))
        return await connect(*arguments, interceptors=[*interceptors, faults], **options)

    client.Client.connect = connect_with_faults  # type: ignore[method-assign]
    sys.argv[0] = "moorage"
    import moorage

    moorage.main()


if __name__ == "__main__":
    main()
