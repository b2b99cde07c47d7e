"""Ensures that no secret is in any history, log or error; and that the search for one would find it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from temporalio.client import Client

from clients.host import Kubeconfig
from embedded.faults import Fault, FaultKind
from embedded.stack import Part, Stack
from tests.environment.asking import Asking
from tests.support.stack import hurried, unique
from tests.support.stand_ins import set_faults
from worker.converter import data_converter


@pytest.fixture(scope="module")
async def lived(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[Stack, Client, dict[str, str]]]:
    """A stack on which one life went well and two failed, and every secret that took part, by what it is."""
    async with Stack(tmp_path_factory.mktemp("secrets"), hurried()) as stack, Asking(stack) as asking:
        secrets = {name: value for name, value in stack.env.items() if name.endswith(("_KEY", "_TOKEN"))}
        secrets |= {"a person's token": stack.token}
        name = unique("secret")
        await asking.request(name)
        await asking.until_phase(name, "ready")
        kubeconfig = Kubeconfig(
            (await asking.call("GET", f"/environments/{name}/kubeconfig")).text, secret_name="k"
        )
        secrets["the kubeconfig's token"] = kubeconfig.current()[1]["token"]
        with closing(sqlite3.connect(stack.databases[Part.CONTROL_PLANE])) as database:
            secrets["the bootstrap token"] = database.execute("SELECT token FROM clusters").fetchone()[0]
        await asking.delete(name)
        await asking.until_phase(name, "gone")
        for operation in ("cluster.create", "bootstrap.get"):
            fault = Fault(operation=operation, kind=FaultKind.STATUS_AFTER, status=403)
            set_faults(stack.url(Part.CONTROL_PLANE), fault)
            name = unique("secret")
            await asking.request(name)
            await asking.until_phase(name, "gone")
            set_faults(stack.url(Part.CONTROL_PLANE))
        client = await Client.connect(stack.temporal_address, data_converter=data_converter())
        yield stack, client, secrets


async def histories(client: Client) -> str:
    """All that is in the histories of all runs, payloads decoded."""
    texts = []
    async for run in client.list_workflows():
        handle = client.get_workflow_handle(run.id, run_id=run.run_id)
        # As bytes, in which payloads stand as they are: printed, they would be escaped.
        texts += [
            event.SerializeToString().decode("utf-8", "replace")
            async for event in handle.fetch_history_events()
        ]
        description = await handle.describe()
        texts.append(description.raw_description.SerializeToString().decode("utf-8", "replace"))
    return "\n".join(texts)


async def test_the_search_finds_a_secret_that_is_there(lived: tuple[Stack, Client, dict[str, str]]) -> None:
    _, client, secrets = lived
    planted = f'"quoted" {secrets["the bootstrap token"]}-canary'
    await client.start_workflow("Nobody", {"planted": planted}, id="planted", task_queue="nobody")
    assert f"{secrets['the bootstrap token']}-canary" in await histories(client)
    await client.get_workflow_handle("planted").terminate()


async def test_no_history_holds_a_secret(lived: tuple[Stack, Client, dict[str, str]]) -> None:
    _, client, secrets = lived
    assert len(secrets) >= 6, f"secrets that took part are not searched for, only {sorted(secrets)}"
    text = (await histories(client)).replace(f"{secrets['the bootstrap token']}-canary", "")
    assert "environment/secret" in text, "it reads other histories"
    found = [what for what, secret in secrets.items() if secret in text]
    assert not found, f"in a history: {found}"


async def test_no_log_holds_a_secret(lived: tuple[Stack, Client, dict[str, str]]) -> None:
    stack, _, secrets = lived
    for log in (Path(stack.folder) / "logs").iterdir():
        text = log.read_text(errors="replace")
        found = [what for what, secret in secrets.items() if secret in text]
        assert not found, f"in {log.name}: {found}"


async def test_no_process_shows_a_secret_in_its_arguments(
    lived: tuple[Stack, Client, dict[str, str]],
) -> None:
    stack, _, secrets = lived
    for part in Part:
        arguments = await asyncio.to_thread(Path(f"/proc/{stack.pid(part)}/cmdline").read_text)
        found = [what for what, secret in secrets.items() if secret in arguments]
        assert not found, f"in the arguments of the {part}: {found}"
