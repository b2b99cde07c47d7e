"""`python -m embedded.rafay`: runs the stand-in until it is told to stop or its parent ends."""

import argparse
import os
import socket
import sys
from pathlib import Path

from pydantic import ValidationError

from embedded.asgi_server import serve, stop_with_parent
from embedded.faults import FaultInjector
from embedded.rafay.app import Keys, RafayStandIn
from embedded.rafay.behaviour import Behaviour
from embedded.rafay.database import Store

#: API keys come by the environment: arguments can be read by everybody on the machine.
KEY_VARIABLE = "RAFAY_STAND_IN_KEY"
READ_ONLY_KEY_VARIABLE = "RAFAY_STAND_IN_READ_ONLY_KEY"


def main() -> None:
    """Read the arguments and serve."""
    parser = _parser()
    options = parser.parse_args()
    key = os.environ.get(KEY_VARIABLE)
    if not key:
        sys.exit(f"{KEY_VARIABLE} must be set: the API key that the stand-in accepts")
    try:
        switches = Behaviour(**{name: getattr(options, name) for name in Behaviour.model_fields})
    except ValidationError as error:
        first = error.errors()[0]
        parser.error(f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg']}")
    store = Store(options.database)
    for email in options.user:
        store.add_user(email)
    stand_in = RafayStandIn(
        store,
        Keys(key, os.environ.get(READ_ONLY_KEY_VARIABLE) or None),
        switches,
        endpoint=options.endpoint or _own_address(options.fd),
        agent_image=options.agent_image,
    )
    stop_with_parent()
    serve(FaultInjector(stand_in, stand_in.operation_of), options.fd)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m embedded.rafay",
        description=f"A stand-in for a Rafay controller. API keys: {KEY_VARIABLE} (may do everything), "
        f"{READ_ONLY_KEY_VARIABLE} (may read).",
    )
    parser.add_argument("--fd", type=int, required=True, help="listening socket, inherited")
    parser.add_argument("--database", type=Path, required=True, help="SQLite file; made if missing")
    parser.add_argument("--endpoint", help="URL under which agents reach it (default: the socket's own)")
    parser.add_argument("--agent-image", default="rafay-agent", help="image in the bootstrap manifest")
    parser.add_argument("--user", action="append", default=[], metavar="EMAIL", help="one more local user")
    for name, switch in Behaviour.model_fields.items():
        kind = type(switch.default)
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=kind, default=switch.default, help=switch.description)
    return parser


def _own_address(fd: int) -> str:
    with socket.socket(fileno=os.dup(fd)) as sock:
        host, port = sock.getsockname()[:2]
    return f"http://{host}:{port}"


if __name__ == "__main__":
    main()
