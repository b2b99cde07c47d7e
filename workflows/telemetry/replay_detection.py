"""Tells an event that happens now from one whose lines only run again.

`is_replaying` is not enough: a query to a workflow that is not in memory may run it further than its last
task, and the next task then runs the same lines again, and a task that is lost is run again.
"""

from collections import Counter, OrderedDict
from collections.abc import Hashable
from weakref import WeakKeyDictionary

from temporalio import workflow

#: Events that a process remembers: a repetition comes within moments, and this is some minutes of events.
MAX_REMEMBERED = 10_000

#: By workflow object: how often each event has happened in the life of the run, replays included.
_happened: WeakKeyDictionary[object, Counter[Hashable]] = WeakKeyDictionary()
#: By run, event and number of the occurrence: what has happened in this process.
_seen: OrderedDict[tuple[str, Hashable, int], None] = OrderedDict()


def is_new_occurrence(event: Hashable) -> bool:
    """Return whether the event happens now, for the first time in this process.

    Call it once where the event happens: it counts the occurrences.
    """
    happened = _happened.setdefault(workflow.instance(), Counter())
    happened[event] += 1
    if workflow.unsafe.is_replaying():
        return False
    occurrence = workflow.info().run_id, event, happened[event]
    if occurrence in _seen:
        return False
    _seen[occurrence] = None
    if len(_seen) > MAX_REMEMBERED:
        _seen.popitem(last=False)
    return True


def forget_occurrences() -> None:
    """Forget what has happened in this process, as a new process has."""
    _seen.clear()
