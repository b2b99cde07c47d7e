"""The building blocks of settings: groups, and value types with their validation."""

import base64
import ipaddress
import re
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    SecretStr,
    StringConstraints,
)

from clients.host.models import Peer
from clients.transport.secure_urls import require_https
from contracts.types.models import Duration

LARGEST_PORT = 65535
#: The shortest secret that Standard Webhooks allows.
MIN_WEBHOOK_SECRET_BYTES = 24


def _is_url(text: str) -> str:
    if not text.startswith(("http://", "https://")) or len(text.split("://", 1)[1]) == 0:
        raise ValueError("must be a URL that starts with https:// (or http://)")
    return text.rstrip("/")


def _is_origin(text: str) -> str:
    parts = urlsplit(text)
    if not parts.hostname or parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("must be scheme, host and port alone, such as https://moorage.example.com")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _is_socket_address(text: str) -> str:
    host, _, port = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(
            host.strip("[]") if is_bracketed else host.replace("localhost", "127.0.0.1")
        )
        if is_bracketed is not (address.version == 6):
            raise ValueError
        if not (port.isascii() and port.isdigit() and int(port) <= LARGEST_PORT):
            raise ValueError
    except ValueError:
        raise ValueError(
            "must be an IP address and a port, such as 127.0.0.1:9464, 0.0.0.0:9464 or [::]:9464"
        ) from None
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _is_not_empty(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value().strip():
        raise ValueError("is empty")
    return secret


def _is_one_line(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if len(text.splitlines()) > 1:
        raise ValueError(f"has {len(text.splitlines())} lines: give the secret alone, in one line")
    if not text.isprintable():
        raise ValueError("has characters that cannot be printed: give the secret alone")
    return secret


def _fits_into_a_header(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value().isascii():
        raise ValueError("has characters beyond ASCII, which no header can hold: it must be another one")
    return secret


def _is_webhook_secret(secret: SecretStr) -> SecretStr:
    for word in secrets_of(secret):
        try:
            length = len(base64.b64decode(word.removeprefix("whsec_"), validate=True))
        except ValueError:
            length = 0
        if length < MIN_WEBHOOK_SECRET_BYTES:
            raise ValueError(
                f"must be whsec_ and at least {MIN_WEBHOOK_SECRET_BYTES} random bytes in base64: make one "
                'with `echo "whsec_$(openssl rand -base64 32)"`'
            )
    return secret


def secrets_of(words: SecretStr) -> tuple[str, ...]:
    """Return the secrets that are written in one, with blanks between them."""
    return tuple(words.get_secret_value().split())


def _is_positive(length: timedelta) -> timedelta:
    if length <= timedelta(0):
        raise ValueError('must be longer than nothing, such as "30s"')
    return length


def split_words(value: object) -> object:
    """Split a list that is written in one variable, with blanks or commas between its items."""
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


#: A network and its ports: `10.20.0.0/16`, `10.20.0.1:443`, `10.20.0.0/16:443+8443`, `[fd00::/8]:443`.
_PEER = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+(?:/\d+)?)\]|(?P<four>[0-9.]+(?:/\d+)?))(?::(?P<ports>[0-9+]+))?"
)


def _peer(text: object, default: int) -> Peer:
    """Parse a network with its ports; `default` is the port if the text names none."""
    if isinstance(text, Peer):
        return text
    wrong = f'"{text}" is no network with ports, such as 10.20.0.0/16:443 or [fd00::/8]:443+8443'
    found = _PEER.fullmatch(str(text))
    try:
        # An IPv6 network without ports needs no brackets.
        address = str(text) if found is None else found["six"] or found["four"]
        network = ipaddress.ip_network(address)
        ports = (
            tuple(int(port) for port in found["ports"].split("+")) if found and found["ports"] else (default,)
        )
    except ValueError:
        raise ValueError(wrong) from None
    if not all(0 < port <= LARGEST_PORT for port in ports):
        raise ValueError(wrong)
    return Peer(str(network), ports)


def _peers(default: int) -> BeforeValidator:
    def read(value: object) -> object:
        words = split_words(value)
        return tuple(_peer(each, default) for each in words) if isinstance(words, list | tuple) else words

    return BeforeValidator(read)


#: An address to listen on, in the SDK's form: no names, an IPv6 address in brackets.
SocketAddress = Annotated[str, AfterValidator(_is_socket_address)]
Url = Annotated[str, AfterValidator(_is_url)]
#: One to which secrets are sent, or whose answers are trusted.
ProtectedUrl = Annotated[Url, AfterValidator(require_https)]
#: Scheme, host and port.
Origin = Annotated[ProtectedUrl, AfterValidator(_is_origin)]
#: A secret of any length and form.
NonEmptySecret = Annotated[SecretStr, AfterValidator(_is_not_empty)]
SingleLineSecret = Annotated[NonEmptySecret, AfterValidator(_is_one_line)]
#: A secret that is sent in an HTTP header.
HeaderSecret = Annotated[SingleLineSecret, AfterValidator(_fits_into_a_header)]
#: Secrets that sign webhooks, in the form of Standard Webhooks: one, or two while it is changed.
WebhookSecret = Annotated[SingleLineSecret, AfterValidator(_is_webhook_secret)]
PositiveDuration = Annotated[Duration, AfterValidator(_is_positive)]
#: How often something may happen in a second. Less than once in a minute is a mistake: a queue would stand.
Rate = Annotated[float, Field(gt=1 / 60, le=10_000)]
Networks = Annotated[tuple[IPvAnyNetwork, ...], BeforeValidator(split_words)]
HttpsPeers = Annotated[tuple[Peer, ...], _peers(443)]
DnsPeers = Annotated[tuple[Peer, ...], _peers(53)]
HostName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9_-]{0,28}[a-z0-9])?$")]


class Group(BaseModel):
    """Settings that belong together. Immutable; an unknown name in it is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
