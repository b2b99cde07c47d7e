"""Client certificates for people, issued by the certificates API of a vCluster.

https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/
"""

import asyncio
import base64
import secrets
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

from clients.errors import ClientError, MalformedAnswer, NotYet, Rejected
from clients.transport.http import HttpSystem

#: The signer whose certificates the API server accepts from clients.
SIGNER = "kubernetes.io/kube-apiserver-client"
#: The shortest validity that the certificates API accepts.
MIN_VALIDITY = timedelta(minutes=10)
_REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
#: The signer is a controller that watches the requests, and usually signs within the first pause: a shorter
#: one would cost a call more for most certificates. The pauses grow to the last one, which repeats.
_PAUSES_SECONDS = (0.06, 0.06, 0.1, 0.2)
#: A signer that needs longer does not run, or has more requests than it can sign.
SIGNER_TIMEOUT_SECONDS = 8.0


class Certificates:
    """Requests, approves and fetches certificates."""

    def __init__(self, http: HttpSystem) -> None:
        self._http = http

    async def issue(self, request: bytes, person: str, validity: timedelta, labels: Mapping[str, str]) -> str:
        """Return a certificate (PEM) for the PKCS#10 request (PEM); its object is deleted in any case.

        The caller has checked whom the request names. The certificate is what the vCluster answers, whose
        tenants could have changed that, so the caller checks it as well.

        Raises:
            NotYet: the signer of the vCluster has not signed it in time.
            Rejected: the signer has refused it.
        """
        operation = f"issue a certificate for {person}"
        name = f"moorage-{secrets.token_hex(10)}"
        body = {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": name, "labels": dict(labels)},
            "spec": {
                "request": base64.b64encode(request).decode(),
                "signerName": SIGNER,
                "expirationSeconds": int(max(validity, MIN_VALIDITY).total_seconds()),
                "usages": ["digital signature", "client auth"],
            },
        }
        created = await self._http.call_json("POST", _REQUESTS, operation, body=body)
        try:
            self._check_created(created, body, operation)
            return await self._approve_and_fetch(f"{_REQUESTS}/{name}", created, person, operation)
        finally:
            # A controller deletes signed requests after an hour, so a failure here leaves nothing. Without
            # this call, a program that asks each second would leave thousands for the tenant to look at.
            with suppress(ClientError):
                await self._http.call("DELETE", f"{_REQUESTS}/{name}", operation)

    async def _approve_and_fetch(self, path: str, created: Any, person: str, operation: str) -> str:
        approval = {
            "type": "Approved",
            "status": "True",
            "reason": "AllowedByMoorage",
            "message": f"Moorage has checked that {person} may use this environment.",
        }
        approved = {**created, "status": {"conditions": [approval]}}
        answer = await self._http.call_json("PUT", f"{path}/approval", operation, body=approved)
        pauses, waited = iter(_PAUSES_SECONDS), 0.0
        pause = 0.0
        while (certificate := self._certificate(answer, operation)) is None:
            if waited >= SIGNER_TIMEOUT_SECONDS:
                raise NotYet(self._http.system, operation, "its controller has not signed the certificate")
            pause = next(pauses, pause)
            await asyncio.sleep(pause)
            waited += pause
            answer = await self._http.call_json("GET", path, operation)
        return certificate

    def _check_created(self, created: Any, sent: Mapping[str, Any], operation: str) -> None:
        """Raise MalformedAnswer if the vCluster keeps another request than the one that was sent.

        A tenant's admission webhook may change it, and an approval holds for the stored request: it names the
        object's version. Who asked is not compared, because its name differs between distributions.
        """
        try:
            is_same = created["metadata"]["name"] == sent["metadata"]["name"] and all(
                created["spec"][key] == value for key, value in sent["spec"].items()
            )
            has_version = bool(created["metadata"]["resourceVersion"])
        except (KeyError, TypeError):
            raise MalformedAnswer(
                self._http.system, operation, "the answer is no request", ambiguous=True
            ) from None
        if not (is_same and has_version):
            detail = "the request has been changed inside the vCluster, so it is not approved"
            raise MalformedAnswer(self._http.system, operation, detail, ambiguous=True)

    def _certificate(self, answer: Any, operation: str) -> str | None:
        """Return the certificate in the answer, None if it has none yet; raise Rejected if it gets none."""
        try:
            status = answer.get("status") or {}
            conditions = [one["type"] for one in status.get("conditions") or ()]
            if failed := [one for one in conditions if one in ("Denied", "Failed")]:
                raise Rejected(self._http.system, operation, f"the request is {failed[0].lower()}")
            encoded = status.get("certificate")
            return base64.b64decode(encoded, validate=True).decode("ascii") if encoded else None
        except (KeyError, TypeError, AttributeError, ValueError):
            raise MalformedAnswer(self._http.system, operation, "the answer is no request") from None
