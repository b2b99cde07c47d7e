"""`python -m embedded.directory`: the directory as a process of its own, on a socket of its parent's."""

import argparse
import os
import sys
from pathlib import Path

from embedded.asgi_server import serve, stop_with_parent
from embedded.directory.application import PEOPLE, Directory, operation_of, provider, seed
from embedded.directory.storage import SqliteStorage
from embedded.faults import FaultInjector

#: Where the bearer token is given: arguments are seen by everybody on the machine, this is not.
TOKEN_VARIABLE = "DIRECTORY_TOKEN"  # noqa: S105 - the name of it


def main() -> None:
    """Serve until told to stop, or until the parent ends."""
    parser = argparse.ArgumentParser(prog="python -m embedded.directory", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="inherited listening socket")
    parser.add_argument("--database", type=Path, required=True, help="SQLite file; made if it is not there")
    parser.add_argument(
        "--people", type=Path, help=f"file of addresses, one a line, to seed; else {', '.join(PEOPLE)}"
    )
    parser.add_argument(
        "--allow-duplicate-groups",
        action="store_true",
        help="let several groups have one name, as the RFC does",
    )
    options = parser.parse_args()
    token = os.environ.pop(TOKEN_VARIABLE, "")
    if not token:
        sys.exit(f"{TOKEN_VARIABLE} is not set: it holds the bearer token that callers have to show")

    people = PEOPLE if options.people is None else tuple(options.people.read_text().split())
    offered = provider(unique_groups=not options.allow_duplicate_groups)
    storage = SqliteStorage(options.database, offered)
    try:
        seed(storage, offered, people)
        stop_with_parent()
        serve(FaultInjector(Directory(storage, offered, token), operation_of), options.fd)
    finally:
        storage.close()


if __name__ == "__main__":
    main()
