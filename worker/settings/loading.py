"""Load the settings of a process, with every problem at once; see `worker.settings.models`."""

import os
from collections.abc import Callable, Mapping
from typing import TypeVar

from pydantic import (
    BaseModel,
    ValidationError,
)

from clients.identity.okta import READ_SCOPE
from worker.settings.groups.control_plane import NO_CREDENTIAL
from worker.settings.groups.hosts import SimulatedHostCluster
from worker.settings.groups.identity import IdentityKind
from worker.settings.models import CatalogueSettings, CodecServerSettings, HostWorkerSettings, Settings
from worker.settings.sources import SettingsError, Values, explain, read_sources, variable

_Model = TypeVar("_Model", bound=BaseModel)


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Load the settings: `MOORAGE_*` variables override the file that `MOORAGE_CONFIG` names.

    Raises SettingsError with all problems at once; it never quotes a secret.
    """
    return _load(Settings, environ)


def load_api_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Load the settings for the API, with its own credentials in place of the worker's.

    The worker's credentials may be missing. Raises SettingsError.
    """
    return _load(Settings, environ, _with_credentials_of_the_api)


def load_host_worker_settings(host: str, environ: Mapping[str, str] | None = None) -> HostWorkerSettings:
    """Load the settings for the worker beside `host`; settings that it does not need are not read.

    Raises SettingsError.
    """

    def keep_host(values: Values) -> None:
        hosts = values.get("hosts")
        if isinstance(hosts, dict):
            values["hosts"] = {name: group for name, group in hosts.items() if name == host}

    settings = _load(HostWorkerSettings, environ, keep_host)
    cluster = settings.hosts.get(host)
    if cluster is None:
        problems = [_missing(host, "kind", "is missing: --host needs the settings of the host that it names")]
    elif not cluster.own_worker:
        problems = [_missing(host, "own_worker", "must be true here, and in the settings of worker and API")]
    elif isinstance(cluster, SimulatedHostCluster):
        given = {"url": cluster.url, "token": cluster.token}
        problems = [_missing(host, name, "is missing") for name, value in given.items() if value is None]
    else:
        problems = []
    if problems:
        raise SettingsError(problems)
    return settings


def _missing(host: str, name: str, problem: str) -> str:
    path = ("hosts", host, name)
    return f"{variable(path)} ({'.'.join(path)}): {problem}"


def load_codec_server_settings(environ: Mapping[str, str] | None = None) -> CodecServerSettings:
    """Load the settings for the codec server; settings that it does not need are not read.

    Raises SettingsError.
    """
    return _load(CodecServerSettings, environ)


def load_catalogue_settings(environ: Mapping[str, str] | None = None) -> CatalogueSettings:
    """Load the settings for `moorage templates check`, which works without any.

    Raises SettingsError.
    """
    return _load(CatalogueSettings, environ)


def has_control_plane_credential(settings: Settings) -> bool:
    """Return whether this process has an API key of the control plane."""
    return settings.control_plane.api_key.get_secret_value() != NO_CREDENTIAL


def _with_credentials_of_the_api(values: Values) -> None:
    api = values.get("api", {})
    control_plane, identity = values.get("control_plane"), values.get("identity")
    if isinstance(api, dict) and isinstance(control_plane, dict):
        if "control_plane_api_key" in api:
            control_plane["api_key"] = api["control_plane_api_key"]
        elif identity:
            # The API looks people up in the identity provider, so it sends no requests to the control plane.
            control_plane["api_key"] = NO_CREDENTIAL
    if isinstance(api, dict) and isinstance(identity, dict):
        names = ("token", "client_id", "client_secret", "private_key", "key_id")
        if own := {name: api[f"identity_{name}"] for name in names if f"identity_{name}" in api}:
            for name in names:
                identity.pop(name, None)
            identity.update(own)
            if identity.get("kind") == IdentityKind.OKTA and "client_id" in own:
                # Okta refuses a scope that was not granted, and the API's client needs only to read.
                identity.setdefault("scope", READ_SCOPE)


def _load(
    model: type[_Model],
    environ: Mapping[str, str] | None,
    adapt: Callable[[Values], None] = lambda _: None,
) -> _Model:
    values, problems = read_sources(model, os.environ if environ is None else environ)
    adapt(values)
    try:
        settings = model.model_validate(values)
    except ValidationError as error:
        raise SettingsError([*problems, *explain(model, error)]) from None
    if problems:
        raise SettingsError(problems)
    return settings
