"""The `moorage` command. Wires the parts: what each verb of the operator consists of.

Everything is imported when a verb needs it: the developer's commands need none of it.
"""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from starter.cli.app import run
from starter.cli.failing import CliError, Code, Output
from starter.cli.operator import OperatorVerbs, ServerOptions, UpOptions

if TYPE_CHECKING:
    from activities.registry import Clients
    from starter.doctor import Check
    from worker.settings import CodecServerSettings, Settings

    _Settings = TypeVar("_Settings", Settings, CodecServerSettings)


def main() -> None:
    """Run the command that the arguments name; never returns."""
    run(OperatorVerbs(up=_up, worker=_worker, api=_api, codec_server=_codec_server, doctor=_doctor))


def _up(options: UpOptions) -> None:
    import asyncio

    from embedded.stack import Options, StackError, up

    stack = Options(
        fresh=options.fresh,
        api_port=options.api_port,
        ui_port=options.ui_port,
        temporal_port=options.temporal_port,
    )

    def say(text: str) -> None:
        print(text, flush=True)

    try:
        asyncio.run(up(options.folder, stack, say))
    except StackError as error:
        raise CliError(Code.FAILED, str(error)) from None


def _worker() -> None:
    import asyncio

    from temporalio.client import Client
    from temporalio.service import RPCError

    from starter.schedules import reconcile
    from worker.connection import NotConnected
    from worker.run import run_worker
    from worker.settings import SettingsError, load_settings

    settings = _settings(load_settings)

    async def schedules(client: Client) -> None:
        try:
            await reconcile(client, settings.sweep)
        except RPCError as error:
            # Without its schedule no environment would ever end: better no worker than that.
            raise NotConnected(f"the schedules cannot be brought in line: {error.message}") from error

    try:
        asyncio.run(run_worker(settings, prepare=schedules))
    except NotConnected as error:
        raise CliError(Code.UNREACHABLE, str(error)) from None
    except (SettingsError, ValueError) as error:
        raise CliError(Code.BAD_INPUT, str(error)) from None


def _api(options: ServerOptions) -> None:
    import asyncio

    from starter.located import FilesUnusable
    from worker.connection import NotConnected
    from worker.settings import SettingsError, load_settings

    settings = _settings(load_settings)
    try:
        asyncio.run(_serve(settings, options))
    except NotConnected as error:
        raise CliError(Code.UNREACHABLE, str(error)) from None
    except FilesUnusable as error:
        lines = list(map(str, error.problems))
        raise CliError(Code.BAD_INPUT, "files that the API needs have problems", lines=lines) from None
    except SettingsError as error:
        raise CliError(Code.BAD_INPUT, str(error)) from None
    except OSError as error:
        raise CliError(Code.FAILED, f"the API cannot listen: {error.strerror}") from None


async def _serve(settings: "Settings", options: ServerOptions) -> None:
    from starter.api.app import create_app
    from starter.api.server import serve
    from worker.clients import open_clients
    from worker.connection import check_namespace, connect
    from worker.converter import data_converter
    from worker.settings import SettingsError
    from worker.telemetry import telemetry_runtime

    if settings.api.tokens_file is None:
        raise SettingsError(["MOORAGE_API__TOKENS_FILE: the API needs it; see docs/access.md"])
    async with open_clients(settings) as clients:
        converter = data_converter(settings.encryption.keyring)
        client = await connect(converter, runtime=telemetry_runtime(None))
        await check_namespace(client)
        app = create_app(
            settings,
            client,
            tokens_file=settings.api.tokens_file,
            people=clients.scim or clients.rafay,
            hosts=clients.hosts,
        )
        await serve(app, options.bind or settings.api.bind, options.port or settings.api.port)


def _codec_server(options: ServerOptions) -> None:
    import asyncio

    from starter.codec_server import create_codec_server, serve_codec
    from starter.located import FilesUnusable
    from worker.settings import load_codec_server_settings

    settings = _settings(load_codec_server_settings)
    ours = settings.codec_server
    if settings.api.tokens_file is None and not ours.trust_same_user:
        raise CliError(
            Code.BAD_INPUT,
            "MOORAGE_API__TOKENS_FILE: the codec server needs it: it tells who the platform team is",
        )
    try:
        app = create_codec_server(
            settings.encryption.keyring,
            tokens_file=settings.api.tokens_file,
            ui=ours.ui,
            trust_same_user=ours.trust_same_user,
        )
        asyncio.run(serve_codec(app, options.bind or ours.bind, options.port or ours.port))
    except FilesUnusable as error:
        lines = list(map(str, error.problems))
        raise CliError(Code.BAD_INPUT, "the file of tokens has problems", lines=lines) from None
    except OSError as error:
        raise CliError(Code.FAILED, f"the codec server cannot listen: {error.strerror}") from None


def _doctor(output: Output) -> None:
    import asyncio

    from starter.cli.render import print_json, print_table
    from starter.doctor import Finding, examine
    from worker.clients import open_clients
    from worker.settings import load_settings

    settings = _settings(load_settings)

    async def ask() -> list[Finding]:
        async with open_clients(settings) as clients:
            return await examine(_checks(settings, clients))

    findings = asyncio.run(ask())
    if output is Output.JSON:
        print_json([finding.model_dump(mode="json") for finding in findings])
    else:
        rows = [
            ["well" if one.well else "NOT WELL", one.system, one.where, f"{one.milliseconds} ms", one.detail]
            for one in findings
        ]
        print_table(["", "system", "where", "took", ""], rows, empty="")
    if unwell := [one for one in findings if not one.well]:
        raise CliError(
            Code.UNREACHABLE,
            f"{len(unwell)} of {len(findings)} are not well",
            next_steps=[f"{one.system}: {one.remedy}" for one in unwell if one.remedy],
        )


def _checks(settings: "Settings", clients: "Clients") -> "list[Check]":
    import asyncio
    from datetime import timedelta

    from contracts.sweeping import SWEEP_SCHEDULE
    from starter.catalogue import load_catalogue
    from starter.doctor import Check
    from starter.freezing import state_of_sweep
    from starter.tokens import load_tokens
    from worker.connection import check_namespace, connect
    from worker.converter import data_converter

    async def temporal() -> str:
        client = await connect(data_converter(settings.encryption.keyring), patience=timedelta(0))
        await check_namespace(client, patience=timedelta(0))
        return f'namespace "{client.namespace}"'

    async def catalogue() -> str:
        found = await asyncio.to_thread(load_catalogue, settings.templates)
        return ", ".join(template.name for template in found.offered_to([], everything=True))

    async def ends() -> str:
        client = await connect(data_converter(settings.encryption.keyring), patience=timedelta(0))
        return await state_of_sweep(client, settings.sweep)

    checks = [
        Check("Temporal", _temporal_address(), temporal, "reachable, search attributes are there"),
        Check("expiry sweep", SWEEP_SCHEDULE, ends, "scheduled"),
        Check("control plane", settings.control_plane.url, clients.rafay.check),
    ]
    if settings.identity and clients.scim:
        checks.append(Check("identity provider", settings.identity.url, clients.scim.check))
    for name, host in clients.hosts.items():
        checks.append(Check("host cluster", name, host.check))
    checks.append(Check("templates", str(settings.templates), catalogue, "no problem"))
    if file := settings.api.tokens_file:

        async def tokens() -> None:
            await asyncio.to_thread(load_tokens, file)

        checks.append(Check("tokens", str(file), tokens, "no problem"))
    return checks


def _temporal_address() -> str:
    from temporalio.envconfig import ClientConfig

    from worker.connection import DEFAULT_ADDRESS

    try:
        return ClientConfig.load_client_connect_config().get("target_host", DEFAULT_ADDRESS)
    except (RuntimeError, ValueError, OSError):
        return ""


def _settings(load: "Callable[[], _Settings]") -> "_Settings":
    """The settings, all their problems told at once, and logs set up as they say."""
    from worker.settings import SettingsError
    from worker.telemetry import configure_logging

    try:
        settings = load()
    except SettingsError as error:
        raise CliError(
            Code.BAD_INPUT,
            "the settings cannot be used",
            lines=error.problems,
            next_steps=["set them as MOORAGE_* variables or in the file of MOORAGE_CONFIG; README has all"],
        ) from None
    configure_logging(settings.log)
    return settings


if __name__ == "__main__":
    # `python -m moorage` shall name itself as the command does.
    sys.argv[0] = "moorage"
    main()
