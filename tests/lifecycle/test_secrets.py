"""Ensures that no secret is anywhere but where it belongs, and that Temporal keeps all else encrypted.

The people of these lives come in by a token of the file, by `moorage login`, and by the page.

Every search is shown to find what was put there on purpose. A history is searched decrypted, or the search
could never fail; the database is searched as it is.
"""

import asyncio
import base64
import json
import os
import stat
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from temporalio.client import Client

from clients.host.kubeconfig import Kubeconfig
from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from starter.page.session.cookies import SESSION_COOKIE
from tests.activities.notification_receivers import mail_server, webhook_receiver
from tests.lifecycle.environment_client import Asking
from tests.support.credentials import administrator_kubeconfig
from tests.support.histories import everything_known
from tests.support.processes import run_module
from tests.support.secret_scan import (
    BRIEF,
    MAIL_PASSWORD,
    PLANTED,
    Canaries,
    arguments_of_processes,
    every_secret,
    logs,
    open_files,
    settings_that_are_secret,
    temporal_files,
)
from tests.support.sign_in import embedded_provider
from tests.support.sign_in_process import run, sign_in_by_device
from tests.support.stack import ALICE, BOB, client_of, hurried, unique
from tests.support.stand_ins import set_faults
from tests.support.worker_processes import with_workers
from tests.workflows.conftest import until

pytestmark = pytest.mark.slow

COLLABORATOR = "erin@example.com"
#: What an argument says and nothing in clear does: of the template.
ARGUMENT = "Lives for seconds."


@dataclass
class Lived:
    """A stack on which lives went well and failed, the secrets that took part, and what was answered."""

    stack: Stack
    client: Client
    canaries: Canaries
    answers: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
async def lived(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lived]:
    """Two lives that went well, one of them to its end, and three that failed, with everything logged."""
    folder = tmp_path_factory.mktemp("secrets")
    (templates := folder / "templates").mkdir()
    (templates / "small.yaml").write_text(BRIEF)
    with webhook_receiver() as receiver:
        async with mail_server(MAIL_PASSWORD) as mailbox:
            settings = {
                "MOORAGE_LOG__LEVEL": "debug",
                "MOORAGE_TEMPLATES": str(templates),
                "MOORAGE_SWEEP__INTERVAL": "1s",
                "MOORAGE_SWEEP__JITTER": "1s",
                **every_secret(receiver, mailbox.port),
            }
            options = hurried(parts=frozenset(Part), environment=settings)
            async with (
                Stack(folder / "stack", options) as stack,
                with_workers(stack),
                Asking(stack) as asking,
            ):
                lived = Lived(stack, await client_of(stack), Canaries(stack))
                await _live(lived, asking)
                assert receiver.got, "no notice came by webhook"
                assert mailbox.mails, "no notice came by mail"
                yield lived


async def _live(lived: Lived, asking: Asking) -> None:
    stack = lived.stack
    name, brief = unique("secret"), unique("brief")
    await asking.request(brief)
    await asking.request(name, collaborators=[COLLABORATOR], ttl="1h")
    await asking.until_phase(name, "ready")
    administrator = await administrator_kubeconfig(stack, name)
    assert administrator is not None
    lived.canaries.secrets["the administrator's token"] = administrator.current()[1]["token"]
    lived.canaries.learn_bootstrap_tokens()
    for command in (
        ["show", name],
        ["show", name, "--output", "json"],
        ["list"],
        ["templates"],
        ["setup"],
        ["doctor"],
    ):
        lived.answers[f"moorage {' '.join(command)}"] = await moorage(stack, *command)
    kubeconfig = stack.folder / "a.kubeconfig"
    await moorage(stack, "kubeconfig", name, "--embed", "--file", str(kubeconfig))
    user = Kubeconfig(kubeconfig.read_text(), secret_name="k").current()[1]
    for part in ("client-certificate-data", "client-key-data"):
        pem = base64.b64decode(user[part]).decode()
        lived.canaries.secrets[f"{part} of a person"] = pem.splitlines()[1]
    lived.answers["moorage kubeconfig"] = await moorage(stack, "kubeconfig", name)
    lived.answers["moorage delete"] = await moorage(stack, "delete", name, "--yes")
    await asking.until_phase(name, "gone")
    assert (await asking.until_phase(brief, "gone"))["outcome"] == "expired"
    await _with_wrong_secrets(lived, asking)
    signed_in = await _by_command_line(lived)
    await _by_page(lived, signed_in)
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


async def _with_wrong_secrets(lived: Lived, asking: Asking) -> None:
    """Show the API a token that it does not know, and as a name and a header what does not belong there."""
    wrong = lived.canaries.secrets["a token that is not known"] = "a-token-with-a-typo-4711"
    header = {"Authorization": f"Bearer {wrong}"}
    for path in ("/environments", "/environments/unknown"):
        lived.answers[f"GET {path} with a wrong token"] = (
            await asking.call("GET", path, headers=header)
        ).text
    environment = os.environ | {"MOORAGE_URL": lived.stack.api_url, "MOORAGE_TOKEN": wrong}
    lived.answers["moorage list with a wrong token"] = await _run(environment, "list")


async def _by_command_line(lived: Lived) -> str:
    """Sign in with `moorage login`, have the tokens renewed, and live a life with them; return its name."""
    stack, name = lived.stack, unique("signed-in")
    (home := stack.folder / "home").mkdir(mode=0o700)
    provider = embedded_provider(stack.url(Part.OPENID_PROVIDER), stack.password_of)
    lived.canaries.secrets["a person's password"] = stack.password_of(BOB.email)
    await sign_in_by_device(home, stack.api_url, provider, BOB.email)
    tokens = _tokens_of(lived, home, "first")
    # As an hour later: the next command renews them.
    tokens.write_text(json.dumps(json.loads(tokens.read_text()) | {"expires_at": 0}))
    for command in (
        ["whoami"],
        ["request", name, "small"],
        ["show", name, "--verbose"],
        ["history", name],
        ["delete", name, "--yes"],
    ):
        code, *said = await run(home, *command)
        assert code == 0, said
        lived.answers[f"signed in, moorage {' '.join(command)}"] = "".join(said)
    _tokens_of(lived, home, "renewed")
    lived.answers["moorage logout"] = "".join((await run(home, "logout"))[1:])
    wrong = lived.canaries.secrets["the renewed access_token"][:-8] + "AAAAAAAA"
    lived.canaries.secrets["a token with a wrong signature"] = wrong
    for command in (["list"], ["whoami"]):
        # As a robot gives it.
        code, *said = await run(home, *command, MOORAGE_URL=stack.api_url, MOORAGE_TOKEN=wrong)
        assert code, "a wrong token is taken"
        lived.answers[f"with a wrong signature, moorage {' '.join(command)}"] = "".join(said)
    return name


def _tokens_of(lived: Lived, home: Path, which: str) -> Path:
    """Search for the tokens of the sign-in as well; return the file that has them."""
    [file] = home.rglob("credentials/*.json")
    kept = json.loads(file.read_text())
    for kind in ("access_token", "refresh_token"):
        assert kept[kind] not in lived.canaries.secrets.values(), f"the {kind} was not renewed"
        lived.canaries.secrets[f"the {which} {kind}"] = kept[kind]
    return file


async def _by_page(lived: Lived, name: str) -> None:
    """Sign in at the page, and look at what it has of a life and of all of them."""
    stack, secrets = lived.stack, lived.canaries.secrets
    provider = embedded_provider(stack.url(Part.OPENID_PROVIDER), stack.password_of)
    async with provider.client() as http:
        form = (await http.get(f"{stack.api_url}/sign-in")).headers["location"]
        back = (await provider.submit(http, await http.get(form), ALICE.email)).headers["location"]
        [secrets["the code of a sign-in"]] = parse_qs(urlsplit(back).query)["code"]
        await http.get(back)
        secrets["the page's session"] = str(http.cookies[SESSION_COOKIE])
        life = f"/environments/{name}"
        for path in (
            "/",
            "/new",
            life,
            f"{life}/history",
            f"{life}/certificate",
            "/platform",
            "/platform/audit",
        ):
            lived.answers[f"the page {path}"] = await _page(http, f"{stack.api_url}{path}")
        # Of a code that was used, and of one that was never given.
        for query in (urlsplit(back).query, "code=guessed-code-4711-4711&state=s"):
            answer = await http.get(f"{stack.api_url}/signed-in?{query}")
            lived.answers[f"the page after {query[:9]}"] = answer.text


async def _page(http: httpx.AsyncClient, address: str) -> str:
    answer = await http.get(address, follow_redirects=True)
    assert answer.status_code == 200, answer.text
    assert "Sign in" not in answer.text, f"{address} is not of one who has signed in"
    return answer.text


async def moorage(stack: Stack, *arguments: str) -> str:
    """What the command says, on both of its outputs."""
    return await _run(os.environ | stack.env | {"MOORAGE_STATE": str(stack.folder)}, *arguments)


async def _run(environment: Mapping[str, str], *arguments: str) -> str:
    ended = await asyncio.to_thread(run_module, "moorage", arguments, environment, together=True)
    assert ended.out, f"moorage {arguments} said nothing"
    return ended.out


#: Of the identity provider's credentials, the stack's has the token; tests of other kinds have the others.
INSTEAD_OF_TOKEN = {
    f"MOORAGE_{group}{name}"
    for group in ("IDENTITY__", "API__IDENTITY_")
    for name in ("CLIENT_SECRET", "PRIVATE_KEY")
}


async def test_no_history_holds_a_secret(lived: Lived) -> None:
    searched = lived.canaries.secrets
    secret = [name.replace("<name>", "LOCAL") for name in settings_that_are_secret()]
    local = [name for name in secret if name not in INSTEAD_OF_TOKEN]
    assert set(local) <= set(searched), "a secret of the settings takes no part"
    assert len(searched) >= len(local) + 8, f"not all that took part is searched for: {sorted(searched)}"
    text = await everything_known(lived.client)
    assert ARGUMENT in text, "it is not decrypted"
    assert lived.canaries.found({"a history": text}) == []

    await lived.client.start_workflow("Unserved", {"a": f'"{PLANTED}"'}, id="planted", task_queue="no-worker")

    async def is_found() -> bool:
        found = lived.canaries.found({"a history": await everything_known(lived.client)})
        return found == ["what was planted in a history"]

    # Visibility lists it moments later.
    await until(is_found, "what was planted is found")
    await lived.client.get_workflow_handle("planted").terminate()


async def test_temporal_s_database_holds_no_secret_and_all_else_encrypted(lived: Lived) -> None:
    decrypted = await everything_known(lived.client)
    raw = temporal_files(lived.stack)
    assert any("environment/secret" in text for text in raw.values()), "it is another database"
    for person in (ALICE.email, COLLABORATOR):
        assert any(person in text for text in raw.values()), "who uses it is a search attribute, in clear"
    assert lived.canaries.found(raw) == []
    # Of an argument, of what failed and why, of what is said of an activity, of a receipt, of what is shown.
    for text in (
        ARGUMENT,
        "could not be made and was undone",
        "undo: vCluster",
        "fingerprint",
        "owner mark",
    ):
        assert text in decrypted, f"{text!r} is said nowhere, so it need not be hidden"
        assert not [name for name, content in raw.items() if text in content], f"{text!r} is there in clear"

    await lived.client.start_workflow("Unserved", id=PLANTED, task_queue="no-worker")
    found = lived.canaries.found(temporal_files(lived.stack))
    await lived.client.get_workflow_handle(PLANTED).terminate()
    assert found, "the search does not see what was just written"


async def test_no_log_holds_a_secret_at_debug(lived: Lived) -> None:
    texts = logs(lived.stack)
    assert "debug" in texts["worker.log"].lower(), "it does not log at debug"
    assert lived.canaries.found(texts) == []
    log = lived.stack.log(Part.WORKER)
    with log.open("a") as file:
        file.write(f"{PLANTED}\n")
    assert lived.canaries.found(logs(lived.stack)) == ["what was planted in worker.log"]


def test_no_answer_and_no_output_holds_a_secret(lived: Lived) -> None:
    assert len(lived.answers) >= 12
    assert lived.canaries.found(lived.answers) == []
    assert lived.canaries.found({"an answer": f"x{PLANTED}y"})


async def test_no_process_shows_a_secret_in_its_arguments(lived: Lived) -> None:
    assert lived.canaries.found(arguments_of_processes(lived.stack)) == []
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "print(flush=True); input()", PLANTED,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert process.stdout
    await process.stdout.readline()  # it runs
    found = lived.canaries.found(arguments_of_processes(lived.stack, process.pid))
    process.kill()
    await process.wait()
    assert found == [f"what was planted in process {process.pid}"]


def test_no_file_that_others_can_read_holds_a_secret(lived: Lived) -> None:
    folder = lived.stack.folder
    assert stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0, "others may look into the folder"
    assert open_files(folder) == {}
    (folder / "open").write_text(PLANTED)
    (folder / "open").chmod(0o644)
    found = lived.canaries.found(open_files(folder))
    (folder / "open").unlink()
    assert found == ["what was planted in open"]
