"""Ensures that no secret is anywhere but where it belongs, and that Temporal keeps all else encrypted.

Every search is shown to find what was put there on purpose. A history is searched decrypted, or the search
could never fail; the database is searched as it is.
"""

import asyncio
import os
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from temporalio.client import Client

from clients.host import Kubeconfig
from embedded.faults import Fault, FaultKind
from embedded.stack import Part, Stack
from tests.environment.asking import Asking
from tests.support.histories import everything_known
from tests.support.stack import ALICE, client_of, hurried, unique
from tests.support.stand_ins import set_faults

#: What the settings call a secret.
SECRET_ENDINGS = ("_KEY", "_KEYS", "_TOKEN")
#: A person that only a payload names: as a collaborator, not as the owner, who is a search attribute.
COLLABORATOR = "erin@example.com"
PLANTED = "let-through-on-purpose"


@dataclass
class Lived:
    """A stack on which lives went well and failed, the secrets that took part, and what was answered."""

    stack: Stack
    client: Client
    secrets: dict[str, str]
    answers: dict[str, str] = field(default_factory=dict)

    def found_in(self, texts: Mapping[str, str]) -> list[str]:
        """Which secrets are in which of the texts."""
        searched = self.secrets | {"what was planted": PLANTED}
        return [
            f"{what} in {where}"
            for where, text in texts.items()
            for what in searched
            if searched[what] in text
        ]


@pytest.fixture(scope="module")
async def lived(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lived]:
    """One life that went well and three that failed, with everything logged that can be."""
    options = hurried(parts=frozenset(Part), environment={"MOORAGE_LOG__LEVEL": "debug"})
    async with Stack(tmp_path_factory.mktemp("secrets"), options) as stack, Asking(stack) as asking:
        secrets = {name: value for name, value in stack.env.items() if name.endswith(SECRET_ENDINGS)}
        secrets |= {f"{person.email}'s token": stack.token_of(person.email) for person in options.people}
        lived = Lived(stack, await client_of(stack), secrets)
        name = unique("secret")
        await asking.request(name, collaborators=[COLLABORATOR])
        await asking.until_phase(name, "ready")
        answer = await asking.call("GET", f"/environments/{name}/kubeconfig")
        secrets["the kubeconfig's token"] = Kubeconfig(answer.text, secret_name="k").current()[1]["token"]
        with closing(sqlite3.connect(stack.databases[Part.CONTROL_PLANE])) as database:
            secrets["the bootstrap token"] = database.execute("SELECT token FROM clusters").fetchone()[0]
        for command in (
            ["show", name],
            ["show", name, "--output", "json"],
            ["list"],
            ["templates"],
            ["doctor"],
        ):
            lived.answers[f"moorage {' '.join(command)}"] = await moorage(stack, *command)
        kubeconfig = stack.folder / "a.kubeconfig"
        await moorage(stack, "kubeconfig", name, "--file", str(kubeconfig))
        lived.answers["moorage delete"] = await moorage(stack, "delete", name, "--yes")
        await asking.until_phase(name, "gone")
        await _with_wrong_secrets(lived, asking)
        for part, operation in (
            (Part.CONTROL_PLANE, "cluster.create"),
            (Part.CONTROL_PLANE, "bootstrap.get"),
            (Part.HOST, "virtual.readyz"),
        ):
            set_faults(stack.url(part), Fault(operation=operation, kind=FaultKind.STATUS_AFTER, status=403))
            name = unique("secret")
            lived.answers[f"moorage request, failing in {operation}"] = await moorage(
                stack, "request", name, "small"
            )
            lived.answers[f"what is shown of {name}"] = str(await asking.until_phase(name, "gone"))
            set_faults(stack.url(part))
        yield lived


async def _with_wrong_secrets(lived: Lived, asking: Asking) -> None:
    """Show the API a token that it does not know, and as a name and a header what does not belong there."""
    wrong = lived.secrets["a token that is not known"] = "a-token-with-a-typo-4711"
    header = {"Authorization": f"Bearer {wrong}"}
    for path in ("/environments", "/environments/nobody"):
        lived.answers[f"GET {path} with a wrong token"] = (
            await asking.call("GET", path, headers=header)
        ).text
    environment = os.environ | {"MOORAGE_URL": lived.stack.api_url, "MOORAGE_TOKEN": wrong}
    lived.answers["moorage list with a wrong token"] = await _run(environment, "list")


async def moorage(stack: Stack, *arguments: str) -> str:
    """What the command says, on both of its outputs."""
    return await _run(os.environ | stack.env | {"MOORAGE_STATE": str(stack.folder)}, *arguments)


async def _run(environment: Mapping[str, str], *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "moorage", *arguments, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert output, f"moorage {arguments} said nothing"
    return output.decode()


def temporal_files(stack: Stack) -> dict[str, str]:
    """Temporal's database as it lies on the disk, with what is not yet in its main file."""
    files = stack.folder.glob("temporal.sqlite*")
    return {file.name: file.read_bytes().decode("latin-1") for file in files}


def logs(stack: Stack) -> dict[str, str]:
    return {file.name: file.read_text(errors="replace") for file in (stack.folder / "logs").iterdir()}


def arguments_of_processes(stack: Stack, *others: int) -> dict[str, str]:
    """The arguments of all parts, and of all that runs in their process groups."""
    leaders = {stack.pid(part) for part in stack.options.parts} | set(others)
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(process.name)) in leaders:
                found[f"process {process.name}"] = (process / "cmdline").read_text(errors="replace")
        except (ProcessLookupError, FileNotFoundError):
            continue  # it has ended meanwhile
    assert len(found) >= len(leaders)
    return found


def open_files(folder: Path) -> dict[str, str]:
    """The files in the folder that others than their owner can read."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert len(files) > 10
    return {
        str(file.relative_to(folder)): file.read_bytes().decode("latin-1")
        for file in files
        if stat.S_IMODE(file.stat().st_mode) & 0o077
    }


async def test_no_history_holds_a_secret(lived: Lived) -> None:
    assert len(lived.secrets) >= 11, (
        f"secrets that took part are not searched for, only {sorted(lived.secrets)}"
    )
    text = await everything_known(lived.client)
    assert COLLABORATOR in text, "it is not decrypted"
    assert lived.found_in({"a history": text}) == []

    await lived.client.start_workflow("Nobody", {"a": f'"{PLANTED}"'}, id="planted", task_queue="nobody")
    found = lived.found_in({"a history": await everything_known(lived.client)})
    await lived.client.get_workflow_handle("planted").terminate()
    assert found == ["what was planted in a history"]


async def test_temporal_s_database_holds_no_secret_and_all_else_encrypted(lived: Lived) -> None:
    decrypted = await everything_known(lived.client)
    raw = temporal_files(lived.stack)
    assert any("environment/secret" in text for text in raw.values()), "it is another database"
    assert any(ALICE.email in text for text in raw.values()), "the owner is a search attribute, in clear"
    assert lived.found_in(raw) == []
    # Of an argument, of what failed and why, of what is said of an activity, of a receipt, of what is shown.
    for text in (
        COLLABORATOR,
        "could not be made and was undone",
        "undo: vCluster",
        "fingerprint",
        "owner mark",
    ):
        assert text in decrypted, f"{text!r} is said nowhere, so it need not be hidden"
        assert not [name for name, content in raw.items() if text in content], f"{text!r} is there in clear"

    await lived.client.start_workflow("Nobody", id=PLANTED, task_queue="nobody")
    found = lived.found_in(temporal_files(lived.stack))
    await lived.client.get_workflow_handle(PLANTED).terminate()
    assert found, "the search does not see what was just written"


async def test_no_log_holds_a_secret_at_debug(lived: Lived) -> None:
    texts = logs(lived.stack)
    assert "debug" in texts["worker.log"].lower(), "it does not log at debug"
    assert lived.found_in(texts) == []
    log = lived.stack.log(Part.WORKER)
    with log.open("a") as file:
        file.write(f"{PLANTED}\n")
    assert lived.found_in(logs(lived.stack)) == ["what was planted in worker.log"]


def test_no_answer_and_no_output_holds_a_secret(lived: Lived) -> None:
    assert len(lived.answers) >= 12
    assert lived.found_in(lived.answers) == []
    assert lived.found_in({"an answer": f"x{PLANTED}y"})


async def test_no_process_shows_a_secret_in_its_arguments(lived: Lived) -> None:
    assert lived.found_in(arguments_of_processes(lived.stack)) == []
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()", PLANTED, stdin=asyncio.subprocess.PIPE, start_new_session=True
    )
    found = lived.found_in(arguments_of_processes(lived.stack, process.pid))
    process.kill()
    await process.wait()
    assert found == [f"what was planted in process {process.pid}"]


def test_no_file_that_others_can_read_holds_a_secret(lived: Lived) -> None:
    folder = lived.stack.folder
    assert stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0, "others may look into the folder"
    assert open_files(folder) == {}
    (folder / "open").write_text(PLANTED)
    (folder / "open").chmod(0o644)
    found = lived.found_in(open_files(folder))
    (folder / "open").unlink()
    assert found == ["what was planted in open"]
