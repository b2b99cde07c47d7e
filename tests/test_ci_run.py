"""Ensures that `.ci/run` runs each stage, fails with any of them, and leaves nothing running.

It runs in a separate folder, where `make` and the other programs are scripts: each target does what the
folder `targets` has under its name, and says when it starts and ends.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.support.deadline import HANG, NEVER

CI = Path(__file__).parents[1] / ".ci"
MAKE = """#!/bin/sh
trap : TERM
target=$1
echo "start $target" >>calls
echo "output of $target"
if [ -e "targets/$target" ]; then sh "targets/$target" || { echo "end $target" >>calls; exit 1; }; fi
echo "end $target" >>calls
"""
#: Goes on once another target has started.
WAITS = "until grep -qx 'start {target}' calls; do sleep 0.02; done"
#: Hangs with a child process that ends only when it is terminated.
HANGS = f"sleep {NEVER:.0f} & echo $! >hanging.$target; wait"
STAGES = ["lint", "docs", "test", "slow", "quick", "ui", "keycloak", "e2e"]


class Run:
    """One run of `.ci/run`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = folder / "programs"
        for made in (programs, folder / "targets", folder / ".ci"):
            made.mkdir()
        shutil.copy(CI / "run", folder / ".ci")
        self._write(folder / ".ci" / "pythons", "#!/bin/sh\necho 3.99 python3.99\n")
        self._write(programs / "make", MAKE)
        for name in ("promtool", "chromium", "java", "mvn"):
            self._write(programs / name, "#!/bin/sh\n")
        (folder / "calls").touch()
        self._path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        self._process: subprocess.Popen[str] | None = None

    def let(self, target: str, script: str) -> None:
        """Let a target do this."""
        (self.folder / "targets" / target).write_text(f"target={target}\n{script}\n")

    def start(self, environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [self.folder / ".ci" / "run"],
            env={**os.environ, "PATH": self._path, "TEST_E2E_KUBECONFIG": "", **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def end(self, number: int | None = None) -> tuple[int, str]:
        """Send it a signal, if there is one; return its exit code and its output."""
        assert self._process is not None
        if number is not None:
            self._process.send_signal(number)
        output, _ = self._process.communicate(timeout=HANG)
        return self._process.returncode, output

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    @property
    def started(self) -> list[str]:
        return [call.removeprefix("start ") for call in self.calls if call.startswith("start ")]

    def wait_for(self, name: str) -> Path:
        """Wait until a target has written the file."""
        ends = time.monotonic() + HANG
        while not (path := self.folder / name).exists() or not path.read_text():
            assert time.monotonic() < ends, self.calls
            time.sleep(0.02)
        return path

    def wait_for_end_of(self, target: str) -> None:
        """Wait until the process is gone that the hanging target has started."""
        pid = int(self.wait_for(f"hanging.{target}").read_text())
        ends = time.monotonic() + HANG
        with suppress(psutil.NoSuchProcess):
            while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                assert time.monotonic() < ends, f"the process of {target} is left"
                time.sleep(0.02)

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o700)

    def close(self) -> None:
        """End it if it runs, as after a test that failed."""
        if self._process is not None and self._process.poll() is None:
            self.end(signal.SIGTERM)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path)
    yield run
    run.close()


def test_run_has_all_stages_and_makes_a_cluster(run: Run) -> None:
    run.start()
    code, output = run.end()
    assert code == 0, output
    assert sorted(run.started) == sorted([*STAGES, "cluster", "cluster-down", "cluster-down"])
    own = [call for call in run.calls if call.split()[1] in ("cluster", "cluster-down", "e2e")]
    assert [call for call in own if call.startswith("start")] == [
        "start cluster-down", "start cluster", "start e2e", "start cluster-down",
    ]  # fmt: skip


def test_end_to_end_tests_run_beside_the_quick_ones_and_the_page_s(run: Run) -> None:
    run.let("quick", WAITS.format(target="e2e"))
    run.let("e2e", WAITS.format(target="ui"))
    run.start()
    code, output = run.end()
    assert code == 0, output


def test_cluster_is_made_once_all_other_tests_have_passed(run: Run) -> None:
    run.start()
    run.end()
    assert run.calls.index("end test") < run.calls.index("start cluster-down")


def test_output_of_the_end_to_end_tests_comes_last_and_in_one_piece(run: Run) -> None:
    run.let("e2e", f"{WAITS.format(target='keycloak')}; echo more of e2e")
    run.start()
    _, output = run.end()
    lines = [line for line in output.splitlines() if line.startswith(("output of", "more of"))]
    of_cluster = ["output of cluster-down", "output of cluster", "output of e2e", "more of e2e"]
    assert lines[-5:] == [*of_cluster, "output of cluster-down"]


def test_cluster_of_another_is_used_and_not_ended(run: Run) -> None:
    run.start({"TEST_E2E_KUBECONFIG": "/kubeconfig"})
    code, output = run.end()
    assert code == 0, output
    assert sorted(run.started) == sorted(STAGES)


@pytest.mark.parametrize("target", [*STAGES, "cluster"])
def test_run_fails_with_each_stage_and_says_which(run: Run, target: str) -> None:
    run.let(target, "exit 1")
    run.start()
    code, output = run.end()
    assert code == 1
    assert f"make {target}" in next(line for line in output.splitlines() if "failed after" in line)
    assert run.started.count("cluster-down") in (0, 2), "the cluster stays up"


def test_cluster_is_ended_when_another_stage_fails_meanwhile(run: Run) -> None:
    run.let("e2e", HANGS)
    run.let("ui", f"{WAITS.format(target='e2e')}; exit 1")
    run.start()
    code, output = run.end()
    assert code == 1
    assert "make ui: failed" in output
    assert "output of e2e" in output
    assert run.calls[-1] == "end cluster-down"
    run.wait_for_end_of("e2e")


def test_no_process_is_left_when_the_run_is_terminated(run: Run) -> None:
    run.let("e2e", HANGS)
    run.let("quick", HANGS)
    run.start()
    run.wait_for("hanging.quick")
    run.wait_for("hanging.e2e")
    code, _ = run.end(signal.SIGTERM)
    assert code == 130
    of_cluster = [call for call in run.calls if not call.endswith(" quick")]
    assert of_cluster[-3:] == ["end e2e", "start cluster-down", "end cluster-down"]
    run.wait_for_end_of("quick")
    run.wait_for_end_of("e2e")


def test_no_process_is_left_when_the_run_is_terminated_while_it_waits_for_the_end(run: Run) -> None:
    run.let("e2e", HANGS)
    run.start()
    while "end keycloak" not in run.calls:
        run.wait_for("hanging.e2e")
        time.sleep(0.02)
    code, _ = run.end(signal.SIGTERM)
    assert code == 130
    assert run.calls[-1] == "end cluster-down"
    run.wait_for_end_of("e2e")
