"""Ensures that a list takes back its own cursors only, whichever API of the installation gave them."""

import base64
import os

import pytest

from starter.environments.lists.cursors import BadCursor, Cursors
from worker.settings.groups.codec import Encryption

OLD, NEW = (base64.b64encode(os.urandom(32)).decode() for _ in range(2))
QUERY = "WorkflowType = 'EnvironmentWorkflow'"


def cursors(*keys: str) -> Cursors:
    return Cursors(Encryption.model_validate({"keys": " ".join(keys)}).cursor_keys)


def test_every_api_with_the_keys_takes_them() -> None:
    cursor = cursors(OLD).write(b"page two", QUERY)
    assert cursors(OLD).read(cursor, QUERY) == b"page two"
    assert cursors(NEW, OLD).read(cursor, QUERY) == b"page two", "while keys are replaced"
    assert cursors(OLD).read(None, QUERY) is None
    assert cursors(OLD).read("", QUERY) is None
    assert cursors(OLD).write(b"", QUERY) is None


@pytest.mark.parametrize("keys", [(NEW,), (OLD,)])
def test_no_other_is_taken(keys: tuple[str, ...]) -> None:
    good = cursors(OLD).write(b"page two", QUERY)
    assert good
    forged = ["x", "a" * 4000, "ä", "%", good[:-1], good[1:], good + "AAAA"]
    forged.append(base64.b64encode(b"page two").decode())
    if keys == (NEW,):
        forged.append(good)
    for cursor in forged:
        with pytest.raises(BadCursor):
            cursors(*keys).read(cursor, QUERY)
    with pytest.raises(BadCursor):
        cursors(*keys).read(good, QUERY + " AND EnvTeam = 'other'")
