"""What workflows count and measure, each event once. A metric is no command: histories do not depend on it.

Temporal's meter does nothing during a replay. That is not enough: a query to a workflow that is not in
memory may run it further than its last task, and the next task then runs the same lines again, and a task
that is lost is run again.
"""

from collections import Counter, OrderedDict
from collections.abc import Mapping
from datetime import timedelta
from weakref import WeakKeyDictionary

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from contracts.metrics import Metric

#: Events that a process remembers: a repetition comes within moments, and this is some minutes of events.
MAX_REMEMBERED = 10_000

_Event = tuple[str, tuple[tuple[str, str], ...]]
#: By workflow object: how often each event has happened in the life of the run, replays included.
_happened: WeakKeyDictionary[object, Counter[_Event]] = WeakKeyDictionary()
#: By run, event and number of the occurrence: what this process has counted.
_counted: OrderedDict[tuple[str, _Event, int], None] = OrderedDict()


def count(metric: Metric, labels: Mapping[str, str], amount: int = 1) -> None:
    """Add to a counter."""
    if _is_new(metric, labels):
        workflow.metric_meter().create_counter(metric.name, metric.help).add(amount, labels)


def observe(metric: Metric, took: timedelta, labels: Mapping[str, str]) -> None:
    """Add a duration to a histogram."""
    if _is_new(metric, labels):
        histogram = workflow.metric_meter().create_histogram_float(metric.name, metric.help)
        # Temporal's time of two tasks may go back, and a histogram takes no negative value.
        histogram.record(max(0.0, took.total_seconds()), labels)


def _is_new(metric: Metric, labels: Mapping[str, str]) -> bool:
    """Return whether this process has not counted this occurrence of the event."""
    event = metric.name, tuple(sorted(labels.items()))
    happened = _happened.setdefault(workflow.instance(), Counter())
    happened[event] += 1
    if workflow.unsafe.is_replaying():
        return False
    occurrence = workflow.info().run_id, event, happened[event]
    if occurrence in _counted:
        return False
    _counted[occurrence] = None
    if len(_counted) > MAX_REMEMBERED:
        _counted.popitem(last=False)
    return True
