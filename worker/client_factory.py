"""The factory of the clients of all outside systems that the settings name."""

import ssl
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from activities.capacity.audit import CapacitySettings
from activities.registry import Clients, InstallationSettings
from clients.helm.chart_store import THREADS, ChartStore
from clients.host.protocol import Host
from clients.identity import entra, keycloak, okta
from clients.identity.client_credentials import ClientCredentials, ClientProof, secret_proof
from clients.identity.entra import Entra
from clients.identity.keycloak import Keycloak
from clients.identity.okta import Okta
from clients.identity.protocol import IdentityProvider
from clients.identity.scim import Scim
from clients.rafay import Rafay
from clients.simulated_host.host import SimulatedHost
from clients.transport.tls_trust import TrustError, context_for
from worker.notification_clients import open_audit_log_sinks, open_notification_channels
from worker.settings.groups.hosts import HostCluster, KubernetesHostCluster
from worker.settings.groups.identity import IdentityKind
from worker.settings.groups.identity import IdentityProvider as IdentityProviderSettings
from worker.settings.models import Settings
from worker.settings.sources import SettingsError, reader_of, variable


@asynccontextmanager
async def open_clients(settings: Settings) -> AsyncIterator[Clients]:
    """Yield clients of what the settings name, and close them at the end. No system is called yet.

    Raises SettingsError for files and systems that cannot be used.
    """
    async with AsyncExitStack() as closing:
        control_plane = settings.control_plane
        rafay = Rafay(
            control_plane.url,
            control_plane.api_key.get_secret_value(),
            timeout=control_plane.timeout,
            verify=_tls_context(control_plane.url, control_plane.ca_file),
            reread=reader_of(control_plane.api_key),
        )
        closing.push_async_callback(rafay.close)
        directory = _identity_provider(settings.identity) if settings.identity else None
        if directory is not None:
            closing.push_async_callback(directory.close)
        # Hosts with their own worker are not opened, also where their credentials are in the settings.
        hosts = open_hosts(
            {name: cluster for name, cluster in settings.hosts.items() if not cluster.own_worker}, closing
        )
        try:
            channels, sinks = (
                open_notification_channels(settings.notices, settings.installation, closing),
                open_audit_log_sinks(settings.audit_log, closing),
            )
        except TrustError as error:
            raise SettingsError([str(error)]) from None
        yield Clients(
            rafay,
            directory,
            hosts,
            channels,
            sinks,
            CapacitySettings(
                {name: cluster.capacity.limits for name, cluster in settings.hosts.items()},
                settings.capacity.audit,
                {name: share.limits for name, share in settings.quotas.teams.items()},
                settings.quotas.person.limits,
                settings.own_queues.hosts,
            ),
            InstallationSettings(settings.installation, settings.prefix, settings.lifecycle_timeouts),
            settings.own_queues,
        )


def open_hosts(clusters: Mapping[str, HostCluster], closing: AsyncExitStack) -> dict[str, Host]:
    """Return clients of the hosts, which `closing` closes. No host is called yet.

    Raises SettingsError for files that cannot be used.
    """
    hosts: dict[str, Host] = {}
    # All hosts share the costly parts of Helm. Neither takes any resources before its first use.
    charts, threads = ChartStore(), ThreadPoolExecutor(THREADS, thread_name_prefix="helm")
    # Calls that run are finished. Chart downloads are aborted before that, because a repository may never
    # answer.
    closing.callback(threads.shutdown)
    closing.push_async_callback(charts.close)
    for name, cluster in clusters.items():
        hosts[name] = _host(name, cluster, charts, threads)
        closing.push_async_callback(hosts[name].close)
    return hosts


def _identity_provider(settings: IdentityProviderSettings) -> IdentityProvider:
    url, timeout, verify = settings.url, settings.timeout, _tls_context(settings.url, settings.ca_file)
    credentials = _client_credentials(settings)
    token = settings.token.get_secret_value() if settings.token else ""
    reread = reader_of(settings.token) if settings.token else None
    if settings.kind is IdentityKind.KEYCLOAK and credentials:
        return Keycloak(url, credentials, timeout=timeout, verify=verify)
    if settings.kind is IdentityKind.ENTRA and credentials:
        return Entra(url, credentials, timeout=timeout, verify=verify)
    if settings.kind is IdentityKind.OKTA:
        return Okta(url, token, credentials=credentials, timeout=timeout, verify=verify, reread=reread)
    return Scim(url, token, credentials=credentials, timeout=timeout, verify=verify, reread=reread)


def _client_credentials(settings: IdentityProviderSettings) -> ClientCredentials | None:
    if settings.client_id is None:
        return None
    token_url = settings.token_url or ""
    scope = settings.scope or ""
    if settings.kind is IdentityKind.KEYCLOAK:
        token_url = token_url or keycloak.token_url(settings.url)
    elif settings.kind is IdentityKind.OKTA:
        token_url, scope = token_url or okta.token_url(settings.url), scope or okta.SCOPE
    elif settings.kind is IdentityKind.ENTRA:
        scope = scope or entra.scope(settings.url)
    return ClientCredentials(
        token_url,
        settings.client_id,
        _client_proof(settings, settings.client_id, token_url),
        timeout=settings.timeout,
        scope=scope,
        # The two may differ in their scheme, and a context for http trusts no authority.
        verify=_tls_context(token_url, settings.ca_file),
    )


def _client_proof(settings: IdentityProviderSettings, client_id: str, token_url: str) -> ClientProof:
    if settings.client_secret is not None:
        return secret_proof(reader_of(settings.client_secret) or settings.client_secret.get_secret_value)
    if settings.private_key is None:
        raise SettingsError([f"{variable(('identity', 'client_secret'))}: is missing"])
    # Import here because the libraries of signatures take long to import, and most installations have none.
    from clients.identity.client_assertion import ClientAssertion

    read_key = reader_of(settings.private_key, is_one_line=False) or settings.private_key.get_secret_value
    return ClientAssertion(
        token_url,
        client_id,
        read_key,
        key_id=settings.key_id,
        needs_certificate=settings.kind is IdentityKind.ENTRA,
    )


def _host(
    name: str,
    cluster: HostCluster,
    charts: ChartStore,
    threads: ThreadPoolExecutor,
) -> Host:
    if isinstance(cluster, KubernetesHostCluster):
        return _kubernetes(name, cluster, charts, threads)
    if cluster.url is None or cluster.token is None:
        raise SettingsError([f"{variable(('hosts', name, 'url'))}: is missing, or the token is"])
    return SimulatedHost(
        name,
        cluster.url,
        cluster.token.get_secret_value(),
        timeout=cluster.timeout,
        verify=_tls_context(cluster.url, cluster.ca_file),
        reread=reader_of(cluster.token),
    )


def _kubernetes(
    name: str, cluster: KubernetesHostCluster, charts: ChartStore, threads: ThreadPoolExecutor
) -> Host:
    # Import here because the import of the official client takes 50 MB; a process without such a host avoids
    # it.
    from clients.helm.client import HelmSdk
    from clients.kubernetes.auth.credentials import CredentialSource
    from clients.kubernetes.auth.kubeconfig import UnusableCredentials
    from clients.kubernetes.host import KubernetesHost

    try:
        access = CredentialSource(cluster.kubeconfig, cluster.context)
    except UnusableCredentials as error:
        raise SettingsError([f"{variable(('hosts', name, 'kubeconfig'))}: {error}"]) from None
    helm = HelmSdk(f"host cluster {name}", access, charts, threads)
    return KubernetesHost(name, access, helm, cluster.options, timeout=cluster.timeout)


def _tls_context(url: str, ca_file: Path | None) -> ssl.SSLContext:
    """Return the TLS context that checks a server's certificate: the file's authority, or the usual ones."""
    try:
        return context_for(url, ca_file, setting="ca_file")
    except TrustError as error:
        raise SettingsError([str(error)]) from None
