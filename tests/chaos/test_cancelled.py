"""Ensures that a cancellation, by any client and at any time, leaves nothing and is named in the status."""

from urllib.parse import quote

import httpx
import pytest

from contracts.types.naming import workflow_id
from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.support.fault_points import MAKING
from tests.support.stack import unique
from tests.support.stand_ins import TLS, set_faults

pytestmark = [pytest.mark.chaos, pytest.mark.guarantee("3. Cancelled anywhere")]


async def press_cancel(stack: Stack, name: str) -> None:
    """Send what the button of Temporal's Web UI sends, to the Web UI's own server, as its page does.

    `cancelWorkflow` in github.com/temporalio/ui, src/lib/services/workflow-service.ts; the token against
    forged requests comes as a cookie with any page and goes back as a header.
    """
    id = quote(workflow_id(name), safe="")
    async with httpx.AsyncClient(base_url=stack.ui_url, trust_env=False, verify=TLS, timeout=30) as browser:
        path = f"/api/v1/namespaces/default/workflows/{id}"
        run = (await browser.get(path)).json()["workflowExecutionInfo"]["execution"]["runId"]
        answer = await browser.post(
            f"{path}/cancel",
            params={"execution.runId": run},
            headers={"X-CSRF-TOKEN": browser.cookies.get("_csrf") or ""},
        )
        assert answer.status_code == 200, f"the Web UI's server: {answer.status_code} {answer.text}"


@pytest.mark.parametrize("step", MAKING)
async def test_from_the_web_ui_in_a_step(
    battered: Stack, asking: Asking, systems: Systems, step: str
) -> None:
    name, (part, operation) = unique("webui"), MAKING[step]
    set_faults(
        battered.url(part), Fault(operation=operation, kind=FaultKind.DELAY_BEFORE, seconds=1.0, times=1)
    )
    await asking.request(name)
    await asking.until_step(name, step, "running")
    await press_cancel(battered, name)
    assert (await asking.until_phase(name, "gone"))["outcome"] == "cancelled"
    assert systems.holds(name) == {}


@pytest.mark.parametrize("step", MAKING)
async def test_between_steps(asking: Asking, systems: Systems, step: str) -> None:
    name = unique("between")
    await asking.request(name)
    await asking.until_step(name, step, "done")
    answer = await asking.cancel(name)
    # The last step's end is the environment's readiness: then there is nothing to cancel, and it says so.
    if answer.status_code == 409:
        assert "use delete" in answer.text
        await asking.delete(name)
    await asking.until_phase(name, "gone")
    assert systems.holds(name) == {}


async def test_twice(battered: Stack, asking: Asking, systems: Systems) -> None:
    name = unique("twice")
    fault = Fault(operation="namespace.create", kind=FaultKind.DELAY_BEFORE, seconds=1.0, times=1)
    set_faults(battered.url(Part.HOST), fault)
    await asking.request(name)
    await asking.until_step(name, "namespace", "running")
    assert (await asking.cancel(name)).status_code == 202
    assert (await asking.cancel(name)).status_code < 300
    await press_cancel(battered, name)
    await press_cancel(battered, name)
    assert (await asking.until_phase(name, "gone"))["outcome"] == "cancelled"
    assert systems.holds(name) == {}


@pytest.mark.parametrize("who", ["API", "Web UI"])
async def test_during_the_rollback_of_a_failure(
    battered: Stack, asking: Asking, systems: Systems, who: str
) -> None:
    name = unique("rollback")
    set_faults(
        battered.url(Part.CONTROL_PLANE), Fault(operation="cluster.create", kind=FaultKind.STATUS, status=403)
    )
    set_faults(
        battered.url(Part.HOST),
        Fault(operation="release.uninstall", kind=FaultKind.DELAY_BEFORE, seconds=1.5, times=1),
    )
    await asking.request(name)
    await asking.until_step(name, "vcluster", "undoing")
    if who == "API":
        assert (await asking.cancel(name)).status_code < 300
    else:
        await press_cancel(battered, name)
    gone = await asking.until_phase(name, "gone")
    assert gone["outcome"] == "failed", "the first cause decides"
    assert gone["certificate"]["nothing_left"] is True
    assert systems.holds(name) == {}
