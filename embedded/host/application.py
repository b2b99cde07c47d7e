"""The simulated host as a whole: its parts, and its two endpoints, the API and the virtual API servers."""

import base64
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

from clients.private_files import ensure_private_folder, write_private
from embedded.asgi_server import Endpoint, StandIn, listening_socket
from embedded.faults import FaultInjector, Receive, Scope, Send
from embedded.host.agents import Agents
from embedded.host.api import control_api, operation_of
from embedded.host.database import open_database
from embedded.host.namespaces import Namespaces
from embedded.host.releases import Releases
from embedded.host.restores import RestorePods
from embedded.host.snapshots import SnapshotRequests
from embedded.host.statefulsets import StatefulSets
from embedded.host.timing import Clock, Timing
from embedded.host.tls import authority, server_certificate
from embedded.host.virtual.api import VirtualServers
from embedded.host.virtual.authorities import Authorities
from embedded.host.virtual.objects import VirtualObjects
from embedded.standin_options import HostOptions


@asynccontextmanager
async def open_host(options: HostOptions) -> AsyncIterator[StandIn]:
    """Open the host's data and resume what the last run left; stop its agents and timers at the end.

    One set of faults, at `/-/faults` of the API, strikes both endpoints.
    """
    folder = options.folder
    ensure_private_folder(folder)
    certificate = base64.b64encode(authority(folder).read_bytes()).decode()
    api_socket, tls_socket = listening_socket(options.port), _virtual_socket(options)
    with api_socket, tls_socket, closing(open_database(folder / "host.sqlite")) as rows:
        clock = Clock(Timing(start=options.start_seconds, stop=options.stop_seconds))
        namespaces = Namespaces(rows, clock)
        statefulsets = StatefulSets(rows, clock, namespaces)
        restores = RestorePods(rows, clock, namespaces, statefulsets)
        snapshots = SnapshotRequests(rows, clock, namespaces, statefulsets, restores)
        releases = Releases(rows, namespaces, statefulsets, snapshots, restores)
        objects = VirtualObjects(rows)
        agents = Agents(releases, objects)
        statefulsets.changed = [agents.refresh, snapshots.look_again]
        authorities = Authorities(rows)
        api = control_api(
            namespaces,
            releases,
            statefulsets,
            snapshots,
            restores,
            agents,
            authorities,
            token=options.token,
            virtual_url=f"https://127.0.0.1:{tls_socket.getsockname()[1]}",
            authority=certificate,
            cpu=options.cpu,
            memory=options.memory,
        )
        virtual = VirtualServers(releases, objects, authorities, agents.refresh)

        async def by_scheme(scope: Scope, receive: Receive, send: Send) -> None:
            await (virtual if scope["scheme"] == "https" else api)(scope, receive, send)

        app = FaultInjector(by_scheme, operation_of)
        namespaces.resume()
        statefulsets.resume()
        snapshots.resume()
        restores.resume()
        agents.start()
        try:
            certified = server_certificate(folder)
            tls_endpoint = Endpoint(app, tls_socket, certified, authorities.accept_certificates)
            yield StandIn([Endpoint(app, api_socket), tls_endpoint])
        finally:
            await agents.stop()
            clock.cancel_all()


def _virtual_socket(options: HostOptions) -> socket.socket:
    if options.virtual_address is None:
        return _remembered_socket(options.folder / "port")
    address, _, port = options.virtual_address.rpartition(":")
    return listening_socket(int(port), address)


def _remembered_socket(file: Path) -> socket.socket:
    """Return a listening socket on the port in `file`, or on another one if that is taken; keep the port.

    With the same port, kubeconfigs from before a restart work after it.
    """
    wanted = int(file.read_text()) if file.exists() else 0
    try:
        sock = listening_socket(wanted)
    except OSError:
        sock = listening_socket()
    write_private(file, str(sock.getsockname()[1]))
    return sock
