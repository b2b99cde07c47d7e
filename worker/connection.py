"""The connection to Temporal by Temporal's own settings, and the check that its namespace is prepared.

`temporalio.envconfig` reads them: `TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`, `TEMPORAL_API_KEY`,
`TEMPORAL_TLS_*`, and profiles in a file, as the `temporal` command does.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import timedelta

from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from contracts.temporal import search_attributes
from worker.tracing.interceptor import TraceInterceptor

DEFAULT_ADDRESS = "localhost:7233"
DEFAULT_NAMESPACE = "default"
#: How long a process that has just been started waits for Temporal. In a compose file, on a machine that
#: boots, and in the embedded stack, all processes start at the same time.
START_TIMEOUT = timedelta(seconds=20)
#: Pause between two attempts: short compared with a start, and long enough to leave the CPU to the server.
PAUSE = timedelta(milliseconds=100)
#: Timeout of one attempt to connect; without it, a firewall that drops packets shows only after minutes.
CONNECT_TIMEOUT = timedelta(seconds=5)

#: Words in errors that waiting does not change: the credentials, or the server, are not the expected ones.
_REFUSALS = ("unauthenticated", "permissiondenied", "permission denied", "certificate", "unimplemented")

_AUTHORITY = "name its authority's file with TEMPORAL_TLS_SERVER_CA_CERT_PATH"
#: What the transport's errors mean, in the order in which they are searched. The words are Rust's names of
#: the errors, because the SDK gives no other sign. These errors are final: waiting does not change them.
_TLS = (
    ("InvalidContentType", "it does not speak TLS. TEMPORAL_TLS or TEMPORAL_API_KEY ask for it: unset them"),
    ("UnknownIssuer", f"no trusted authority has signed its certificate: {_AUTHORITY}"),
    ("CaUsedAsEndEntity", f"its certificate is that of an authority, and not for a server: {_AUTHORITY}"),
    (
        "NotValidForName",
        "its certificate is for another name: see TEMPORAL_ADDRESS or TEMPORAL_TLS_SERVER_NAME",
    ),
    ("InvalidCertificate(Expired", "its certificate has expired"),
    ("InvalidCertificate(NotValidYet", "its certificate is not valid yet: check the clocks of both machines"),
    ("InvalidCertificate", "its certificate is not valid"),
    (
        "PrivateKeyParseError",
        "the files of TEMPORAL_TLS_CLIENT_CERT_PATH and _KEY_PATH are not a pair in PEM",
    ),
    ("AlertReceived", "it refuses our TLS: see TEMPORAL_TLS_CLIENT_CERT_PATH, TEMPORAL_TLS_CLIENT_KEY_PATH"),
)
#: A server that is starting may behave like this for a moment, so `connect` retries.
_TRANSIENT = (
    (
        "call error after connection: Status { code: Unknown",
        "it accepts the connection and then breaks it off: if it speaks TLS, set TEMPORAL_TLS=true; "
        "if it is no Temporal server, correct TEMPORAL_ADDRESS",
    ),
)
#: Why the server does not answer.
_UNREACHABLE = (
    ("dns error", "the host name is unknown"),
    ("ConnectionRefused", "the connection was refused"),
    ("Unreachable", "there is no route to it"),
    ("ConnectionReset", "the connection was cut"),
    ("imed out", "nothing accepts the connection in time"),
    ("imeout", "nothing accepts the connection in time"),
)


class NotConnected(Exception):
    """Temporal cannot be used; the text is a sentence that names the address and what to do."""


async def connect(
    converter: DataConverter, *, timeout: timedelta = START_TIMEOUT, runtime: Runtime | None = None
) -> Client:
    """Return a client for the Temporal server and namespace that the environment variables name.

    `converter` comes from `worker.data_converter`. Retries for as long as `timeout` while nothing answers.

    Raises:
        NotConnected: Temporal cannot be used; the message says what to do.
    """
    config = _load()
    server = config["target_host"]
    deadline = time.monotonic() + timeout.total_seconds()
    while True:
        try:
            return await Client.connect(
                **config,
                data_converter=converter,
                interceptors=[TraceInterceptor()],
                connect_timeout=CONNECT_TIMEOUT,
                runtime=runtime,
            )
        # The SDK has no specific error for this; it wraps those of its transport.
        except (RuntimeError, RPCError) as error:
            if time.monotonic() > deadline or _is_refusal(error):
                raise NotConnected(_describe_failure(server, error)) from error
        await asyncio.sleep(PAUSE.total_seconds())


async def check_namespace(client: Client, *, timeout: timedelta = START_TIMEOUT) -> None:
    """Return if the namespace exists and has our search attributes; else raise NotConnected.

    The error says what is missing. If the server does not permit the look-up, this returns too, because
    Temporal Cloud shows search attributes to administrators only.
    """
    deadline = time.monotonic() + timeout.total_seconds()
    while True:
        try:
            problem = await _missing(client)
        except RPCError as error:
            if error.status in (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED):
                return
            problem = f'namespace "{client.namespace}": {error.message}'
            if error.status == RPCStatusCode.NOT_FOUND:
                problem = (
                    f'there is no namespace "{client.namespace}": correct TEMPORAL_NAMESPACE, or make it '
                    f"with: temporal operator namespace create --namespace {client.namespace}"
                )
        if not problem:
            return
        if time.monotonic() > deadline:
            raise NotConnected(f"Temporal at {client.service_client.config.target_host}: {problem}")
        await asyncio.sleep(PAUSE.total_seconds())


async def search_attributes_of(client: Client) -> Mapping[str, int]:
    """Return the namespace's custom search attributes: names, and types by number.

    Raises:
        RPCError: the call failed, with any status.
    """
    answer = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    return dict(answer.custom_attributes)


async def _missing(client: Client) -> str:
    there = await search_attributes_of(client)
    lacking = [key for key in search_attributes.ALL if there.get(key.name) != int(key.indexed_value_type)]
    if not lacking:
        return ""
    types = {key.name: key.indexed_value_type.name.title().replace("_", "") for key in lacking}
    flags = " ".join(f"--name {name} --type {type_name}" for name, type_name in types.items())
    return (
        f'namespace "{client.namespace}" lacks search attributes: register them with `moorage setup`, or: '
        f"temporal operator search-attribute create --namespace {client.namespace} {flags}"
    )


def address() -> str:
    """Return Temporal's address from its settings; "" if they cannot be used."""
    try:
        return _load()["target_host"]
    except NotConnected:
        return ""


def namespace_name() -> str:
    """Return the namespace from Temporal's settings; "" if they cannot be used."""
    try:
        return _load().get("namespace", DEFAULT_NAMESPACE)
    except NotConnected:
        return ""


def _load() -> ClientConnectConfig:
    try:
        config = ClientConfig.load_client_connect_config()
    except (RuntimeError, ValueError, OSError) as error:
        raise NotConnected(
            f"the TEMPORAL_* settings, or the file of TEMPORAL_CONFIG_FILE, cannot be used: {error}"
        ) from error
    config.setdefault("target_host", DEFAULT_ADDRESS)
    if "://" in config["target_host"]:
        raise NotConnected(f'TEMPORAL_ADDRESS is "{config["target_host"]}": write host:port, without http://')
    return config


def _is_refusal(error: Exception) -> bool:
    text = str(error)
    return any(word in text.lower() for word in _REFUSALS) or any(word in text for word, _ in _TLS)


def _describe_failure(address: str, error: Exception) -> str:
    text = str(error)
    for word, meaning in (*_TLS, *_TRANSIENT):
        if word in text:
            return f"Temporal at {address} cannot be used: {meaning}"
    if _is_refusal(error):
        return (
            f"Temporal at {address} refuses our credentials: check that TEMPORAL_API_KEY or the "
            f"TEMPORAL_TLS_* files belong to TEMPORAL_NAMESPACE ({error})"
        )
    reason = next((f" ({meaning})" for word, meaning in _UNREACHABLE if word in text), "")
    return (
        f"no Temporal server answers at {address}{reason}: start one (`moorage up` has its own), "
        "or name yours with TEMPORAL_ADDRESS"
    )
