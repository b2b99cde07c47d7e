"""Checks several requests for environments together, before the first of them is sent. It starts nothing."""

import math
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from contracts.environment.payload_limits import MAX_COLLABORATORS
from contracts.environment_workflow import EnvironmentStart
from starter.api.request_models import EnvironmentRequest
from starter.auth.policy import Principal
from starter.config_files.validation_messages import sentence
from starter.environments.people_check import PeopleDirectory, check_people
from starter.environments.requests.planning import RequestedEnvironment, people_problems
from starter.environments.requests.service import EnvironmentService
from starter.environments.schemas import RequestsChecked
from starter.request_errors import FieldProblem, InvalidRequest

#: A key for the plans, none of which is started.
_KEY = "check"


def cost_of(bodies: Sequence[Any]) -> int:
    """Return how many dry runs a check counts as: the directory is asked for as many people as in these."""
    lists = [body.get("collaborators") for body in bodies if isinstance(body, dict)]
    people = {str(each).lower() for named in lists if isinstance(named, list) for each in named}
    return max(1, math.ceil(len(people) / MAX_COLLABORATORS))


class RequestsCheck:
    """Finds every problem of several requests that is known without asking a host."""

    def __init__(self, service: EnvironmentService, people: PeopleDirectory) -> None:
        self._service = service
        self._people = people

    async def check(self, bodies: Sequence[Any], principal: Principal) -> RequestsChecked:
        """Return if all requests are valid; raise InvalidRequest with the problems of all of them."""
        problems: list[FieldProblem] = []
        planned: dict[int, tuple[EnvironmentStart, RequestedEnvironment]] = {}
        names: dict[str, int] = {}
        for index, body in enumerate(bodies):
            try:
                requested = _read(body)
                if (first := names.setdefault(requested.name, index)) != index:
                    message = f'"{requested.name[:80]}" is also the name of environments.{first}'
                    problems.append(FieldProblem(field=f"environments.{index}.name", message=message))
                planned[index] = self._service.plan(requested, principal, _KEY), requested
            except InvalidRequest as invalid:
                problems += _numbered(index, invalid.problems)
        everybody = {person for start, _ in planned.values() for person in start.environment.people}
        found = await check_people(self._people, sorted(everybody))
        for index, (start, requested) in planned.items():
            problems += _numbered(index, people_problems(start, requested, found.problems))
        if problems:
            raise InvalidRequest(sorted(problems, key=_number))
        message = "The request is valid." if len(bodies) == 1 else f"All {len(bodies)} requests are valid."
        if not found.complete:
            message += " Whether all people are known could not be checked now; it is checked first."
        return RequestsChecked(message=message, people_are_checked=found.complete)


def _read(body: Any) -> RequestedEnvironment:
    try:
        return EnvironmentRequest.model_validate(body).requested()
    except ValidationError as error:
        raise InvalidRequest(
            [
                FieldProblem(
                    field=".".join(map(str, detail["loc"])), message=sentence(detail, EnvironmentRequest)
                )
                for detail in error.errors()
            ]
        ) from None


def _numbered(index: int, problems: Sequence[FieldProblem]) -> list[FieldProblem]:
    return [
        FieldProblem(field=f"environments.{index}.{problem.field}".removesuffix("."), message=problem.message)
        for problem in problems
    ]


def _number(problem: FieldProblem) -> int:
    return int(problem.field.split(".")[1])
