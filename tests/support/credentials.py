"""Credentials of people, as their own programs get them: a key, a request, and a kubeconfig with both."""

import base64
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from clients.host.kubeconfig import Kubeconfig
from clients.simulated_host.host import SimulatedHost
from embedded.stack.stack import HOST, Part, Stack
from tests.lifecycle.databases import Systems
from tests.support.stack import TIMEOUT
from tests.support.virtual_access import new_key, pem_of

#: Makes a call to the API: method, path, and what httpx takes.
Call = Callable[..., Awaitable[httpx.Response]]


def request_of(person: str, key: ec.EllipticCurvePrivateKey | None = None) -> str:
    """A certificate request of the person, in PEM."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, person, _validate=False)])
    builder = x509.CertificateSigningRequestBuilder(subject)
    return builder.sign(key or new_key(), hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def person_of(kubeconfig: str) -> str:
    """Whom the API's kubeconfig is for."""
    arguments = yaml.safe_load(kubeconfig)["users"][0]["user"]["exec"]["args"]
    return str(arguments[arguments.index("--person") + 1])


async def administrator_kubeconfig(stack: Stack, name: str) -> Kubeconfig | None:
    """The chart's own kubeconfig, which people do not get; None if there is none."""
    token = stack.env[f"MOORAGE_HOSTS__{HOST.upper()}__TOKEN"]
    host = SimulatedHost(HOST, stack.url(Part.HOST), token, timeout=TIMEOUT)
    try:
        # In a request from a warm pool, the namespace keeps the name of the standby.
        for place in Systems(stack).places(name):
            return await host.kubeconfig(place, place)
        return None
    finally:
        await host.close()


async def usable_kubeconfig(call: Call, name: str) -> str:
    """The kubeconfig of the environment with a certificate of the caller in it."""
    answer = await call("GET", f"/environments/{name}/kubeconfig")
    assert answer.status_code == 200, answer.text
    key = new_key()
    request = request_of(person_of(answer.text), key)
    issued = await call("POST", f"/environments/{name}/credential", json={"request": request})
    assert issued.status_code == 200, issued.text
    document: dict[str, Any] = yaml.safe_load(answer.text)
    document["users"][0]["user"] = {
        "client-certificate-data": base64.b64encode(issued.json()["certificate"].encode()).decode(),
        "client-key-data": base64.b64encode(pem_of(key)).decode(),
    }
    return yaml.safe_dump(document)
