"""The product's interceptor for the activities that are real in a test; scripted steps do without."""

from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from activities.interceptor import ActivityInterceptor


class RealEdge(Interceptor):
    """Wraps the activities whose names begin with one of the `prefixes`.

    Scripted ones stay as they are, so that a test can cut them anywhere. The name of each activity that has
    started, once whatever its attempts, is added to `started`.
    """

    def __init__(self, *prefixes: str, started: list[str] | None = None) -> None:
        self._prefixes = prefixes
        self._started = [] if started is None else started

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Chosen(next, self._prefixes, self._started)


class _Chosen(ActivityInboundInterceptor):
    def __init__(
        self, next: ActivityInboundInterceptor, prefixes: tuple[str, ...], started: list[str]
    ) -> None:
        super().__init__(next)
        self._started = started
        self._edge = ActivityInterceptor().intercept_activity(next)
        self._prefixes = prefixes

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        is_real = info.activity_type.startswith(self._prefixes)
        if info.attempt == 1:
            self._started.append(info.activity_type)
        return await (self._edge if is_real else self.next).execute_activity(input)
