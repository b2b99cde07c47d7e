"""The variables that Kubernetes sets for each Service of a namespace; they are not Moorage's settings.

For a Service "moorage-api" with a port 7400 named "http" and the address 10.0.0.7:

    MOORAGE_API_SERVICE_HOST=10.0.0.7            MOORAGE_API_PORT=tcp://10.0.0.7:7400
    MOORAGE_API_SERVICE_PORT=7400                MOORAGE_API_PORT_7400_TCP=tcp://10.0.0.7:7400
    MOORAGE_API_SERVICE_PORT_HTTP=7400           MOORAGE_API_PORT_7400_TCP_PROTO=tcp, …_PORT=7400, …_ADDR=…
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping

_HOST = "_SERVICE_HOST"
_SERVICE_PORT = "_SERVICE_PORT"
_PORT = re.compile(r"[0-9]{1,5}")
_NAMED_PORT = re.compile(r"_SERVICE_PORT_[A-Z0-9_]+")
_LINK = re.compile(r"_PORT_(?P<port>[0-9]{1,5})_(?P<protocol>TCP|UDP|SCTP)(?P<part>|_PROTO|_PORT|_ADDR)")


def service_links(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the names of all variables of Services that are in `environ`.

    It never yields a misspelt setting: a Service has its address and its port in `environ`, and each variable
    has the value that Kubernetes sets for them.
    """
    for name, address in environ.items():
        service = name.removesuffix(_HOST)
        if (
            service
            and service != name
            and _is_address(address)
            and _PORT.fullmatch(environ.get(service + _SERVICE_PORT, ""))
        ):
            yield from (each for each, value in environ.items() if _belongs_to(service, address, each, value))


def _belongs_to(service: str, address: str, name: str, value: str) -> bool:
    """Return whether Kubernetes sets the variable for the Service."""
    suffix = name.removeprefix(service)
    if suffix == name:
        return False
    if suffix == _HOST:
        return True
    if suffix == _SERVICE_PORT or _NAMED_PORT.fullmatch(suffix):
        return _PORT.fullmatch(value) is not None
    host = f"[{address}]" if ":" in address else address
    if suffix == "_PORT":
        return re.fullmatch(rf"(tcp|udp|sctp)://{re.escape(host)}:[0-9]{{1,5}}", value) is not None
    if not (link := _LINK.fullmatch(suffix)):
        return False
    port, protocol = link["port"], link["protocol"].lower()
    expected = {"": f"{protocol}://{host}:{port}", "_PROTO": protocol, "_PORT": port, "_ADDR": address}
    return value == expected[link["part"]]


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True
