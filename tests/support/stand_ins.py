"""Starts the servers of the embedded stack as the product does, each a process of its own, for tests.

`start_process` and `stop_process` serve any of them; what only one of them has is in its own class.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from embedded.faults import CONTROL_PATH, Fault
from embedded.serve import listening_socket

#: Where `python -m` finds the packages of the checkout, whatever directory pytest was started in.
CHECKOUT = Path(__file__).resolve().parents[2]
#: Longest wait for the first answer: imports take a second or two when the cores are busy.
START_SECONDS = 30.0
#: Longest wait for an ordered end; past it the process is killed and the test fails.
STOP_SECONDS = 10.0


def start_process(
    module: str, args: Sequence[str] = (), env: Mapping[str, str] | None = None, port: int = 0
) -> tuple[str, subprocess.Popen[bytes]]:
    """Start `python -m <module> --fd N <args>` on a listening socket of ours, and wait until it answers.

    Returns its base URL and the process, which holds the read end of a pipe to us as its standard input
    (see `embedded.serve.stop_with_parent`). `env` is added to the environment. End it with `stop_process`.
    """
    with listening_socket(port) as sock:
        base_url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-m", module, "--fd", str(sock.fileno()), *args],
            stdin=subprocess.PIPE,
            env={**os.environ, **(env or {})},
            pass_fds=[sock.fileno()],
            cwd=CHECKOUT,
        )
    try:
        _wait_for_answer(base_url, module, process)
    except BaseException:
        process.kill()
        stop_process(process)
        raise
    return base_url, process


def stop_process(process: subprocess.Popen[bytes]) -> int:
    """End the process with SIGTERM and return its exit code; kill it, and fail, if it does not end so."""
    process.terminate()
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise AssertionError(f"process {process.args!r} did not end within {STOP_SECONDS:g} s") from None
    finally:
        if process.stdin:
            process.stdin.close()


@contextmanager
def running_process(
    module: str, args: Sequence[str] = (), env: Mapping[str, str] | None = None, port: int = 0
) -> Iterator[str]:
    """`start_process` for the length of a with-block; gives the base URL."""
    base_url, process = start_process(module, args, env, port)
    try:
        yield base_url
    finally:
        stop_process(process)


def set_faults(base_url: str, *faults: Fault) -> None:
    """Replace all faults of the server at `base_url` by these; none clears them."""
    control(base_url, "PUT", CONTROL_PATH, [fault.model_dump(mode="json") for fault in faults])


def control(base_url: str, method: str, path: str, body: Any = None) -> Any:
    """Call one of a stand-in's own endpoints (`/-/…`) and return its JSON answer, past any proxy."""
    with httpx.Client(base_url=base_url, trust_env=False, timeout=10) as http:
        answer = http.request(method, path, json=body)
    assert answer.is_success, f"{method} {path} on the stand-in: {answer.status_code} {answer.text}"
    return answer.json() if answer.content else None


def _wait_for_answer(base_url: str, module: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(trust_env=False, timeout=START_SECONDS) as http:
        while True:
            if process.poll() is not None:
                raise AssertionError(f"{module} ended at its start with exit code {process.returncode}")
            try:
                http.get(base_url, timeout=1.0)
            except httpx.TransportError as error:
                if time.monotonic() > deadline:
                    raise AssertionError(f"{module} gave no answer within {START_SECONDS:g} s") from error
                time.sleep(0.02)
            else:
                return
