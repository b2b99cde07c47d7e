"""What tests need to run against real servers: a shared Temporal server, and a whole embedded stack.

Fixtures, in `tests/conftest.py`, for the whole session:

- `temporal_server`  the dev server as the product runs it, in memory, for workers in the test's process:
                     `temporal_server.client`. Tests share it: take `unique("...")` for names, workflow ids
                     and task queues, and look for nothing but your own.
- `stack`            all parts as processes, in a hurry (see `hurried`). Tests share it as well. Who breaks
                     parts of it, or needs other options, runs one of their own:

    async with Stack(tmp_path, hurried(people=(...))) as stack:
        await stack.kill(Part.WORKER)
"""

import dataclasses
import itertools
import os
import secrets
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.converter import DataConverter

from contracts.environment_workflow import LifecycleTimeouts
from embedded.stack.fork_server import PYTHON
from embedded.stack.stack import Options, Part, Person, Stack
from tests.support.temporal_server import ONE_THREAD
from worker.codec import Keyring
from worker.data_converter import data_converter

#: Everything that takes minutes in earnest takes moments here. `late_response_window` stays above the
#: timeouts below.
HURRY = LifecycleTimeouts(
    late_response_window=timedelta(seconds=4),
    # Twice what a worker on a busy machine was seen to be silent for.
    heartbeat_timeout=timedelta(seconds=6),
    first_retry=timedelta(milliseconds=50),
    longest_retry=timedelta(milliseconds=500),
    step_timeout=timedelta(seconds=30),
    undo_timeout=timedelta(seconds=10),
    first_pause=timedelta(milliseconds=200),
    longest_pause=timedelta(seconds=1),
    give_up_after=timedelta(seconds=60),
)
#: Longest wait for one answer of a stand-in: a fault that swallows an answer costs a test this much.
TIMEOUT = timedelta(seconds=3)

#: One of each kind, as the table of who may do what has them. All have a token: `stack.token_of(email)`.
ALICE = Person("alice@example.com", teams=("blue",), role="platform")
BOB = Person("bob@example.com", teams=("blue",))
CAROL = Person("carol@example.com", teams=("blue",))
DAVE = Person("dave@example.com", teams=("green",))

#: `TEST_TEMPORAL=postgres`: each stack has its own Temporal server on its own PostgreSQL.
ON_POSTGRES = os.environ.get("TEST_TEMPORAL") == "postgres"

_numbers = itertools.count(1)
#: Differs between processes of one test run, which may share a server.
_run = secrets.token_hex(2)


def unique(start: str = "env") -> str:
    """A name that no other test uses; a valid one for an environment if `start` is."""
    return f"{start}-{_run}-{next(_numbers)}"


def converter_of(stack: Stack) -> DataConverter:
    """What reads and writes the payloads of a stack, as its own worker and API do."""
    return data_converter(Keyring.parse(stack.env["MOORAGE_ENCRYPTION__KEYS"]))


async def client_of(stack: Stack) -> Client:
    """A client of a stack's Temporal server that reads what is encrypted."""
    return await Client.connect(stack.temporal_address, data_converter=converter_of(stack))


def temporal_command() -> tuple[str, ...]:
    """What starts the Temporal server of a stack instead of the dev server, if the tests run on another."""
    if not ON_POSTGRES:
        return ()
    from tools.temporal_postgres.binaries import ensure_built

    return (*PYTHON, "tools.temporal_postgres", "run", "--binaries", str(ensure_built().folder))


def hurried(**changes: Any) -> Options:
    """Options of a stack for tests: quick hosts, short waits, four people with tokens; with `changes`.

    No reconcile sweep is scheduled there: it would adopt what other tests leave without a workflow.
    """
    environment = {"MOORAGE_RECONCILE__INTERVAL": "10000d", **changes.pop("environment", {})}
    environment_of = {Part.TEMPORAL: ONE_THREAD, **changes.pop("environment_of", {})}
    options = Options(
        # The Web UI that it is for is not looked at: a process less for every stack.
        parts=frozenset(Part) - {Part.CODEC_SERVER},
        people=(ALICE, BOB, CAROL, DAVE),
        timeouts=HURRY,
        timeout=TIMEOUT,
        stand_ins={Part.HOST: {"start_seconds": 0.3, "stop_seconds": 0.1}},
        temporal_command=temporal_command(),
        background_niceness=0,  # the tests wait for the worker
        environment=environment,
        environment_of=environment_of,
    )
    return dataclasses.replace(options, **changes)
