"""Ensures that whatever is sent to the API is answered, with a sentence where it is wrong: never with a 5xx.

The cases are made by schemathesis from the API's own description: what fits it, and what does not.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import hypothesis
import pytest
import requests
from hypothesis import HealthCheck

from embedded.stack.stack import Person, Stack
from tests.support.stack import ALICE, BOB

pytestmark = pytest.mark.slow

#: Streams until a life is over; what it answers before that is what `show` answers.
LEFT_OUT = "/environments/{name}/events"
#: Longest wait for one answer: the API waits for Temporal for less than that.
MAX_WAIT = 45.0
CASES = 10_000
#: Of one operation in one round; without so many there is little variety in one that takes a body.
ROUND = 200


@dataclass
class Fuzzer:
    """Calls the operations of a stack's API as one of its people, and counts."""

    stack: Stack
    person: Person
    cases: int = 0

    def operations(self) -> list[Any]:
        # Imported here: it takes two seconds, in each process that collects the tests.
        import schemathesis
        from schemathesis.core.result import Ok

        schema = schemathesis.openapi.from_url(f"{self.stack.api_url}/api/v1/openapi.json", timeout=MAX_WAIT)
        found = []
        for result in schema.exclude(path_regex="/events$").get_all_operations():
            assert isinstance(result, Ok), f"a wrong operation: {result}"
            found.append(result.ok())
        assert len(found) >= 15, "the API's description has hardly any operation"
        return found

    def attack(self, operation: Any, examples: int, seed: int) -> None:
        """Send so many cases of an operation; fail on the first answer that is not of the API's kind."""

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy())
        def answered(case: Any) -> None:
            self.cases += 1
            answer = case.call(session=session, headers=headers, timeout=MAX_WAIT)
            assert answer.status_code < 500, f"{case.as_curl_command()}: {answer.status_code} {answer.text}"
            if answer.status_code >= 400:
                problem = answer.json()
                assert problem["detail"], f"{case.as_curl_command()}: it does not say what is wrong"
                assert "Traceback" not in answer.text

        headers = {"Authorization": f"Bearer {self.stack.token_of(self.person.email)}"}
        with requests.Session() as session:
            session.trust_env = False
            answered()


def test_a_few_hundred_cases(stack: Stack) -> None:
    fuzzer = Fuzzer(stack, BOB)
    for operation in fuzzer.operations():
        fuzzer.attack(operation, examples=10, seed=4711)
    assert fuzzer.cases >= 100


@pytest.mark.chaos
@pytest.mark.guarantee("7. Fuzz")
@pytest.mark.timeout(1320)
def test_ten_thousand_cases(battered: Stack, record_property: Callable[[str, object], None]) -> None:
    fuzzer = Fuzzer(battered, ALICE)
    operations = fuzzer.operations()
    for number in itertools.count():
        before = fuzzer.cases
        for operation in operations:
            fuzzer.attack(operation, examples=min(ROUND, CASES), seed=number)
            if fuzzer.cases >= CASES:
                break
        if fuzzer.cases >= CASES:
            break
        # What takes nothing has few cases; the others are gone through again, with other values.
        operations = operations if fuzzer.cases > before else pytest.fail("there are no more cases")
    record_property("cases", fuzzer.cases)
