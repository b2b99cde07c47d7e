"""Applies the control plane's bootstrap manifest inside a vCluster, so that its agent reports."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from activities import activity_context
from activities.errors import NotAccepted
from activities.parts.manifest_validation import BootstrapManifest
from clients import errors as client
from clients.host.kubeconfig import Kubeconfig
from clients.host.protocol import Host
from contracts.environment.models import Environment, System

_T = TypeVar("_T")


async def apply_bootstrap(host: Host, environment: Environment, kubeconfig: Kubeconfig, text: str) -> None:
    """Apply the manifest inside the vCluster of the kubeconfig."""
    bootstrap = await BootstrapManifest.read(text)
    async with host.virtual_cluster(kubeconfig) as virtual:

        async def apply_manifests() -> None:
            try:
                await virtual.apply(bootstrap.manifests(), environment.mark.labels)
            except client.Rejected as error:
                raise NotAccepted(
                    System.HOST_CLUSTER,
                    f"The vCluster could not {error.operation}: {bootstrap.hide(error.detail)}",
                    "Show it to the platform team: the bootstrap manifest does not fit the vCluster",
                ) from None

        await call_until_done(apply_manifests, "the vCluster to take the bootstrap manifest")


async def call_until_done(call: Callable[[], Awaitable[_T]], waiting_for: str) -> _T:
    """Retry the call while a retry may help, until the activity's time is over.

    It retries here, and not by another attempt of the step: a vCluster that has just started may have
    accepted many objects, which need not be sent again because one call failed.
    """
    results: list[_T] = []
    errors: list[client.ClientError] = []

    async def attempt() -> str:
        try:
            results.append(await call())
        except client.ClientError as error:
            if not error.retryable:
                raise
            errors.append(error)
            why = "" if isinstance(error, client.NotYet) else f", which could not {error.operation} just now"
            return waiting_for + why
        return ""

    if await activity_context.wait_until(attempt):
        raise errors[-1]
    return results[0]
