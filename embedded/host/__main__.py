"""`python -m embedded.host`: the simulated host cluster as a process of its own.

Its API is on a socket of its parent's, as with the other servers of the embedded stack. The virtual API
servers are on a TLS socket of its own, whose port is kept with the data.
"""

import argparse
import base64
import logging
import os
import sys
from pathlib import Path

from embedded.asgi_server import listening_socket, serve, stop_with_parent
from embedded.host.agents import Agents
from embedded.host.api import control_api
from embedded.host.database import open_store
from embedded.host.namespaces import Namespaces
from embedded.host.releases import Releases
from embedded.host.servers import HostServers, remembered_socket
from embedded.host.timing import Clock, Timing
from embedded.host.tls import authority, server_certificate
from embedded.host.virtual_api import virtual_servers
from embedded.host.virtual_objects import InnerObjects

#: Where the bearer token is given: arguments are seen by everybody on the machine, this is not.
TOKEN_VARIABLE = "HOST_TOKEN"  # noqa: S105 - the name of it
#: It runs nothing, so it has room for thousands.
CPU, MEMORY = "100000", "400Ti"


def main() -> None:
    """Serve until told to stop, or until the parent ends."""
    usual = Timing()
    parser = argparse.ArgumentParser(prog="python -m embedded.host", description=__doc__)
    parser.add_argument(
        "--fd", type=int, required=True, help="inherited listening socket, for the host's API"
    )
    parser.add_argument(
        "--folder", type=Path, required=True, help="where its data is; made if it is not there"
    )
    parser.add_argument(
        "--start-seconds", type=float, default=usual.start, help="how long a vCluster starts, about"
    )
    parser.add_argument(
        "--stop-seconds", type=float, default=usual.stop, help="how long a pod or a namespace ends, about"
    )
    parser.add_argument(
        "--doors",
        metavar="ADDRESS:PORT",
        help="where the virtual API servers listen, in a container; kubeconfigs name 127.0.0.1 all the same",
    )
    parser.add_argument("--cpu", default=CPU, help="CPUs that it says it has, as Kubernetes writes them")
    parser.add_argument("--memory", default=MEMORY, help="memory that it says it has, likewise")
    options = parser.parse_args()
    token = os.environ.pop(TOKEN_VARIABLE, "")
    if not token:
        sys.exit(f"{TOKEN_VARIABLE} is not set: it holds the bearer token that callers have to show")

    logging.basicConfig(format="simulated host: %(message)s")
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    certificate = base64.b64encode(authority(folder).read_bytes()).decode()
    rows = open_store(folder / "host.sqlite")
    if options.doors:
        address, _, port = options.doors.rpartition(":")
        tls_socket = listening_socket(int(port), address)
    else:
        tls_socket = remembered_socket(folder / "port")
    try:
        clock = Clock(Timing(start=options.start_seconds, stop=options.stop_seconds))
        namespaces = Namespaces(rows, clock)
        releases = Releases(rows, clock, namespaces)
        inner = InnerObjects(rows)
        agents = Agents(releases, inner)

        def begin() -> None:
            namespaces.begin()
            releases.begin()
            agents.begin()

        async def end() -> None:
            await agents.end()
            clock.end()

        virtual_url = f"https://127.0.0.1:{tls_socket.getsockname()[1]}"
        doors = HostServers(
            begin,
            end,
            api=control_api(
                namespaces,
                releases,
                agents,
                token=token,
                virtual_url=virtual_url,
                authority=certificate,
                cpu=options.cpu,
                memory=options.memory,
            ),
            virtual=virtual_servers(releases, inner, agents),
            tls_socket=tls_socket,
            tls=server_certificate(folder),
        )
        stop_with_parent()
        serve(doors, options.fd)
    finally:
        tls_socket.close()
        rows.close()


if __name__ == "__main__":
    main()
