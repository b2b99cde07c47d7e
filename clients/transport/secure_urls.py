"""Which URLs may get a secret: those of https://, and those that no network outside can read."""

import ipaddress
from urllib.parse import urlsplit

_INSIDE = (".localhost", ".svc", ".svc.cluster.local")


def is_internal_host(host: str) -> bool:
    """Return whether requests to the host stay on this machine or in its network of containers.

    Names without a dot and Kubernetes' own are those of a container's neighbours; no public name is so.
    """
    host = host.lower().rstrip(".")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or "." not in host or host.endswith(_INSIDE)


def require_https(url: str) -> str:
    """Return the URL; raise ValueError if requests to it can be read on their way."""
    parts = urlsplit(url)
    if parts.scheme == "http" and not is_internal_host(parts.hostname or ""):
        raise ValueError(
            "must start with https://: what is sent there is secret. http:// is for this machine, names "
            "without a dot, and services of the same cluster (name.namespace.svc)"
        )
    return url
