"""Opens the sockets that the API and the codec server listen on."""

import socket

#: Connections that may wait to be accepted: hundreds ask at once when a class or a pipeline begins.
BACKLOG = 1024


def open_listening_socket(host: str, port: int) -> socket.socket:
    """Open a listening socket whose answers leave at once. Raises OSError if the address is not to be had.

    asyncio sets TCP_NODELAY only where a socket says that its protocol is TCP, and those of
    `socket.create_server` say 0: each answer on a kept connection would wait 40 ms for a delayed ACK.
    Accepted connections inherit the option on Linux, macOS and the BSDs.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
