"""Errors of a request that callers can correct: which field is wrong, and why."""

from collections.abc import Sequence

from contracts.types.models import Frozen


class FieldProblem(Frozen):
    """One field of a request, and a sentence that says what is wrong with it."""

    field: str
    message: str


class InvalidRequest(Exception):
    """The request is not valid; `problems` names every wrong field."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{problem.field}: {problem.message}" for problem in self.problems))
