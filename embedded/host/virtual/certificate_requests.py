"""Certificate signing requests: created by a user, approved by one with the right, signed a moment later.

Sources: the reference of `certificates.k8s.io/v1` and "Certificates and Certificate Signing Requests" of
Kubernetes; the messages are those of an API server.
"""

import base64
import binascii
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from embedded.host.virtual.authorities import LONGEST_VALIDITY, Authorities
from embedded.host.virtual.errors import bad_request, forbidden, invalid
from embedded.host.virtual.objects import VirtualObjects, Where, utc_now
from embedded.host.virtual.rbac import MASTERS, Access, Rights, User
from embedded.host.virtual.resources import CERTIFICATE_REQUESTS as REQUESTS

#: The signer whose certificates an API server accepts from people; it signs nothing without an approval.
CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
#: The shortest validity that may be requested.
SHORTEST_SECONDS = 600
#: A controller signs, not the API server: the certificate is there this long after the approval.
SIGNING_LAG_SECONDS = 0.05
#: The usages that the signer for clients permits; the first is required.
_CLIENT_USAGES = ("client auth", "digital signature", "key encipherment")
_USAGES = frozenset(
    {
        *_CLIENT_USAGES,
        "any",
        "cert sign",
        "code signing",
        "content commitment",
        "crl sign",
        "data encipherment",
        "decipher only",
        "email protection",
        "encipher only",
        "ipsec end system",
        "ipsec tunnel",
        "ipsec user",
        "key agreement",
        "microsoft sgc",
        "netscape sgc",
        "ocsp signing",
        "s/mime",
        "server auth",
        "signing",
        "timestamping",
    }
)
_DECISIONS = ("Approved", "Denied")


class CertificateRequests:
    """The rules on certificate signing requests, on top of the objects."""

    def __init__(self, objects: VirtualObjects, authorities: Authorities, rights: Rights) -> None:
        self._objects = objects
        self._authorities = authorities
        self._rights = rights
        #: When a request was approved, by its UID. One from before a restart is due.
        self._approved: dict[str, float] = {}

    def prepare(self, user: User, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is kept of a new request: the API server fills in who asks, and drops a status.

        Raises:
            ApiError: a field breaks a rule, or an administrator's certificate is requested.
        """
        spec = given.get("spec") or {}
        name = given["metadata"].get("name", "")
        request = _parse(name, spec.get("request"))
        signer, usages, seconds = spec.get("signerName"), spec.get("usages"), spec.get("expirationSeconds")
        if not signer:
            raise invalid(REQUESTS.qualified_kind, name, "spec.signerName: Required value")
        if signer == "kubernetes.io/legacy-unknown":
            why = "spec.signerName: Invalid value: the legacy signerName is not allowed via this API version"
            raise invalid(REQUESTS.qualified_kind, name, why)
        _check_usages(name, usages)
        if seconds is not None and (not isinstance(seconds, int) or seconds < SHORTEST_SECONDS):
            why = "may not specify a duration less than 600 seconds (10 minutes)"
            raise invalid(
                REQUESTS.qualified_kind, name, f"spec.expirationSeconds: Invalid value: {seconds}: {why}"
            )
        organizations = request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        if signer == CLIENT_SIGNER and MASTERS in [each.value for each in organizations]:
            why = f"use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed"
            raise forbidden(REQUESTS.qualified, name, why)
        asked_by = {"username": user.name, "groups": list(user.groups), "extra": dict(user.extra)}
        kept = {"request": spec["request"], "signerName": signer, "usages": usages}
        if seconds is not None:
            kept["expirationSeconds"] = seconds
        return {"metadata": given["metadata"], "spec": {**kept, **asked_by}, "status": {}}

    def decide(self, where: Where, user: User, given: Mapping[str, Any]) -> dict[str, Any]:
        """Take the conditions Approved or Denied from `given`; nothing else of it changes the request.

        Raises:
            ApiError: the user may not decide for this signer, or the conditions break a rule.
        """
        name = given["metadata"]["name"]
        before = self._objects.require(where, REQUESTS, "", name)
        signer = before["spec"]["signerName"]
        if not self._may_approve(where, user, signer):
            why = f'user not permitted to approve requests with signerName "{signer}"'
            raise forbidden(REQUESTS.qualified, name, why)
        conditions = list((given.get("status") or {}).get("conditions") or [])
        _check_conditions(name, conditions, (before.get("status") or {}).get("conditions") or [])
        now = utc_now()
        defaults = {"lastUpdateTime": now, "lastTransitionTime": now}
        given_times = [
            {key: value for key, value in each.items() if value is not None} for each in conditions
        ]
        status = {**before.get("status", {}), "conditions": [{**defaults, **each} for each in given_times]}
        version = {"resourceVersion": given["metadata"].get("resourceVersion")}
        after = {**before, "metadata": {**before["metadata"], **version}, "status": status}
        decided = self._objects.replace(where, REQUESTS, "", after)
        self._approved[decided["metadata"]["uid"]] = time.monotonic()
        return decided

    def update(self, where: Where, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a plain update keeps: only metadata may change."""
        before = self._objects.require(where, REQUESTS, "", given["metadata"]["name"])
        return {**before, "metadata": given["metadata"]}

    def sign_due(self, where: Where, volume: str, document: dict[str, Any]) -> dict[str, Any]:
        """Return the request, signed if it is approved and the signer has come to it."""
        status = document.get("status") or {}
        conditions = status.get("conditions") or []
        types = {each["type"] for each in conditions}
        approved_at = self._approved.get(document["metadata"]["uid"], 0.0)
        if (
            document["spec"]["signerName"] != CLIENT_SIGNER
            or "Approved" not in types
            or "Failed" in types
            or status.get("certificate")
            or time.monotonic() < approved_at + SIGNING_LAG_SECONDS
        ):
            return document
        spec = document["spec"]
        request = _parse(document["metadata"]["name"], spec["request"])
        if not request.is_signature_valid:
            return document  # a real signer fails at it, and tries again for ever
        usages = set(spec["usages"])
        if _CLIENT_USAGES[0] not in usages or not usages <= set(_CLIENT_USAGES):
            now = utc_now()
            failed = {
                "type": "Failed",
                "status": "True",
                "reason": "SignerValidationFailure",
                "message": "usages did not match " + str(list(_CLIENT_USAGES)),
                "lastUpdateTime": now,
                "lastTransitionTime": now,
            }
            status = {**status, "conditions": [*conditions, failed]}
        else:
            seconds = spec.get("expirationSeconds")
            validity = timedelta(seconds=seconds) if seconds else LONGEST_VALIDITY
            certificate = self._authorities.sign(where, volume, request, validity)
            status = {**status, "certificate": base64.b64encode(certificate.encode()).decode()}
        return self._objects.replace(where, REQUESTS, "", {**document, "status": status})

    def _may_approve(self, where: Where, user: User, signer: str) -> bool:
        names = (signer, f"{signer.partition('/')[0]}/*")
        return any(
            self._rights.allows(where, user, Access("approve", REQUESTS.group, "signers", name=name))
            for name in names
        )


def _parse(name: str, encoded: Any) -> x509.CertificateSigningRequest:
    if not encoded:
        raise invalid(REQUESTS.qualified_kind, name, "spec.request: Required value")
    try:
        pem = base64.b64decode(encoded, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise bad_request("spec.request: illegal base64 data") from None
    try:
        return x509.load_pem_x509_csr(pem)
    except ValueError:
        why = "spec.request: Invalid value: PEM block type must be CERTIFICATE REQUEST"
        raise invalid(REQUESTS.qualified_kind, name, why) from None


def _check_usages(name: str, usages: Any) -> None:
    if not usages:
        raise invalid(REQUESTS.qualified_kind, name, "spec.usages: Required value")
    if unknown := [usage for usage in usages if usage not in _USAGES]:
        raise invalid(REQUESTS.qualified_kind, name, f'spec.usages: Unsupported value: "{unknown[0]}"')
    if len(set(usages)) < len(usages):
        raise invalid(REQUESTS.qualified_kind, name, "spec.usages: Duplicate value")


def _check_conditions(
    name: str, conditions: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]]
) -> None:
    types = [each.get("type") for each in conditions]
    earlier = [each["type"] for each in before]
    if set(_DECISIONS) <= set(types):
        why = "Approved and Denied conditions are mutually exclusive"
        raise invalid(REQUESTS.qualified_kind, name, f"status.conditions: Invalid value: {why}")
    if len(set(types)) < len(types):
        raise invalid(REQUESTS.qualified_kind, name, "status.conditions: Duplicate value")
    for kind in earlier:
        if kind not in types:
            why = f'updates may not remove a condition of type "{kind}"'
            raise invalid(REQUESTS.qualified_kind, name, f"status.conditions: Forbidden: {why}")
    for index, condition in enumerate(conditions):
        at = f"status.conditions[{index}]"
        if not condition.get("type"):
            raise invalid(REQUESTS.qualified_kind, name, f"{at}.type: Required value")
        if condition.get("status") != "True" and condition["type"] in (*_DECISIONS, "Failed"):
            raise invalid(REQUESTS.qualified_kind, name, f'{at}.status: Unsupported value: must be "True"')
        if condition["type"] not in (*_DECISIONS, *earlier):
            why = f'updates may not add a condition of type "{condition["type"]}"'
            raise invalid(REQUESTS.qualified_kind, name, f"{at}: Forbidden: {why}")
