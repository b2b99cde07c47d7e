"""What a credential needs when its environment sleeps: to notice that, to wake it, and to wait for it."""

import json
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from contracts.phases import SLEEP_PHASES, Phase
from starter.cli.client.api_paths import environment_path
from starter.cli.errors import CliError, Code
from starter.cli.terminal.text import print_line

if TYPE_CHECKING:
    from starter.cli.client.api import Api

#: The end of the `type` of the API's problem.
_ASLEEP = ":asleep"
#: How long a vCluster may take to accept a connection: a network away, and never as long as a command waits.
PROBE_SECONDS = 1.0
#: How often it is woken for one credential: another person may put it to sleep meanwhile.
MAX_WAKES = 2
_DEFAULT_PORTS = {"https": 443, "http": 80}

_Result = TypeVar("_Result")


def is_listening(environ: Mapping[str, str]) -> bool:
    """Return whether the cluster that kubectl has named accepts a connection, or cannot be asked directly.

    A certificate that was kept for the next call is of no use while the environment sleeps.
    """
    try:
        cluster = json.loads(environ.get("KUBERNETES_EXEC_INFO", ""))["spec"]["cluster"]
        parts = urlsplit(cluster["server"])
        host, port = parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme]
        has_proxy = bool(cluster.get("proxy-url"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return True
    if has_proxy or host is None or any(name.lower() == "https_proxy" for name in environ):
        return True
    try:
        socket.create_connection((host, port), timeout=PROBE_SECONDS).close()
    except OSError:
        return False
    return True


def when_awake(
    open_api: Callable[[], AbstractContextManager["Api"]],
    name: str,
    life: str,
    request: Callable[[], _Result],
) -> _Result:
    """Return the result of a request to the API; wake the environment first if it sleeps.

    Raises:
        CliError: There is no room to wake it, or it does not start; or the request is refused otherwise.
    """
    for _ in range(MAX_WAKES):
        try:
            return request()
        except CliError as error:
            if not str((error.problem or {}).get("type", "")).endswith(_ASLEEP):
                raise
        with open_api() as api:
            _wake(api, name, life)
    return request()


def _wake(api: "Api", name: str, life: str) -> None:
    print_line(f"waking {name} …", file=sys.stderr, flush=True)
    api.call("POST", f"{environment_path(name)}/wake", query={"life": life or None})
    was_waking = False
    for view in api.follow(name):
        was_waking = was_waking or view.phase is Phase.WAKING
        if view.phase is Phase.READY:
            return
        if view.sleep and view.sleep.problem and view.phase is not Phase.WAKING:
            problem = view.sleep.problem
            steps = [problem.remedy] if problem.remedy else []
            raise CliError(Code.FAILED, f"{name} could not be woken. {problem.cause}", next_steps=steps)
        if was_waking and view.phase in (Phase.FALLING_ASLEEP, Phase.ASLEEP):
            return  # another person has put it to sleep again; the request tells
        if view.phase not in SLEEP_PHASES:
            break
    raise CliError(Code.FAILED, f"{name} is not awake: see moorage show {name}")
