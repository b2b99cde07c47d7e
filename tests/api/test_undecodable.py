"""Ensures that data that no key of the API decrypts is reported as such, and breaks nothing else."""

import asyncio
import base64
import os
import time
from datetime import UTC, datetime

import pytest
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes

from activities.capacity.audit import CapacityAudit, CapacitySettings
from contracts.capacity.audit import AuditInput, AuditResult
from contracts.temporal import search_attributes
from contracts.temporal.workflow_memo import REQUEST_ID
from contracts.types.naming import workflow_id
from embedded.stack.stack import Stack
from tests.activities.activity_runs import Running
from tests.api.caller import MAX_WAIT, Caller, problem
from tests.support.stack import ALICE, client_of, unique
from worker.codec import Keyring
from worker.data_converter import data_converter


@pytest.mark.slow
async def test_an_environment_whose_key_is_gone(stack: Stack, alice: Caller) -> None:
    """Ensures that it is listed with what is in clear, and that asking for it is one sentence."""
    lost, name = Keyring.parse(base64.b64encode(os.urandom(32)).decode()), unique("lost")
    client = await Client.connect(stack.temporal_address, data_converter=data_converter(lost))
    run = await client.start_workflow(
        "EnvironmentWorkflow",
        id=workflow_id(name),
        task_queue="no-worker",
        memo={REQUEST_ID: "encrypted"},
        search_attributes=TypedSearchAttributes([SearchAttributePair(search_attributes.OWNER, ALICE.email)]),
    )
    details = problem(await alice.http.get(f"/environments/{name}"), 503)
    assert details["detail"] == "What Temporal keeps of it cannot be decrypted: tell the platform team."

    async def listed() -> dict[str, str]:
        answer = await alice.http.get("/environments", params={"owner": ALICE.email, "limit": 100})
        assert answer.status_code == 200, f"the list is gone with it: {answer.text}"
        return {row["name"]: row["life"] for row in answer.json()["environments"]}

    ends = time.monotonic() + MAX_WAIT
    while name not in (rows := await listed()):  # visibility lags behind by moments
        assert time.monotonic() < ends, f"it is not listed: {rows}"
        await asyncio.sleep(0.1)
    assert rows[name] == ""

    ours = await client_of(stack)
    audit = Running(CapacityAudit(ours, {}, CapacitySettings()).audit, AuditInput(now=datetime.now(UTC)))
    found: AuditResult = await audit.result()
    assert name not in {holding.name for holding in found.adopted}, "it was taken up unread"

    path, meant = f"/environments/{name}/force-teardown", {"life": "a" * 20, "host": "local"}
    still_open = await alice.http.post(path, params=meant)
    assert still_open.json()["kind"] == "nothing_to_do", "a run was started beside an open one"
    await run.terminate()
    assert "can be read" in problem(await alice.http.post(path), 409)["detail"]
    forced = await alice.http.post(path, params=meant)
    assert (forced.status_code, forced.json()["kind"]) == (202, "accepted"), forced.text
    gone = await alice.until(name, lambda view: view.ended)
    assert (gone.phase, gone.life) == ("gone", "a" * 20)
