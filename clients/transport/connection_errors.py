"""The cause of a failed connection, in words, such as a refusal, a host name or a proxy."""

import errno
import os
import socket
import ssl
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx

_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})
_UNKNOWN = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
#: OpenSSL's errors when the other side does not speak TLS.
_NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG")


def describe_cause(error: BaseException) -> str:
    """Return why the connection failed, as a clause: "connection refused"; "" if it is unknown."""
    for cause in _chain(error):
        if text := _describe(cause):
            return text
    return ""


def is_final(error: BaseException) -> bool:
    """Return whether a retry cannot help: a certificate, a host name, or a proxy's refusal."""
    return any(
        isinstance(cause, ssl.SSLError | httpx.ProxyError)
        or (isinstance(cause, socket.gaierror) and cause.errno in _UNKNOWN)
        for cause in _chain(error)
    )


def proxy_of(url: str) -> str:
    """Return host and port of the environment's proxy for `url`; "" if there is none."""
    parts = urlsplit(url)
    proxies = urllib.request.getproxies()
    if parts.hostname and urllib.request.proxy_bypass(parts.hostname):
        return ""
    found = proxies.get(parts.scheme) or proxies.get("all") or ""
    try:
        return urlsplit(found if "://" in found else f"//{found}").netloc.rpartition("@")[2]
    except ValueError:
        return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and its causes, each once; of several connection attempts only the first."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        following = cause.__cause__ or cause.__context__
        cause = following.exceptions[0] if isinstance(following, BaseExceptionGroup) else following


def _describe(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {_certificate(error)}"
    if isinstance(error, ssl.SSLError):
        why = error.reason or ""
        if why in _NOT_TLS:
            return "the server does not speak TLS: is it http://?"
        if "CERTIFICATE_REQUIRED" in why or "BAD_CERTIFICATE" in why or "HANDSHAKE_FAILURE" in why:
            return f"it refuses the TLS connection ({_as_words(why)}): it may want a client certificate"
        return f"TLS fails ({_as_words(why) or 'no reason given'})"
    if isinstance(error, socket.gaierror):
        return f"unknown host ({error.strerror})"
    if isinstance(error, UnicodeError):
        return "its host name is not valid"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "the connection was cut"
    if isinstance(error, OSError) and error.errno in _NO_ROUTE:
        return f"there is no route to it ({os.strerror(error.errno)})"
    return _describe_httpx(error)


def _describe_httpx(error: BaseException) -> str:
    if isinstance(error, httpx.ProxyError):
        text = str(error)
        if text.startswith("407"):
            return "the proxy requires a login (407)"
        return f"the proxy refuses it ({text})"
    if isinstance(error, httpx.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpx.DecodingError):
        return "its answer cannot be unpacked"
    if isinstance(error, httpx.RemoteProtocolError):
        # The other side closes a connection that starts with an unexpected protocol, or answers in its own
        # protocol.
        return "the server does not speak HTTP, or closes the connection: is it https://?"
    return ""


def _certificate(error: ssl.SSLCertVerificationError) -> str:
    text = error.verify_message or str(error)
    # Replace OpenSSL's "unable to get local issuer certificate", because most readers misunderstand it.
    if error.verify_code in (18, 19, 20, 21):
        return f"no trusted authority has signed it ({text})"
    return text


def _as_words(why: str) -> str:
    return why.replace("_", " ").lower()
