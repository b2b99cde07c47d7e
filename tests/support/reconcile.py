"""Reconcile sweeps on request, and what belongs to others on the systems of a stack."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from temporalio.service import RPCError

from clients.identity.scim import Scim
from clients.rafay import Rafay
from clients.simulated_host.host import SimulatedHost
from contracts.temporal import workflow_memo
from contracts.types.naming import OwnerMark, life_id, workflow_id
from embedded.stack.stack import Part, Stack
from tests.lifecycle.databases import PREFIX
from tests.lifecycle.environment_client import Asking
from tests.support.stack import TIMEOUT, client_of, unique
from tests.support.stand_ins import TLS

#: Another installation on the same systems.
STRANGER = "theirs0000"
#: Answers to wait for: each comes when the sweep is over, or after some seconds.
MAX_LOOKS = 60


async def sweep(asking: Asking, **body: Any) -> dict[str, Any]:
    """Return the result of a sweep on request."""
    answer = await asking.call("POST", "/reconcile", json=body)
    dry = {"dry_run": body.get("dry_run", False)}
    for _ in range(MAX_LOOKS):
        if answer.status_code != 202:
            break
        answer = await asking.call("GET", f"/reconcile/{answer.json()['id']}", params=dry)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()["result"]
    assert result, answer.text
    assert not result["problem"], result
    return result


def host_of(stack: Stack) -> SimulatedHost:
    env = stack.env
    return SimulatedHost(
        "local",
        env["MOORAGE_HOSTS__LOCAL__URL"],
        env["MOORAGE_HOSTS__LOCAL__TOKEN"],
        timeout=TIMEOUT,
        verify=TLS,
    )


def rafay_of(stack: Stack) -> Rafay:
    env = stack.env
    url, key = env["MOORAGE_CONTROL_PLANE__URL"], env["MOORAGE_CONTROL_PLANE__API_KEY"]
    return Rafay(url, key, timeout=TIMEOUT, verify=TLS)


def scim_of(stack: Stack) -> Scim:
    env = stack.env
    url, token = env["MOORAGE_IDENTITY__URL"], env["MOORAGE_IDENTITY__TOKEN"]
    return Scim(url, token, timeout=TIMEOUT, verify=TLS)


async def leave_strangers(stack: Stack) -> dict[str, list[Any]]:
    """Create what belongs to another installation, and what has no mark, beside ours."""
    rafay, scim, host = rafay_of(stack), scim_of(stack), host_of(stack)
    theirs = OwnerMark.for_request(STRANGER, unique("theirs"), "request")
    name = f"{PREFIX}-{theirs.name}"
    await rafay.create_project(name, theirs.text)
    await rafay.create_group(name, theirs.text)
    await scim.create_group(name, theirs.text)
    await host.create_namespace(name, theirs.labels, {"moorage.dev/owner": theirs.text})
    bare = f"{PREFIX}-{unique('bare')}"
    await rafay.create_project(bare, "made by hand")
    await rafay.create_group(bare, "")
    await scim.create_group(bare, "")
    half = OwnerMark.for_request(stack.installation, unique("half"), "request")
    # Only its labels bear our mark.
    await host.create_namespace(f"{PREFIX}-{half.name}", half.labels, {})
    for system in (rafay, scim, host):
        await system.close()
    return strangers_of(stack)


def strangers_of(stack: Stack) -> dict[str, list[Any]]:
    """Return what the databases hold that is not of an environment of ours."""
    queries = {
        Part.CONTROL_PLANE: (
            "SELECT name, description FROM projects WHERE NOT builtin",
            "SELECT name, description FROM groups",
        ),
        Part.DIRECTORY: ("SELECT name, external_id FROM resources WHERE type = 'Group'",),
        Part.HOST: ("SELECT name, annotations FROM namespaces",),
    }
    found: dict[str, list[Any]] = {}
    for part, texts in queries.items():
        for text in texts:
            rows = rows_of(stack.databases[part], text)
            found[f"{part} {text}"] = [row for row in rows if stack.installation not in (row[1] or "")]
    return found


def rows_of(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return sorted(database.execute(query).fetchall(), key=str)


async def lose_workflow(stack: Stack, asking: Asking, name: str) -> str:
    """Terminate the workflow of a name, and sweep until its life is adopted or being undone; return the life.

    Returns "" if the name has no open workflow.
    """
    handle = (await client_of(stack)).get_workflow_handle(workflow_id(name))
    try:
        run = await handle.describe()
        await handle.terminate()
    except RPCError:
        return ""
    life = life_id(await run.memo_value(workflow_memo.REQUEST_ID, "", type_hint=str))
    confirmed: list[str] = []
    for _ in range(MAX_LOOKS):
        result = await sweep(asking, confirmed=confirmed)
        confirmed = result["waiting"]
        if life not in {one["life"] for one in result["orphans"]}:
            return life
        await asyncio.sleep(0.3)
    raise AssertionError(f"{name} is neither adopted nor undone: {result}")
