"""Credentials of people: client certificates of at most an hour, which an environment's vCluster issues.

The API holds no private key: the person's machine makes it and sends a request for its public key.
"""

import asyncio
from datetime import UTC, datetime

import structlog

from clients.errors import ClientError, Denied, ServerFailed, Unreachable
from contracts.environment.models import Environment
from starter.auth.policy import Principal, Verb
from starter.auth.security_log import note_until
from starter.environments.access import EnvironmentAccess
from starter.environments.credentials.certificate_request import (
    CertificateRequest,
    check_certificate,
    read_request,
)
from starter.environments.credentials.uses import UseRecorder
from starter.environments.credentials.virtual_clusters import (
    NotUsable,
    VirtualClusters,
    usable_environment,
)
from starter.environments.schemas import CredentialView

_log = structlog.get_logger(__name__)

#: Pauses before the attempts to take back rights that were given to a person who was just removed. The second
#: has a new connection. The last one repeats, shorter than the 20 s within which a removal takes effect.
_PAUSES_SECONDS = (0.0, 0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
#: How long the refusal of the person waits for that: the attempts go on without the person.
REFUSAL_WAIT_SECONDS = 2.0


class CredentialIssuer:
    """Issues credentials for the people who may use an environment."""

    def __init__(self, access: EnvironmentAccess, clusters: VirtualClusters, uses: UseRecorder) -> None:
        self._access = access
        self._clusters = clusters
        self._uses = uses
        self._taking_back: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def close(self) -> None:
        """Give up what goes on in the background."""
        tasks = list(self._taking_back.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def issue(self, name: str, principal: Principal, request: str, life: str | None) -> CredentialView:
        """Issue a certificate for the principal's PKCS#10 request, and ensure the principal's rights.

        Raises:
            EnvironmentNotFound, NotAllowed: The principal may not use it.
            Refused: It is another life than `life`.
            Asleep: The environment sleeps.
            NotUsable: The environment is not usable yet, or not any more.
            InvalidRequest: The request is not one of the principal.
        """
        # Who was removed a moment ago gets a certificate that is good for nothing: their rights in the
        # vCluster are taken away, and are only given again after a check of the present state.
        snapshot = await self._access.find(name, principal, Verb.CREDENTIAL, life, may_be_recent=True)
        environment = usable_environment(snapshot)
        checked = read_request(request, principal.email)
        if task := self._taking_back.get((environment.mark.life, principal.email)):
            # The rights stay if the person is allowed in again, as it is now.
            await self._access.find(name, principal, Verb.CREDENTIAL, environment.mark.life)
            task.cancel()
            await asyncio.wait({task})
        # Before it is issued, because the environment may fall asleep at this moment.
        self._uses.note(snapshot)
        was_open = self._clusters.has_connection(environment)
        try:
            return await self._issue(environment, principal, checked)
        except (Denied, Unreachable, ServerFailed):
            # It may have fallen asleep a moment ago.
            usable_environment(
                await self._access.find(name, principal, Verb.CREDENTIAL, environment.mark.life)
            )
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
                    await self._ensure_still_allowed(environment, principal)
                raise
            if is_new or is_repeat:
                await self._ensure_still_allowed(environment, principal)
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

    async def _ensure_still_allowed(self, environment: Environment, principal: Principal) -> None:
        """Check the access again after rights were or may have been given; take them back if it has ended.

        A person can be removed between the first check and the new rights. A removal changes the environment
        first and the rights last, so either this check sees it, or it finds the new rights.
        """
        try:
            await self._access.find(environment.name, principal, Verb.CREDENTIAL, environment.mark.life)
        except BaseException:
            key = (environment.mark.life, principal.email)
            task = self._taking_back.get(key)
            if task is None:
                task = asyncio.create_task(self._take_back(environment, principal))
                self._taking_back[key] = task
                task.add_done_callback(lambda _: self._taking_back.pop(key, None))
            await asyncio.wait({task}, timeout=REFUSAL_WAIT_SECONDS)
            raise

    async def _take_back(self, environment: Environment, principal: Principal) -> None:
        """Take the person's rights until it succeeds, or no certificate of the person is valid any more."""
        clock, person = asyncio.get_running_loop().time, principal.email
        log = _log.bind(environment=environment.name, person=person)
        ends = clock() + environment.template.credentials.maximum.total_seconds()
        pauses, pause = iter(_PAUSES_SECONDS), 0.0
        while clock() < ends:
            pause = next(pauses, pause)
            await asyncio.sleep(pause)
            if pause and await self._is_allowed_again(environment, principal):
                return
            try:
                async with self._clusters.connect(environment) as virtual:
                    await virtual.remove_person(person)
                    return
            except NotUsable:
                return  # The vCluster is gone, and the rights with it.
            except ClientError as error:
                log.warning("cannot take back rights yet", error=str(error))
        log.error("rights are left that could not be taken back")

    async def _is_allowed_again(self, environment: Environment, principal: Principal) -> bool:
        try:
            await self._access.find(environment.name, principal, Verb.CREDENTIAL, environment.mark.life)
        except Exception:  # Whatever it is, the access is not certain.
            return False
        return True
