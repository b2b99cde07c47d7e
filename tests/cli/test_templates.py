"""Templates as those who write them work with them: tried for real, changed, and compared with what runs."""

import asyncio
import re
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from starter.catalogue.loader import STARTER_TEMPLATES
from tests.api.caller import Caller, calling
from tests.cli.test_commands import MAX_WAIT, Cli, cli_of, ended
from tests.starter.test_catalogue import GOOD
from tests.support.stack import ALICE, BOB, hurried, unique
from tests.support.stand_ins import set_faults

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalogue of the stack below: what is shipped, to be changed."""
    folder = tmp_path_factory.mktemp("catalogue") / "templates"
    shutil.copytree(STARTER_TEMPLATES, folder)
    return folder


@pytest.fixture(scope="module")
async def harbour(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Yield a stack with its own catalogue."""
    options = hurried(environment={"MOORAGE_TEMPLATES": str(folder)})
    async with Stack(tmp_path_factory.mktemp("stack"), options) as stack:
        yield stack


@pytest.fixture
def alices(harbour: Stack, tmp_path: Path) -> Cli:
    """Return the command of a member of the platform team."""
    return cli_of(harbour, tmp_path, ALICE.email)


@pytest.fixture
async def bob(harbour: Stack) -> AsyncIterator[Caller]:
    """A developer."""
    async with calling(harbour, BOB.email) as caller:
        yield caller


async def names_of_trials(harbour: Stack) -> list[str]:
    async with calling(harbour, ALICE.email) as alice:
        rows = (await alice.http.get("/environments")).json()["environments"]
    return [row["name"] for row in rows if row["name"].startswith("try-")]


async def test_a_template_is_tried(harbour: Stack, alices: Cli) -> None:
    """Ensures that each shipped template becomes ready, is usable, and leaves nothing; with progress."""
    for template in ("throwaway", "small", "medium"):
        tried = await alices("templates", "try", template)
        assert tried.code == 0, tried.err
        assert re.search(r"^\d\d:\d\d:\d\d  vcluster: done", tried.err, re.MULTILINE)
        assert re.search(r"^kubeconfig +ok .* Kubernetes v1\.36\.0\+simulated$", tried.out, re.MULTILINE)
        assert re.search(r"^removed +ok +\S+ s +nothing left$", tried.out, re.MULTILINE)
        assert re.search(rf"^{template} version \d+ works, on local\.$", tried.out, re.MULTILINE)
    assert await names_of_trials(harbour) == []


async def test_a_trial_for_programs(alices: Cli) -> None:
    """Ensures that with --output json standard output is one document, and nothing is on standard error."""
    tried = await alices("templates", "try", "small", "--output", "json", "--no-call")
    assert (tried.code, tried.err) == (0, "")
    assert tried.json["well"] is True
    assert [(check["what"], check["well"]) for check in tried.json["checks"]] == [
        ("ready", True), ("removed", True),
    ]  # fmt: skip
    assert re.fullmatch(r"try-small-[0-9a-f]{6}", tried.json["environment"])


async def test_what_cannot_be_asked_for_is_not_tried(alices: Cli) -> None:
    """Ensures that an unknown template and a refused request are reported as for any request."""
    unknown = await alices("templates", "try", "smal")
    assert (unknown.code, 'did you mean "small"?' in unknown.err) == (3, True)
    refused = await alices("templates", "try", "small", "--host", "nowhere")
    assert (refused.code, 'there is no host "nowhere"' in refused.err) == (2, True)


async def test_one_that_cannot_be_made_is_undone_and_reported(harbour: Stack, alices: Cli) -> None:
    """Ensures exit code 1, the cause, and that nothing is left, when a step fails for good."""
    fault = Fault(operation="namespace.create", kind=FaultKind.STATUS, status=403)
    set_faults(harbour.url(Part.HOST), fault)
    try:
        tried = await alices("templates", "try", "small", "--output", "json")
    finally:
        set_faults(harbour.url(Part.HOST))
    assert tried.code == 1
    ready, removed = tried.json["checks"]
    assert (ready["what"], ready["well"], "namespace" in ready["detail"]) == ("ready", False, True)
    assert (removed["what"], removed["well"], removed["detail"]) == ("removed", True, "nothing left")
    assert await names_of_trials(harbour) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_trial_removes_what_it_made(
    harbour: Stack, alices: Cli, number: signal.Signals
) -> None:
    """Ensures that Ctrl-C and a service manager's word end the trial, and its environment with it."""
    fault = Fault(operation="release.install", kind=FaultKind.STATUS, status=503)
    set_faults(harbour.url(Part.HOST), fault)
    try:
        process = await alices.start("templates", "try", "small")
        assert process.stderr is not None
        async with asyncio.timeout(MAX_WAIT):
            while b"vcluster: running" not in await process.stderr.readline():
                pass
        process.send_signal(number)
        result = await ended(process)
    finally:
        set_faults(harbour.url(Part.HOST))
    assert result.code == 130, result.err
    assert "Interrupted: removing try-small-" in result.err
    assert re.search(r"^removed +ok +\S+ s +nothing left$", result.out, re.MULTILINE)
    assert await names_of_trials(harbour) == []


async def test_an_environment_keeps_its_template_and_shows_a_newer_one(
    alices: Cli, bob: Caller, folder: Path
) -> None:
    """Ensures that `show` names the version it was made from, and a newer one once there is one."""
    name = unique()
    before = await bob.ready(name)
    assert before.template_version is not None
    assert before.template_newer is None
    file = folder / "small.yaml"
    shipped = file.read_text()
    newer = before.template_version + 1
    try:
        file.write_text(re.sub(r"^version: \d+$", f"version: {newer}", shipped, flags=re.MULTILINE))
        after = await bob.until(name, lambda view: view.template_newer is not None)
        assert (after.template_version, after.template_newer) == (before.template_version, newer)
        shown = await alices("show", name)
        words = f"small version {before.template_version}; version {newer} exists"
        assert re.search(rf"^template: +{words}$", shown.out, re.MULTILINE), shown.out
        assert (await alices("show", name, "--output", "json")).json["template_newer"] == newer

        file.write_text(shipped.replace("pods: 40", "pods: 41"))
        changed = await bob.until(name, lambda view: bool(view.remark))
        assert changed.template_newer is None
        assert f"is version {before.template_version} still" in changed.remark
    finally:
        file.write_text(shipped)
    await bob.gone(name)


async def test_parameters_from_request_to_history(folder: Path, harbour: Stack, alices: Cli) -> None:
    """Ensures that what is chosen is checked, completed, installed, and shown wherever the environment is."""
    text = GOOD + (
        "\nparameters:\n"
        "  replicas: {type: integer, description: Control planes., minimum: 1, maximum: 3, example: 1}\n"
        "  store: {type: choice, description: Its store., choices: [fast, safe], default: safe}\n"
        "values:\n"
        "  controlPlane: {statefulSet: {highAvailability: {replicas: '${parameters.replicas}'}}}\n"
        "  networking: {advanced: {clusterDomain: '${parameters.store}'}}\n"
    )
    (folder / "tuned.yaml").write_text(text)
    name = unique("tuned")
    async with calling(harbour, ALICE.email) as alice, asyncio.timeout(MAX_WAIT):
        while (await alice.http.get("/templates/tuned")).status_code != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    shown = (await alices("templates", "show", "tuned")).out
    assert re.search(r"replicas +Control planes. \(integer; at least 1; at most 3; required\)", shown)
    assert re.search(r"store +Its store. \(fast, safe; default safe\)", shown)
    env = {"_MOORAGE_COMPLETE": "bash_complete", "COMP_CWORD": "5"}
    completing = Cli(alices.folder, **{**alices._env, **env, "COMP_WORDS": "moorage request x tuned --set s"})
    assert (await completing()).out.split() == ["plain,store=fast", "plain,store=safe"]
    wrong = await alices("request", name, "tuned", "--set", "replicas=9", "--set", "stor=fast")
    assert wrong.code == 2
    assert 'parameters.replicas: "9" is not a whole number from 1 to 3' in wrong.err
    assert 'parameters.stor: tuned has no such parameter: did you mean "store"?' in wrong.err
    assert (await alices("request", name, "tuned", "--set", "store")).code == 2
    chosen = ("--set", "replicas=2")
    planned = await alices("request", name, "tuned", *chosen, "--dry-run")
    assert planned.code == 0, planned.err
    assert "parameters:   replicas=2, store=safe" in planned.out
    assert re.search(r"highAvailability:\n +replicas: 2\n", planned.out)
    assert (await alices("request", name, "tuned", *chosen)).code == 0
    assert "replicas=2, store=safe" in (await alices("show", name)).out
    assert "asked for it: replicas=2, store=safe" in (await alices("history", name)).out
    other = await alices("request", name, "tuned", "--set", "replicas=3")
    assert other.code == 1
    assert "parameters: differs" in other.err
    assert (await alices("templates", "try", "tuned", "--set", "replicas=1")).code == 0
    assert (await alices("delete", name, "--yes")).code == 0
