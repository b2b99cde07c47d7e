"""Ensures that no answer of the API, the codec server or a stand-in waits for a delayed ACK."""

import socket

import pytest

from embedded.asgi_server import listening_socket
from starter.http_server.sockets import open_listening_socket


def _has_ipv6() -> bool:
    """Whether this machine has `::1`, without the code that is tested."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine does not have ::1")


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_what_is_accepted_sends_at_once(host: str) -> None:
    with open_listening_socket(host, 0) as listening, socket.create_connection(listening.getsockname()[:2]):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_what_a_stand_in_accepts_sends_at_once() -> None:
    with listening_socket() as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@needs_ipv6
@pytest.mark.parametrize("host", ["::", "[::]"])
def test_all_addresses_are_those_of_both_families(host: str) -> None:
    with open_listening_socket(host, 0) as listening:
        port = listening.getsockname()[1]
        listening.setblocking(True)
        for address in ("127.0.0.1", "::1"):
            with socket.create_connection((address, port)):
                listening.accept()[0].close()


@needs_ipv6
def test_one_address_is_that_alone() -> None:
    with open_listening_socket("::1", 0) as listening, pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", listening.getsockname()[1]))


@pytest.mark.parametrize("module", ["starter.api.server", "starter.codec_server.app"])
def test_both_servers_open_theirs_so(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that neither has a second way to open a socket."""
    imported = __import__(module, fromlist=["open_listening_socket"])
    assert imported.open_listening_socket is open_listening_socket
    assert not hasattr(imported, "create_server")
