"""What a test waited for when its time was over: pytest-timeout shows threads, and ours wait in tasks."""

import asyncio
import gc
from collections.abc import Iterator
from types import CodeType
from typing import Any


def pending_tasks() -> Iterator[str]:
    """Describe each asyncio task of this process that is not done: the lines it waits in, outermost first."""
    for each in gc.get_objects():
        if isinstance(each, asyncio.Task) and not each.done():
            yield f"{each.get_name()} waits in\n" + "\n".join(f"  {line}" for line in _lines(each.get_coro()))


def _lines(awaited: Any) -> Iterator[str]:
    while awaited is not None:
        for prefix in ("cr", "ag", "gi"):
            code: CodeType | None = getattr(awaited, f"{prefix}_code", None)
            if code:
                frame = getattr(awaited, f"{prefix}_frame")
                yield f"{code.co_filename}:{frame.f_lineno if frame else '?'} {code.co_qualname}"
                awaited = getattr(awaited, f"{prefix}_{'yieldfrom' if prefix == 'gi' else 'await'}")
                break
        else:
            yield repr(awaited)
            return
