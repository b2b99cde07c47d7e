"""What API servers were seen to answer, and what it means for an apply."""

import json

import pytest

from clients.errors import Rejected
from clients.transport.http import Answer
from clients.virtual_cluster.api import _classify

MISSHAPEN = "500 failed to create typed patch object (a/b; apps/v1, Kind=Deployment): .spec: expected map"


@pytest.mark.parametrize(
    ("status", "detail", "kind"),
    [
        (500, MISSHAPEN, Rejected),
        (500, "500 etcdserver: request timed out", None),
        (503, MISSHAPEN, None),
    ],
)
def test_a_500_that_will_always_be_one(status: int, detail: str, kind: type[Exception] | None) -> None:
    """Ensures that an object of the wrong form is not tried again for a quarter of an hour."""
    answer = Answer(status, {}, json.dumps({"message": detail}).encode())
    assert _classify(answer, detail) is kind
