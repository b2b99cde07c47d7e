"""Ensures that as process 1 of a container Moorage hears at any moment that it is to stop."""

import shutil
import signal
import subprocess
import sys

import psutil
import pytest

from tests.support.stand_ins import CHECKOUT

#: A separate process namespace, in which the command is process 1.
_ALONE = ("unshare", "--pid", "--fork", "--kill-child")


def _can_be_alone() -> bool:
    if not shutil.which("unshare"):
        return False
    return subprocess.run([*_ALONE, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_are_heard_before_there_are_handlers(number: signal.Signals) -> None:
    """Ensures it while modules are imported: the kernel drops what process 1 has no handler for."""
    if not _can_be_alone():
        pytest.skip("this user may make no process namespace")
    program = "import moorage, time; print('up', flush=True); time.sleep(600)"
    with subprocess.Popen(
        [*_ALONE, sys.executable, "-c", program], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "up\n"
            [inner] = psutil.Process(process.pid).children()
            inner.send_signal(number)
            # unshare ends as its child does.
            assert process.wait(60) == 128 + number
        finally:
            process.kill()
