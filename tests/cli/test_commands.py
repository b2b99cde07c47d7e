"""The CLI as people run it: a process beside a running stack; its output, its exit codes, its JSON."""

import asyncio
import json
import os
import pty
import re
import signal
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from tests.api.caller import Caller
from tests.support.deadline import HANG
from tests.support.processes import Ended, run_module
from tests.support.stack import ALICE, BOB, DAVE, unique
from tests.support.stand_ins import CHECKOUT, set_faults

pytestmark = pytest.mark.slow

#: Longest run of one command; they take a second or two where nothing else runs.
MAX_WAIT = HANG


class Cli:
    """Runs `moorage` as one person, in a separate folder."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self._env = {
            name: value for name, value in os.environ.items() if not name.startswith(("MOORAGE_", "KUBE"))
        }
        self._env |= {"PYTHONPATH": str(CHECKOUT), "HOME": str(folder), "COLUMNS": "120", **variables}

    async def start(self, *arguments: str, **more: Any) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "moorage", *arguments,
            cwd=self.folder, env=self._env,
            **{
                "stdin": asyncio.subprocess.DEVNULL,
                "stdout": asyncio.subprocess.PIPE,
                "stderr": asyncio.subprocess.PIPE,
                **more,
            },
        )  # fmt: skip

    async def __call__(self, *arguments: str) -> Ended:
        done = await asyncio.to_thread(
            run_module, "moorage", arguments, self._env, cwd=self.folder, timeout=MAX_WAIT
        )
        assert "Traceback" not in done.err
        return done


async def ended(process: asyncio.subprocess.Process) -> Ended:
    async with asyncio.timeout(MAX_WAIT):
        out, err = await process.communicate()
    assert process.returncode is not None
    assert b"Traceback" not in (err or b"")
    return Ended(process.returncode, (out or b"").decode(), (err or b"").decode())


def cli_of(stack: Stack, folder: Path, email: str) -> Cli:
    return Cli(folder, MOORAGE_URL=stack.api_url, MOORAGE_TOKEN=stack.token_of(email))


@pytest.fixture
def moorage(stack: Stack, tmp_path: Path) -> Cli:
    """Bob's command."""
    return cli_of(stack, tmp_path, BOB.email)


async def test_from_request_to_certificate(moorage: Cli) -> None:
    """Ensures that the main way works: request, list, show, kubeconfig, delete, with what people read."""
    name = unique()
    asked = await moorage("request", name, "small", "--ttl", "2h", "--with", DAVE.email)
    assert asked.code == 0, asked.err
    assert asked.out == ""
    assert f"{name} is being made." in asked.err
    # One line a change, each with the time.
    assert re.search(r"^\d\d:\d\d:\d\d  vcluster: done", asked.err, re.MULTILINE)
    assert f"moorage kubeconfig {name} --merge" in asked.err
    listed = await moorage("list", "--owner", BOB.email)
    assert re.search(rf"^{name}\s+ready\s+small\s+{BOB.email}\s+blue\s+local\s+in 1h 59m$", listed.out, re.M)
    shown = await moorage("show", name)
    assert re.search(r"✓ import\s+control plane\s+\S+\s+done", shown.out)
    assert DAVE.email in shown.out
    given = await moorage("kubeconfig", name)
    assert yaml.safe_load(given.out)["kind"] == "Config"
    deleted = await moorage("delete", name, "--yes")
    assert deleted.code == 0, deleted.err
    assert f"{name} is gone (deleted)." in deleted.out
    for system in ("control plane", "identity provider", "host cluster"):
        assert re.search(rf"^  {system}\s+nothing left$", deleted.out, re.MULTILINE)
    again = await moorage("delete", name)
    assert (again.code, "gone already" in again.err) == (0, True)
    past = await moorage("list", "--ended", "--output", "json")
    assert name in {row["name"] for row in past.json}


async def test_json_everywhere(moorage: Cli) -> None:
    """Ensures that with --output json standard output is JSON and nothing else, errors included."""
    name = unique()
    offered = await moorage("templates", "-o", "json")
    assert [template["name"] for template in offered.json] == ["medium", "small", "throwaway"]
    dry = await moorage("request", name, "small", "--dry-run", "-o", "json")
    assert dry.json["kind"] == "dry_run"
    asked = await moorage("request", name, "small", "-o", "json")
    assert (asked.json["phase"], asked.err) == ("ready", "")
    shown = await moorage("show", name, "-o", "json")
    assert shown.json["name"] == name
    watched = await moorage("watch", name, "-o", "json")
    assert [json.loads(line)["phase"] for line in watched.out.splitlines()][-1] == "ready"
    assert "apiVersion" in (await moorage("kubeconfig", name, "-o", "json")).json["kubeconfig"]
    refused = await moorage("request", name, "medium", "-o", "json")
    assert (refused.code, refused.out) == (1, "")
    assert json.loads(refused.err)["reason"] == "other_spec"
    deleted = await moorage("delete", name, "--yes", "-o", "json")
    assert deleted.json["certificate"]["nothing_left"] is True
    missing = await moorage("show", unique(), "-o", "json")
    assert (missing.code, json.loads(missing.err)["exit_code"]) == (3, 3)


async def test_exit_codes(stack: Stack, moorage: Cli, tmp_path: Path, bob: Caller) -> None:
    """Ensures that each kind of failure has its exit code and a sentence."""
    name = unique()
    await bob.ready(name, collaborators=[DAVE.email])
    alice, dave = (cli_of(stack, tmp_path, person.email) for person in (ALICE, DAVE))
    unknown = Cli(tmp_path, MOORAGE_URL=stack.api_url, MOORAGE_TOKEN="wrong")
    unreachable = Cli(tmp_path, MOORAGE_URL="http://127.0.0.1:1", MOORAGE_TOKEN="t")
    another = Cli(tmp_path, MOORAGE_URL=stack.ui_url, MOORAGE_TOKEN="t")
    cases = [
        (
            moorage,
            ("request", "A", "smal"),
            2,
            'there is no template "smal": did you mean "small"?',
        ),
        (moorage, ("request",), 2, "Missing argument"),
        (moorage, ("list", "--phase", "x"), 2, "phase: "),
        (moorage, ("cancel", name), 1, "use delete"),
        (moorage, ("request", name, "medium"), 1, "template: differs"),
        (moorage, ("show", "nothing-there"), 3, "there is no environment"),
        (moorage, ("show", "../../x"), 3, "no environment"),
        (dave, ("delete", name, "--yes"), 4, '"delete" of'),
        # Nothing is deleted without a word: there is no terminal to ask at.
        (moorage, ("delete", name), 2, "next: confirm with --yes"),
        # The token of one installation is not for another.
        (moorage, ("list", "--url", "http://127.0.0.1:1"), 4, "no token for http://127.0.0.1:1 is set"),
        # It is 3 if the command is about it, and 2 if it is a field of what is asked for.
        (moorage, ("templates", "show", "smal"), 3, 'did you mean "small"'),
        (moorage, ("resize", name, "--template", "smal"), 2, 'did you mean "small"'),
        (alice, ("upgrade", "--template", "smal", "--all"), 2, 'did you mean "small"'),
        (alice, ("pools", "--resume", "smal"), 3, "keeps no warm pool"),
        (unknown, ("list",), 4, "token is not known"),
        (
            unreachable,
            ("list",),
            5,
            "connection refused",
        ),
        (another, ("list",), 5, "not Moorage's API"),
        (Cli(tmp_path), ("list",), 2, "no URL of the API is set"),
    ]
    results = await asyncio.gather(*(cli(*arguments) for cli, arguments, _, _ in cases))
    for result, (_, arguments, code, text) in zip(results, cases, strict=True):
        assert (result.code, result.out) == (code, ""), (arguments, result)
        assert text in result.err, (arguments, result)
    await bob.gone(name)


async def test_a_stack_is_found_by_its_folder(stack: Stack, tmp_path: Path) -> None:
    """Ensures that beside a running stack the CLI needs no settings, and is its local person."""
    listed = await Cli(tmp_path, MOORAGE_STATE=str(stack.folder))("list", "-o", "json")
    assert listed.code == 0, listed.err


async def test_one_that_cannot_be_made(stack: Stack, moorage: Cli) -> None:
    """Ensures that a failure says what failed, what was undone, that nothing is left, and what to do."""
    name = unique()
    set_faults(stack.url(Part.HOST), Fault(operation="namespace.create", kind=FaultKind.STATUS, status=403))
    try:
        asked = await moorage("request", name, "small")
    finally:
        set_faults(stack.url(Part.HOST))
    assert asked.code == 1
    assert f"moorage: {name} could not be created. namespace:" in asked.err
    assert "undone: project, group, role-binding, identity" in asked.err
    assert "nothing is left of it" in asked.err
    assert f"next: request it again: moorage request {name} small" in asked.err
    watched = await moorage("watch", name)
    assert (watched.code, "could not be created" in watched.err) == (1, True)


async def test_ctrl_c_stops_watching_only(stack: Stack, moorage: Cli, bob: Caller) -> None:
    """Ensures that Ctrl-C ends the command, says how to go on, and leaves the request alone."""
    name = unique()
    set_faults(stack.url(Part.HOST), Fault(operation="namespace.create", kind=FaultKind.STATUS, status=503))
    try:
        process = await moorage.start("request", name, "small")
        await bob_sees(bob, name, "running")
        assert process.stderr is not None
        async with asyncio.timeout(MAX_WAIT):
            while b"namespace: running" not in await process.stderr.readline():
                pass
        process.send_signal(signal.SIGINT)
        result = await ended(process)
    finally:
        set_faults(stack.url(Part.HOST))
    assert result.code == 130
    assert f"Stopped watching; {name} is provisioning and continues without this command." in result.err
    assert f"moorage watch {name}" in result.err
    assert f"moorage cancel {name}" in result.err
    watched = await moorage("watch", name)
    assert (watched.code, f"{name} is ready" in watched.out) == (0, True)
    await bob.gone(name)


async def bob_sees(bob: Caller, name: str, state: str) -> None:
    for _ in range(int(MAX_WAIT / 0.1)):
        if (await bob.http.get(f"/environments/{name}")).status_code == 200:
            break
        await asyncio.sleep(0.2)
    await bob.until(name, lambda view: any(step.state == state for step in view.steps))


async def test_no_wait_then_cancel(stack: Stack, moorage: Cli) -> None:
    """Ensures that --no-wait answers at once, and that a cancelled one is taken down to nothing."""
    name = unique()
    set_faults(stack.url(Part.HOST), Fault(operation="release.install", kind=FaultKind.STATUS, status=503))
    try:
        asked = await moorage("request", name, "small", "--no-wait")
        assert (asked.code, asked.out) == (0, f"{name} is being made.\n")
        assert f"moorage watch {name}" in asked.err
        cancelled = await moorage("cancel", name)
    finally:
        set_faults(stack.url(Part.HOST))
    assert cancelled.code == 0, cancelled.err
    assert f"{name} is gone (cancelled)." in cancelled.out


async def test_kubeconfig_files(moorage: Cli, bob: Caller) -> None:
    """Ensures that a kubeconfig is written privately, merged with a backup, and usable by its context."""
    name = unique()
    await bob.ready(name)
    written = await moorage("kubeconfig", name, "--file", "demo.yaml")
    file = moorage.folder / "demo.yaml"
    assert (written.code, written.out) == (0, "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (await moorage("kubeconfig", name, "--file", "-")).out == file.read_text()
    merged = await moorage("kubeconfig", name, "--merge")
    config = moorage.folder / ".kube" / "config"
    assert f"{config} now has the context moorage-{name}" in merged.err
    assert yaml.safe_load(config.read_text())["current-context"] == f"moorage-{name}"
    config.write_text(yaml.safe_dump({"kind": "Config", "current-context": "mine"}))
    kept = await moorage("kubeconfig", name, "--merge", "--keep-context", "-o", "json")
    assert kept.json["context"] == f"moorage-{name}"
    backup = config.with_name(Path(kept.json["backup"]).name)
    assert yaml.safe_load(backup.read_text())["current-context"] == "mine"
    assert yaml.safe_load(config.read_text())["current-context"] == "mine"
    deleted = await moorage("delete", name, "--yes")
    assert f"Removed the context moorage-{name} from {config}" in deleted.err
    assert not yaml.safe_load(config.read_text())["contexts"]
    late = await moorage("kubeconfig", name, "--merge")
    assert (late.code, "is gone" in late.err) == (1, True)


async def test_on_a_terminal(moorage: Cli, bob: Caller) -> None:
    """Ensures that a terminal gets a table that moves, and is asked before something is deleted."""
    name = unique()
    shown, code = await on_terminal(moorage, "request", name, "small")
    assert code == 0
    assert "✓" in shown
    assert "\x1b[" in shown
    assert f"{name} is ready" in shown
    shown, code = await on_terminal(moorage, "delete", name, typed=b"n\n")
    assert code == 1
    assert f"Delete {name} of {BOB.email}" in shown
    assert "nothing was deleted" in shown
    assert (await bob.show(name)).phase == "ready"
    shown, code = await on_terminal(moorage, "delete", name, typed=b"\n")
    assert (code, "no answer" in shown, "--yes" in shown) == (2, True, True)
    assert (await bob.show(name)).phase == "ready"
    shown, code = await on_terminal(moorage, "delete", name, typed=b"y\n")
    assert code == 0
    assert "nothing left" in shown


async def on_terminal(cli: Cli, *arguments: str, typed: bytes = b"") -> tuple[str, int]:
    """Run the command with a terminal as its input and outputs; what it showed, and its exit code."""
    ours, theirs = pty.openpty()
    process = await cli.start(*arguments, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, typed)
    shown = bytearray()

    def read() -> None:
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # Linux's way to say that the other side is closed
                return
            if not piece:
                return
            shown.extend(piece)

    async with asyncio.timeout(MAX_WAIT):
        await asyncio.to_thread(read)
        code = await process.wait()
    os.close(ours)
    return shown.decode(errors="replace"), code


async def test_completion(stack: Stack, moorage: Cli, bob: Caller, tmp_path: Path) -> None:
    """Ensures that names are completed from the API, and that without an API completion prints nothing."""
    name = unique("complete")
    await bob.ready(name)

    async def complete(cli: Cli, words: str) -> Ended:
        variables = {"_MOORAGE_COMPLETE": "bash_complete", "COMP_WORDS": words}
        variables["COMP_CWORD"] = str(len(words.split(" ")) - 1)
        return await Cli(cli.folder, **{**cli._env, **variables})()

    assert name in (await complete(moorage, f"moorage show {name[:9]}")).out
    assert (await complete(moorage, "moorage request x thr")).out.split() == ["plain,throwaway"]
    assert (await complete(moorage, "moorage request x small --host lo")).out.split() == ["plain,local"]
    assert (await complete(moorage, "moorage list --team b")).out.split() == ["plain,blue"]
    assert (await complete(moorage, "moorage list --phase rea")).out.split() == ["plain,ready"]
    without_api = Cli(tmp_path, MOORAGE_URL="http://127.0.0.1:1", MOORAGE_TOKEN="t")
    silent = await complete(without_api, "moorage show x")
    assert (silent.out.strip(), silent.err) == ("", "")
    await bob.gone(name)


async def test_version(moorage: Cli) -> None:
    """Ensures that the installed command says its version without a connection."""
    version = await moorage("--version")
    assert re.fullmatch(r"moorage \d+\.\d+\.\d+\n", version.out)


async def test_doctor(stack: Stack, tmp_path: Path) -> None:
    """Ensures that each system has a line, a bad one has a remedy, and bad settings are reported."""
    settings = {
        name: value for name, value in stack.env.items() if name.startswith(("MOORAGE_", "TEMPORAL_"))
    }
    del settings["MOORAGE_READY_FILE"]
    assert (await Cli(tmp_path, **settings)("setup")).code == 0
    well = await Cli(tmp_path, **settings)("doctor", "-o", "json")
    assert (well.code, well.err) == (0, "")
    parts = ("templates", "tokens", "control plane", "identity provider", "notices", "host cluster")
    systems = [*parts, "Temporal"]
    assert list(dict.fromkeys(result["system"] for result in well.json)) == systems
    assert all(result["well"] for result in well.json)
    wrong = {"MOORAGE_CONTROL_PLANE__API_KEY": "wrong", "MOORAGE_IDENTITY__URL": "http://127.0.0.1:1"}
    unwell = await Cli(tmp_path, **(settings | wrong))("doctor")
    assert unwell.code == 1
    assert re.search(r"^FAILED\s+control plane.*refuses our credentials", unwell.out, re.MULTILINE)
    assert re.search(r"^FAILED\s+identity provider.*cannot connect", unwell.out, re.MULTILINE)
    assert re.search(r"^ok\s+host cluster", unwell.out, re.MULTILINE)
    assert re.search(r"^2 of \d+ are not well, and \d+ wait for that", unwell.err.removeprefix("moorage: "))
    assert "next: control plane: correct its credentials" in unwell.err
    nothing = await Cli(tmp_path)("doctor")
    assert (nothing.code, nothing.out) == (2, "")
    assert "MOORAGE_INSTALLATION" in nothing.err
    assert "MOORAGE_HOSTS" in nothing.err


async def test_the_platform_sees_all(stack: Stack, tmp_path: Path, dave: Caller) -> None:
    """Ensures that the platform team's command lists everybody's."""
    name = unique()
    await dave.ready(name)
    listed = await cli_of(stack, tmp_path, ALICE.email)("list", "--team", "green", "-o", "json")
    assert name in {row["name"] for row in listed.json}
    await dave.gone(name)
