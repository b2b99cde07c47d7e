"""`moorage setup` as people run it: what they read, the exit codes, JSON, and being interrupted."""

import asyncio
import json
import re
import signal
from pathlib import Path

import pytest

from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part
from tests.cli.test_commands import Cli, ended
from tests.starter.setup.conftest import Ground
from tests.support.stand_ins import RafayStandIn, set_faults

#: Each runs the command several times, which takes seconds on a busy machine.
pytestmark = pytest.mark.slow


@pytest.fixture
def moorage(ground: Ground, tmp_path: Path) -> Cli:
    """The command of an operator who has the settings."""
    return Cli(tmp_path, TEMPORAL_ADDRESS=ground.stack.temporal_address, **ground.variables)


async def test_the_first_hour(moorage: Cli) -> None:
    """Ensures that a dry run, the set-up, a second one and doctor say what people need to know."""
    dry = await moorage("setup", "--dry-run")
    assert dry.code == 1
    assert re.search(r"^would do  control plane +host project +there is no project", dry.out, re.MULTILINE)
    assert "          setup would make it" in dry.out
    assert "nothing was changed" in dry.err
    assert "`moorage setup` would see to host project (control plane)" in dry.err
    first = await moorage("setup")
    assert (first.code, first.err) == (0, "")
    assert re.search(
        r"^done +control plane +host project +made project moorage-hosts$", first.out, re.MULTILINE
    )
    assert "Setup complete: it has seen to host project (control plane)" in first.out
    assert "moorage request demo small" in first.out
    again = await moorage("setup")
    assert again.code == 0
    assert "Setup complete: there was nothing to do." in again.out
    assert {line.split()[0] for line in again.out.partition("\n\n")[0].splitlines()} == {"ok"}
    doctor = await moorage("doctor")
    # All is set up, and no worker runs here.
    assert doctor.code == 1
    assert [line.split()[2] for line in doctor.out.splitlines() if line.startswith("FAILED")] == ["workers"]
    assert "No worker has asked for workflows (task queue moorage) at all" in doctor.out


async def test_for_programs(moorage: Cli) -> None:
    """Ensures that with --output json there is one document, complete or not, and the same exit codes."""
    first = await moorage("setup", "-o", "json")
    assert (first.code, first.json["complete"], first.err) == (0, True, "")
    assert "control plane: host project" in first.json["changed"]
    again = await moorage("setup", "-o", "json")
    assert (again.json["changed"], {part["state"] for part in again.json["parts"]}) == ([], {"ok"})
    moorage._env["MOORAGE_CONTROL_PLANE__API_KEY"] = "wrong"
    wrong = await moorage("setup", "-o", "json")
    assert (wrong.code, wrong.json["complete"]) == (1, False)
    assert json.loads(wrong.err)["exit_code"] == 1
    key = next(part for part in wrong.json["parts"] if part["part"] == "API key")
    assert (key["state"], key["well"]) == ("failed", False)
    assert key["remedy"]
    unwell = await moorage("doctor", "-o", "json")
    assert (unwell.code, [part["state"] for part in unwell.json if part["part"] == "API key"]) == (
        1,
        ["failed"],
    )


async def test_only_a_part_of_it(moorage: Cli) -> None:
    """Ensures that one system can be set up alone, before the others are there."""
    moorage._env["MOORAGE_CONTROL_PLANE__URL"] = "http://127.0.0.1:1"
    temporal = await moorage("setup", "--only", "temporal")
    assert temporal.code == 0, temporal.out
    assert "That part of the setup is complete: it has seen to schedules (Temporal)." in temporal.out
    assert "control plane" not in temporal.out
    nonsense = await moorage("setup", "--only", "everything")
    assert nonsense.code == 2


async def test_settings_that_cannot_be_used(moorage: Cli, tmp_path: Path) -> None:
    """Ensures that bad settings are exit code 2, all of them named, and nothing is called."""
    nothing = await Cli(tmp_path)("setup")
    assert (nothing.code, nothing.out) == (2, "")
    assert "MOORAGE_INSTALLATION" in nothing.err
    moorage._env["MOORAGE_HOSTS__REAL__KIND"] = "kubernetes"
    moorage._env["MOORAGE_HOSTS__REAL__KUBECONFIG"] = "/nowhere"
    moorage._env["MOORAGE_HOSTS__REAL__TIMEOUT"] = "3s"
    moorage._env["MOORAGE_DEFAULT_HOST"] = "local"
    for verb in ("setup", "doctor"):
        file = await moorage(verb)
        assert (file.code, file.out) == (2, "")
        assert "MOORAGE_HOSTS__REAL__KUBECONFIG: there is no kubeconfig /nowhere" in file.err


async def test_files_that_cannot_be_used(moorage: Cli, tmp_path: Path) -> None:
    """Ensures that a broken template is reported with its line, and that all other parts are set up."""
    (tmp_path / "small.yaml").write_text("version: 1\nkubernets: v1.36.0\n")
    moorage._env["MOORAGE_TEMPLATES"] = str(tmp_path)
    result = await moorage("setup")
    assert result.code == 1
    assert re.search(
        r"^failed +templates +catalogue +\d problems, the first: \S*small\.yaml", result.out, re.MULTILINE
    )
    assert re.search(r"^ +\S*small.yaml\S* kubernets: there is no such field", result.out, re.MULTILINE)
    assert re.search(r"^done +control plane +host project", result.out, re.MULTILINE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_interrupted_and_run_again(ground: Ground, moorage: Cli, number: signal.Signals) -> None:
    """Ensures that an interrupted setup removes its group and can be run again."""
    await _until_its_group_is_there(ground, moorage, number)
    assert (ground.groups(), await ground.directory_groups()) == ([], [])
    assert (await moorage("setup")).code == 0


async def test_killed_and_run_again(ground: Ground, moorage: Cli) -> None:
    """Ensures that what a kill leaves is found by doctor and removed by the next run, which says so."""
    await _until_its_group_is_there(ground, moorage, signal.SIGKILL)
    assert ground.groups()
    doctor = await moorage("doctor")
    assert doctor.code == 1
    assert "left over from an interrupted setup" in doctor.out
    assert "next: identity provider: group mapping: `moorage setup` would remove it" in doctor.err
    again = await moorage("setup")
    assert again.code == 0
    assert re.search(r"^repaired +identity provider +group mapping +removed group", again.out, re.MULTILINE)
    assert "it has seen to group mapping (identity provider)" in again.out
    assert (ground.groups(), await ground.directory_groups()) == ([], [])


async def _until_its_group_is_there(ground: Ground, moorage: Cli, number: signal.Signals) -> None:
    """Run setup, and send it the signal while its throw-away group is there."""
    await moorage("setup", "--only", "control-plane")
    set_faults(
        ground.stack.url(Part.DIRECTORY),
        Fault(operation="group.create", kind=FaultKind.DELAY_AFTER, seconds=2),
    )
    process = await moorage.start("setup")
    for _ in range(1000):
        if ground.groups():
            break
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
    assert ground.groups(), "it was not in the middle of its trial: this would prove nothing"
    process.send_signal(number)
    result = await ended(process)
    set_faults(ground.stack.url(Part.DIRECTORY))
    if number is not signal.SIGKILL:
        assert (result.code, "interrupted: completed parts stay" in result.err) == (130, True)


async def test_no_key_is_shown(ground: Ground, moorage: Cli) -> None:
    """Ensures that neither a good key nor a bad one is on the screen or in an argument list."""
    moorage._env["MOORAGE_IDENTITY__TOKEN"] = "planted-token"
    result = await moorage("setup")
    assert result.code == 1
    assert "refuses our credentials" in result.out
    for secret in (RafayStandIn.KEY, "planted-token", ground.variables["MOORAGE_ENCRYPTION__KEYS"]):
        assert secret not in result.out + result.err
