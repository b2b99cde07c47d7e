"""Credentials of people: client certificates of at most an hour, which an environment's vCluster issues.

The API holds no private key: the person's machine makes it and sends a request for its public key.
"""

from datetime import UTC, datetime

from clients.errors import ClientError, Denied, Unreachable
from clients.host.protocol import VirtualCluster
from contracts.environment import Environment
from starter.auth.policy import Principal, Verb
from starter.auth.security_log import note_until
from starter.environments.access import EnvironmentAccess
from starter.environments.credentials.certificate_request import (
    CertificateRequest,
    check_certificate,
    read_request,
)
from starter.environments.credentials.virtual_clusters import VirtualClusters, usable_environment
from starter.environments.schemas import CredentialView


class CredentialIssuer:
    """Issues credentials for the people who may use an environment."""

    def __init__(self, access: EnvironmentAccess, clusters: VirtualClusters) -> None:
        self._access = access
        self._clusters = clusters

    async def issue(self, name: str, principal: Principal, request: str, life: str | None) -> CredentialView:
        """Issue a certificate for the principal's PKCS#10 request, and ensure the principal's rights.

        Raises:
            EnvironmentNotFound, NotAllowed: The principal may not use it.
            Refused: It is another life than `life`.
            NotUsable: The environment is not usable yet, or not any more.
            InvalidRequest: The request is not one of the principal.
        """
        snapshot = await self._access.find(name, principal, Verb.CREDENTIAL, life)
        environment = usable_environment(snapshot)
        checked = read_request(request, principal.email)
        was_open = self._clusters.has_connection(environment)
        try:
            return await self._issue(environment, principal, checked)
        except (Denied, Unreachable):
            if not was_open:
                raise
        # The connection was of an earlier call: since then, the vCluster may have moved.
        return await self._issue(environment, principal, checked, is_repeat=True)

    async def _issue(
        self,
        environment: Environment,
        principal: Principal,
        request: CertificateRequest,
        *,
        is_repeat: bool = False,
    ) -> CredentialView:
        """Issue the certificate; a repeat finds the rights that a failed attempt has given unchecked."""
        validity = environment.template.credentials.maximum
        latest_end = datetime.now(UTC) + validity
        labels = environment.mark.labels
        async with self._clusters.connect(environment) as virtual:
            try:
                is_new = await virtual.ensure_person(principal.email, labels)
            except ClientError as error:
                if error.ambiguous:
                    await self._ensure_still_allowed(environment, principal, virtual)
                raise
            if is_new or is_repeat:
                await self._ensure_still_allowed(environment, principal, virtual)
            certificate = await virtual.issue_certificate(request.pem, principal.email, validity, labels)
        end = check_certificate(certificate, request, latest_end)
        note_until(end)
        return CredentialView(
            certificate=certificate,
            person=principal.email,
            life=environment.mark.life,
            expires_at=end,
            valid_seconds=max(0, int((end - datetime.now(UTC)).total_seconds())),
        )

    async def _ensure_still_allowed(
        self, environment: Environment, principal: Principal, virtual: VirtualCluster
    ) -> None:
        """Check the access again after rights were or may have been given; take them back if it has ended.

        A person can be removed between the first check and the new rights. A removal changes the environment
        first and the rights last, so either this check sees it, or it finds the new rights.
        """
        try:
            await self._access.find(environment.name, principal, Verb.CREDENTIAL, environment.mark.life)
        except BaseException:
            await virtual.remove_person(principal.email)
            raise
