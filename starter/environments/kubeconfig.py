"""The kubeconfig of an environment, read from its host cluster; it never passes through Temporal."""

from collections.abc import Mapping

import structlog

from clients.host.kubeconfig import Kubeconfig
from clients.host.protocol import Host
from contracts.environment import Environment, Phase, StepState
from starter.auth.policy import Principal, Verb
from starter.environments.access import EnvironmentAccess
from starter.environments.reader import EnvironmentSnapshot
from starter.environments.schemas import USABLE_PHASES

_log = structlog.get_logger(__name__)


class NotUsable(Exception):
    """The environment cannot be used now; the text says why."""


class KubeconfigReader:
    """Reads kubeconfigs for the people who may use an environment."""

    def __init__(self, access: EnvironmentAccess, hosts: Mapping[str, Host]) -> None:
        self._access = access
        self._hosts = hosts

    async def read(self, name: str, principal: Principal) -> Kubeconfig:
        """Return the kubeconfig.

        Raises:
            EnvironmentNotFound, NotAllowed: The principal may not have it.
            NotUsable: The environment is not usable yet, or not any more.
        """
        snapshot = await self._access.find(name, principal, Verb.KUBECONFIG)
        if snapshot.ended or snapshot.view.phase not in USABLE_PHASES:
            raise NotUsable(_why_not(snapshot))
        if snapshot.status is None:
            raise NotUsable(snapshot.view.remark)
        environment = snapshot.status.environment
        host = self._hosts.get(environment.host)
        if host is None:
            raise NotUsable(f'it is on the host "{environment.host}", which this API does not have')
        # Check the namespace first, because that name may now belong to another life or another owner.
        namespace = await host.get_namespace(environment.derived_name)
        if namespace is None or not environment.mark.matches_labels(namespace.labels):
            raise NotUsable(_missing(environment))
        kubeconfig = await host.kubeconfig(environment.derived_name, environment.derived_name)
        if kubeconfig is None:
            raise NotUsable(_missing(environment))
        _log.info(
            "kubeconfig handed out",
            environment=name,
            life=snapshot.life,
            actor=principal.email,
            fingerprint=kubeconfig.fingerprint,
        )
        return kubeconfig


def _missing(environment: Environment) -> str:
    return (
        f"its kubeconfig is not on the host {environment.host} any more: "
        f"delete {environment.name} and ask for it again, or tell the platform team"
    )


def _why_not(snapshot: EnvironmentSnapshot) -> str:
    name, view = snapshot.name, snapshot.view
    if view.phase is Phase.ORPHANED:
        return view.remark
    if snapshot.ended:
        return f"{name} is gone: ask for a new one"
    if view.phase is Phase.PROVISIONING and view.outcome is None:
        running = next((step for step in view.steps if step.state is StepState.RUNNING), None)
        at = f" It is at the step {running.step}." if running else ""
        return f"{name} is still being made.{at} Follow it with: moorage watch {name}"
    return f"{name} is being torn down"
