"""One chart from its repository, by Helm, in a process of its own.

Helm gives a repository minutes and a registry (OCI) any time, and cannot be told to stop. A thread that
waits for one that drops packets is lost for so long; a process is ended.
"""

import asyncio
import json
import math
import signal
import sys
from datetime import timedelta
from pathlib import Path

from clients.subprocesses import run

#: Longest time for one pull: as long as Helm waits for one answer of a repository. The index of a large one
#: has several MB, which a slow line needs a while for.
PULL_LIMIT = timedelta(seconds=120)
#: How much longer it lives when whoever began it is gone, and so does not end it.
_ORPHANED = timedelta(seconds=5)

#: `-P`: a folder named `clients` in the current directory must not be taken for ours.
_COMMAND = (sys.executable, "-P", "-m", "clients.helm.chart_pull")


class NotPulled(Exception):
    """There is no archive. The text is what Helm says, or that it said nothing in its time."""


async def pull(repository: str, name: str, version: str, folder: Path) -> Path:
    """The chart's archive, which is then in the empty `folder`. Cancelled, or at its limit, it is ended."""
    # By its standard input: a list of processes shows arguments, and an address may hold a password.
    asked = {"repository": repository, "name": name, "version": version, "folder": str(folder)}
    try:
        async with asyncio.timeout(PULL_LIMIT.total_seconds()):
            ended = await run(_COMMAND, given=json.dumps(asked))
    except TimeoutError:
        raise NotPulled(f"no answer within {PULL_LIMIT.total_seconds():g} s") from None
    if ended.code:
        raise NotPulled(ended.output.strip() or f"Helm has ended with {ended.code}")
    return _archive_in(folder)


def _archive_in(folder: Path) -> Path:
    found = next(folder.glob("*.tgz"), None)
    if found is None:
        raise NotPulled("it gave no chart")
    return found


def main() -> int:
    """Pull what is asked for on standard input; 1, and Helm's words on standard output, if that fails."""
    signal.alarm(math.ceil((PULL_LIMIT + _ORPHANED).total_seconds()))
    asked = json.load(sys.stdin)
    import helm_python

    repository, name = asked["repository"], asked["name"]
    where = {"version": asked["version"], "destination": asked["folder"]}
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
