"""Commands in odd places: without a home, a terminal, an encoding or an open output."""

import asyncio
import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest

from starter.cli import app, crash_report
from starter.cli.command_context import report_errors
from starter.cli.errors import CliError, Code, Output
from starter.cli.lazy_group import CommandEntry
from starter.cli.state_folder import state_folder
from starter.cli.terminal.streams import prepare_streams
from starter.cli.terminal.text import print_json, print_line


def run(
    arguments: list[str], variables: dict[str, str], **more: object
) -> subprocess.CompletedProcess[bytes]:
    """A command in an environment that has nothing but these variables."""
    env = {"PATH": os.environ["PATH"], "MOORAGE_STATE": "/nowhere", **variables}
    more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    command = [sys.executable, "-P", "-m", "moorage", *arguments]
    return subprocess.run(command, env=env, check=False, **more)  # type: ignore[call-overload, no-any-return]


API = {"MOORAGE_URL": "http://127.0.0.1:1", "MOORAGE_TOKEN": "t"}


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "expected"),
    [
        (["list"], {"MOORAGE_URL": "https://x.test", "SSL_CERT_FILE": "/nowhere"}, 2, "SSL_CERT_FILE: /"),
        (["--ca-file", "/nowhere", "list"], {"MOORAGE_URL": "https://x.test"}, 2, "--ca-file: /nowhere"),
        (["list"], {"MOORAGE_URL": "http://moorage..test"}, 2, "its host has an empty part"),
        (["list"], {"ALL_PROXY": "ftp://127.0.0.1:1", "MOORAGE_URL": "http://x.invalid"}, 2, "proxy"),
        (["list"], {"TERM": "", "COLUMNS": "20"}, 5, "connection refused"),
        (["--help"], {"COLUMNS": "1", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}, 0, ""),
    ],
)  # fmt: skip
def test_an_environment_that_is_wrong(
    arguments: list[str], variables: dict[str, str], code: int, expected: str
) -> None:
    """Ensures that what the environment has wrong is one sentence, with the documented code."""
    done = run(arguments, API | variables)
    printed = done.stderr.decode()
    assert (done.returncode, "Traceback" in printed) == (code, False), printed
    assert expected in printed


def test_outputs_that_are_closed() -> None:
    """Ensures that a reader who has had enough, and an output that is closed or full, end nothing badly."""
    reading, writing = os.pipe()
    os.close(reading)
    done = run(["--help"], {}, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
    done = run(["--version"], {}, stdout=None, preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (0, b"")
    if Path("/dev/full").exists():
        with Path("/dev/full").open("wb") as full:
            done = run(["--version"], {}, stdout=full)
        assert done.returncode == Code.FAILED
        assert done.stderr == b"moorage: cannot write the output: No space left on device\n"


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="becomes another user")
def test_no_home_and_no_entry_for_the_user() -> None:
    """Ensures that a user whom the system does not know can use every command."""
    code = (
        "import os, sys; sys.path.insert(0, os.getcwd()); import starter.cli.kubeconfig.files as k\n"
        "from starter.cli.errors import CliError\n"
        "from starter.cli.crash_report import report_crash\n"
        "os.setuid(54321)\n"
        "try: k.kubeconfig_files({})\n"
        "except CliError as error: print(error)\n"
        "print(report_crash(ValueError('x')).next_steps[0])\n"
    )
    env = {"PATH": os.environ["PATH"]}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "cannot find your kubeconfig: HOME and KUBECONFIG are not set"
    assert "XDG_STATE_HOME" in second


TEXT = "✓ done · 3 → 4 … é ü 日 😀"


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", "+ done . 3 -> 4 ... e u ? ?"),
        ("latin-1", "+ done · 3 -> 4 ... é ü ? ?"),
        ("cp1252", "+ done · 3 -> 4 … é ü ? ?"),
        ("utf-8", TEXT),
    ],
)
def test_an_output_that_lacks_characters(
    monkeypatch: pytest.MonkeyPatch, encoding: str, expected: str
) -> None:
    """Ensures that people read something simpler, and that programs read the very text."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    prepare_streams()
    print_line(TEXT)
    print_json({"text": TEXT})
    sys.stdout.flush()
    first, _, rest = written.getvalue().decode(encoding).partition("\n")
    assert first == expected
    assert json.loads(rest) == {"text": TEXT}


def broken() -> None:
    raise ValueError("something that holds a secret")


def reports(folder: Path) -> list[Path]:
    return sorted((folder / "moorage").glob("*"))


@pytest.mark.parametrize("output", Output)
def test_a_fault_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], output: Output
) -> None:
    """Ensures that an unexpected error is one sentence, and that its traceback is in a private file."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with pytest.raises(click.exceptions.Exit) as ended, report_errors(output):
        broken()
    assert ended.value.exit_code == Code.CRASHED
    (report,) = reports(tmp_path)
    assert "in broken" in report.read_text()
    assert "something that holds a secret" in report.read_text()
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    assert stat.S_IMODE(report.parent.stat().st_mode) == 0o700
    printed = capsys.readouterr().err
    assert "this is a bug of Moorage (ValueError)" in printed
    assert str(report) in printed
    assert "secret" not in printed
    assert "Traceback" not in printed
    if output is Output.JSON:
        assert json.loads(printed)["exit_code"] == 70


def test_a_report_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that the sentence says that there is no report, and why."""
    (tmp_path / "moorage").write_text("in the way")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (step,) = crash_report.report_crash(ValueError()).next_steps
    assert "cannot write the traceback (Not a directory)" in step
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_folder() == tmp_path / ".local" / "state" / "moorage"


def test_reports_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that the newest reports are kept, and no more than that."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "moorage").mkdir()
    for number in range(30):
        (tmp_path / "moorage" / f"crash-20200101T0000{number:02}-1.log").touch()
    crash_report.report_crash(ValueError())
    assert len(reports(tmp_path)) == crash_report.KEPT
    assert reports(tmp_path)[-1].read_text().endswith("ValueError\n")


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (ValueError("x"), 70),
        (RecursionError(), 70),
        (CliError(Code.FAILED, "no"), 1),
        (OSError(28, "No space left on device"), 70),
        (asyncio.CancelledError(), 70),
    ],
)
def test_the_single_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int
) -> None:
    """Ensures that whatever a verb raises becomes an exit code."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["moorage", "worker"])
    left: list[int] = []
    monkeypatch.setattr(app, "exit_process", left.append)

    def fail() -> None:
        with report_errors(Output.TABLE):
            raise raised

    app.run([CommandEntry("worker", click.Command("worker", callback=fail), "Fail.", calls_api=False)])
    assert left == [code]
