"""Nothing that Temporal gets to see holds a secret: receipts, results, heartbeats, failures."""

import json

import pytest

from contracts.environment.models import Environment, StepName
from embedded.faults import Fault, FaultKind
from tests.activities.activity_runs import Running, details
from tests.activities.conftest import HOST, KEY, TOKEN, Bench

pytestmark = pytest.mark.slow


async def secrets_of(bench: Bench, environment: Environment) -> set[str]:
    """All that must not be seen: credentials of ours, of the virtual cluster, of the agent in it."""
    name = environment.derived_name
    kubeconfig = await bench.clients.hosts[HOST].kubeconfig(name, name)
    assert kubeconfig
    assert kubeconfig.current()[1]["token"] in kubeconfig.text(), "the search would not find it"
    [[agent_token]] = bench.systems.query(
        "rafay.sqlite", "SELECT token FROM clusters WHERE name = :name", name
    )
    return {KEY, TOKEN, kubeconfig.current()[1]["token"], agent_token}


async def everything_said_by(running: Running) -> str:
    """Return all that an activity sends to Temporal until it ends."""
    try:
        end = (await running.result()).model_dump_json()
    except Exception as error:
        end = json.dumps([str(error), repr(error.__cause__), details(error).model_dump_json()])  # type: ignore[arg-type]
    return "\n".join([end, *(beat.model_dump_json() for beat in running.beats)])


async def test_no_step_tells_a_secret(bench: Bench, environment: Environment) -> None:
    everything = [await everything_said_by(bench.ensuring(step, environment)) for step in StepName]
    secrets = await secrets_of(bench, environment)
    undone = [step for step in reversed(StepName) if step is not StepName.KUBECONFIG]
    everything += [await everything_said_by(bench.removing(step, environment)) for step in undone]
    assert environment.derived_name in "".join(everything), "the search finds nothing at all"
    for secret in secrets:
        assert secret not in "".join(everything), "an activity sent a secret to Temporal"


@pytest.mark.parametrize(
    "kind",
    [FaultKind.STATUS, FaultKind.STATUS_AFTER, FaultKind.HTML, FaultKind.CUT_AFTER, FaultKind.TRUNCATE],
)
@pytest.mark.parametrize(
    ("step", "operation"),
    [(StepName.KUBECONFIG, "kubeconfig.get"), (StepName.IMPORT, "bootstrap.get")],
)
async def test_no_failure_tells_a_secret(
    bench: Bench, environment: Environment, step: StepName, operation: str, kind: FaultKind
) -> None:
    for each in StepName:
        await bench.ensure(each, environment)
    secrets = await secrets_of(bench, environment)
    if step is StepName.IMPORT:
        await bench.remove(step, environment)
    bench.systems.faults(Fault(operation=operation, kind=kind, status=502))
    everything = await everything_said_by(bench.ensuring(step, environment, limit=5))
    assert "could not" in everything, f"it did not fail: {everything}"
    for secret in secrets:
        assert secret not in everything, "an activity sent a secret to Temporal"
