"""Waits that a cancellation of the workflow does not end."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from temporalio import workflow


class ShieldedWaits:
    """Waits until something holds or is done, also while cancelled; `on_cancelled` records that."""

    def __init__(self, on_cancelled: Callable[[], None]) -> None:
        self._on_cancelled = on_cancelled

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; a cancellation of the workflow does not end the wait.

        A single shield is not enough: when the cancellation passes it, the run closes and the rest of an undo
        is lost. Temporal delivers the cancellation once. This method records it and continues to wait.
        """
        while not condition():
            try:
                await workflow.wait_condition(condition)
            except asyncio.CancelledError:
                if task := asyncio.current_task():
                    task.uncancel()
                self._on_cancelled()

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` to its end."""
        task = asyncio.create_task(work)
        await self.until(task.done)
        task.result()
