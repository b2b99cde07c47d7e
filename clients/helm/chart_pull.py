"""Pull of one chart from its repository, by Helm, in a separate process.

Helm waits minutes for a repository and without limit for a registry (OCI), and cannot be cancelled. A thread
that waits for a server that drops packets would be blocked for that time; a process can be killed.
"""

import asyncio
import json
import math
import signal
import sys
from datetime import timedelta
from pathlib import Path

from clients.subprocesses import run

#: Timeout of one pull, equal to Helm's timeout for one answer of a repository. The index of a large
#: repository has several MB, which takes a while on a slow line.
PULL_TIMEOUT = timedelta(seconds=120)
#: Additional time that the process lives when its parent is gone and cannot kill it.
_ORPHAN_TIMEOUT = timedelta(seconds=5)

#: `-P`: Python must not import a folder named `clients` in the current directory instead of ours.
_COMMAND = (sys.executable, "-P", "-m", "clients.helm.chart_pull")


class PullFailed(Exception):
    """There is no archive; the message is Helm's, or says that Helm gave none in time."""


async def pull(repository: str, name: str, version: str, folder: Path) -> Path:
    """Pull the chart into the empty `folder` and return its archive.

    The process is killed when the call is cancelled or reaches `PULL_TIMEOUT`.

    Raises:
        PullFailed: there is no archive.
    """
    # Use standard input, because process lists show arguments, and a URL may hold a password.
    request = {"repository": repository, "name": name, "version": version, "folder": str(folder)}
    try:
        async with asyncio.timeout(PULL_TIMEOUT.total_seconds()):
            result = await run(_COMMAND, input=json.dumps(request))
    except TimeoutError:
        raise PullFailed(f"no answer within {PULL_TIMEOUT.total_seconds():g} s") from None
    if result.exit_code:
        raise PullFailed(result.stdout.strip() or f"Helm failed with exit code {result.exit_code}")
    return _archive_in(folder)


def _archive_in(folder: Path) -> Path:
    found = next(folder.glob("*.tgz"), None)
    if found is None:
        raise PullFailed("it gave no chart")
    return found


def main() -> int:
    """Pull the chart that standard input names; on failure print Helm's message and return 1."""
    signal.alarm(math.ceil((PULL_TIMEOUT + _ORPHAN_TIMEOUT).total_seconds()))
    request = json.load(sys.stdin)
    import helm_python

    repository, name = request["repository"], request["name"]
    where = {"version": request["version"], "destination": request["folder"]}
    try:
        if repository.startswith("oci://"):
            helm_python.pull(f"{repository}/{name}", **where)
        else:
            helm_python.pull(name, repo_url=repository, **where)
    except helm_python.HelmError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
