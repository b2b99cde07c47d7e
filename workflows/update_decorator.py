"""The decorator of update handlers that have a description."""

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from temporalio import workflow
from temporalio.workflow import UpdateMethodMultiParam

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def described_update(
    description: str,
) -> Callable[[Callable[_Parameters, Awaitable[_Result]]], UpdateMethodMultiParam[_Parameters, _Result]]:
    """Declare an update handler with a description for the Web UI.

    The SDK types `workflow.update` with arguments as if callers of the update received the handler's
    coroutine. Callers of what is declared here receive its result.
    """

    def declare(
        handler: Callable[_Parameters, Awaitable[_Result]],
    ) -> UpdateMethodMultiParam[_Parameters, _Result]:
        declared: UpdateMethodMultiParam[_Parameters, _Result] = workflow.update(description=description)(
            handler  # type: ignore[arg-type]
        )
        return declared

    return declare
