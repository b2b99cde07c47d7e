"""The answers of identity providers, parsed into the shapes that an adapter expects."""

from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from clients.errors import MalformedAnswer
from clients.transport.http import Answer

_T = TypeVar("_T")


def parse_answer(
    adapter: TypeAdapter[_T], answer: Answer, system: str, operation: str, *, ambiguous: bool = False
) -> _T:
    """Return the body as the shape of the adapter; raise MalformedAnswer if it has another form."""
    try:
        return adapter.validate_json(answer.body)
    except (ValidationError, RecursionError):
        # Raise outside of the handler, because the validation error would carry the answer along.
        pass
    raise MalformedAnswer(system, operation, f"the answer does not have {system}'s form", ambiguous=ambiguous)
