"""The `moorage` command. Wires the parts: what each verb of the operator consists of.

Everything is imported when a verb needs it: the developer's commands need none of it.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

if os.getpid() == 1:
    # Process 1 of a container has no default action for signals: while modules are imported and systems are
    # waited for, it would not hear that it is to stop. Those that clean up set handlers of their own.
    for _number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(_number, lambda number, _frame: os._exit(128 + number))

from starter.cli.app import run
from starter.cli.errors import CliError, Code, Output
from starter.cli.operator import OperatorVerbs, ServerOptions, SetupOptions, UpOptions

if TYPE_CHECKING:
    from embedded.stack.stack import Stack
    from starter.catalogue.lint import CatalogueCheck, LabelsOfHosts
    from starter.cli.output.setup_results import Progress
    from starter.setup.areas import Area
    from starter.setup.check import Result
    from worker.settings.models import CodecServerSettings, Settings

    _Settings = TypeVar("_Settings", Settings, CodecServerSettings)


#: Settings of the caller that `moorage up` hands on: those that say neither where a system is, nor which
#: secret it wants: those are the stack's own.
_HONOURED = (
    "MOORAGE_TEMPLATES",
    "MOORAGE_LOG__",
    "MOORAGE_QUOTAS__",
    "MOORAGE_CAPACITY__",
    "MOORAGE_SWEEP__",
    "MOORAGE_PACE__",
    "MOORAGE_WORKER__",
    "MOORAGE_NOTICES__",
)


def main() -> None:
    """Run the command that the arguments name; never returns."""
    run(
        OperatorVerbs(
            up=_up,
            worker=_worker,
            api=_api,
            codec_server=_codec_server,
            setup=_setup,
            doctor=_doctor,
            on_hosts=_on_hosts,
        )
    )


def _up(options: UpOptions) -> None:
    import asyncio
    import json
    import os

    from embedded.stack.stack import Options, StackError, addresses, describe, up

    honoured = {name: value for name, value in os.environ.items() if name.startswith(_HONOURED)}
    port = os.environ.get("MOORAGE_API__PORT", "")
    stack = Options(
        fresh=options.fresh,
        api_port=options.api_port or (int(port) if port.isdecimal() else None),
        environment=honoured,
        ui_port=options.ui_port,
        temporal_port=options.temporal_port,
    )

    for_people = options.output is Output.TABLE

    def say(text: str) -> None:
        print(text, file=sys.stdout if for_people else sys.stderr, flush=True)

    def announce(stack: "Stack") -> None:
        print(describe(stack) if for_people else json.dumps(addresses(stack)), flush=True)

    ours = (
        "MOORAGE_URL",
        "MOORAGE_TOKEN",
        "MOORAGE_TOKEN_FILE",
        "MOORAGE_STATE",
        "MOORAGE_API__PORT",
        *honoured,
    )
    left_out = [name for name in os.environ if name.startswith("MOORAGE_") and name not in ours]
    if left_out:
        say(f"Not taken from your environment, because this stack has its own: {', '.join(sorted(left_out))}")
    try:
        asyncio.run(up(options.folder, stack, say, _set_up, announce))
    except StackError as error:
        raise CliError(Code.FAILED, str(error)) from None


async def _set_up(stack: "Stack") -> str:
    """Set the stack up as a platform team would: by the command that they use. What came of it, in words."""
    import asyncio

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "moorage", "setup",
        env=stack.env, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        _, problem = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    said = problem.decode(errors="replace").strip().splitlines()
    return f"NOT COMPLETE: {said[0] if said else ''}" if process.returncode else "by moorage setup"


def _worker() -> None:
    import asyncio

    from temporalio.client import Client
    from temporalio.service import RPCError

    from starter.expiry.schedules import reconcile
    from starter.placement.reservations import Reservations
    from worker.connection import NotConnected
    from worker.runner import run_worker
    from worker.settings.models import SettingsError, load_settings

    settings = _settings(load_settings)

    async def schedules(client: Client) -> None:
        try:
            await reconcile(client, settings.sweep)
            await Reservations(client).ensure_started()
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

    from starter.config_files.yaml_source import FilesUnusable
    from worker.connection import NotConnected
    from worker.settings.models import SettingsError, load_api_settings

    settings = _settings(load_api_settings)
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
    from worker.client_factory import open_clients
    from worker.connection import check_namespace, connect
    from worker.data_converter import data_converter
    from worker.settings.models import SettingsError, has_control_plane_credential
    from worker.telemetry import telemetry_runtime

    if settings.api.tokens_file is None:
        raise SettingsError(
            ["MOORAGE_API__TOKENS_FILE: the API needs it; see docs/how-to/access-and-tokens.md"]
        )
    async with open_clients(settings) as clients:
        converter = data_converter(settings.encryption.keyring)
        client = await connect(converter, runtime=telemetry_runtime(None))
        await check_namespace(client)
        app = create_app(
            settings,
            client,
            tokens_file=settings.api.tokens_file,
            people=clients.directory or clients.rafay,
            hosts=clients.hosts,
            rafay=clients.rafay if has_control_plane_credential(settings) else None,
            directory=clients.directory,
        )
        await serve(app, settings.api, options.bind or settings.api.bind, options.port or settings.api.port)


def _codec_server(options: ServerOptions) -> None:
    import asyncio

    from starter.codec_server.app import create_codec_server, serve_codec
    from starter.config_files.yaml_source import FilesUnusable
    from worker.settings.models import load_codec_server_settings

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


def _setup(options: SetupOptions) -> None:
    from starter.catalogue.loader import load_catalogue
    from starter.cli.output.setup_results import Progress, print_setup_json, require_complete, say_complete
    from worker.settings.models import load_settings

    settings = _settings(load_settings)
    for_people = options.output is Output.TABLE
    progress = Progress(sys.stdout) if for_people else None
    results = _seen_to(settings, options.only, repair=not options.dry_run, progress=progress)
    if not for_people:
        print_setup_json(results, dry_run=options.dry_run)
    require_complete(results, dry_run=options.dry_run)
    if for_people:
        # A single check must run although the catalogue has problems that another check reports.
        offered = [] if options.only else load_catalogue(settings.templates).offered_to([], everything=True)
        say_complete(results, [template.name for template in offered])


def _doctor(output: Output) -> None:
    import os

    from starter.cli.client.connection import stack_settings
    from starter.cli.output.setup_results import print_doctor
    from worker.settings.models import load_settings

    if not {"MOORAGE_INSTALLATION", "MOORAGE_CONFIG"} & set(os.environ):
        # Beside a stack that runs here it is that stack which is meant.
        os.environ.update(stack_settings(os.environ))
    print_doctor(_seen_to(_settings(load_settings), [], repair=False, running=True), output)


def _on_hosts(found: "CatalogueCheck", labels: "LabelsOfHosts") -> "CatalogueCheck":
    """Add to the check of a catalogue what the hosts of the settings say."""
    import asyncio

    from starter.catalogue.lint import check_on_hosts
    from worker.client_factory import open_clients
    from worker.settings.models import SettingsError, load_settings

    settings = _settings(load_settings)

    async def ask() -> "CatalogueCheck":
        async with open_clients(settings) as clients:
            whose = settings.installation, settings.prefix
            return await check_on_hosts(found, clients.hosts, labels, *whose)

    try:
        return asyncio.run(ask())
    except SettingsError as error:
        raise CliError(Code.BAD_INPUT, "the settings cannot be used", lines=error.problems) from None


def _seen_to(
    settings: "Settings",
    only: "Sequence[Area]",
    *,
    repair: bool,
    running: bool = False,
    progress: "Progress | None" = None,
) -> "list[Result]":
    """What came of every part of these areas, or of all; `progress` gets each as it comes.

    `running`: also of what has to be so while Moorage runs.
    """
    import asyncio
    import signal

    from starter.setup.check import chosen
    from starter.setup.registry import all_checks
    from starter.setup.runner import run_checks
    from worker.client_factory import open_clients
    from worker.settings.models import SettingsError

    async def see_to() -> "list[Result]":
        walking = asyncio.current_task()
        if walking is not None:  # when stopped, it removes temporary objects, as for Ctrl-C
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, walking.cancel)
        async with open_clients(settings) as clients:
            every = all_checks(settings, clients.rafay, clients.directory, clients.hosts, running=running)
            parts = chosen(every, only)
            if progress is None:
                return await run_checks(parts, repair=repair)
            with progress.of(parts):
                return await run_checks(parts, repair=repair, tell=progress.tell)

    try:
        return asyncio.run(see_to())
    except SettingsError as error:
        raise CliError(Code.BAD_INPUT, "the settings cannot be used", lines=error.problems) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise CliError(
            Code.INTERRUPTED, "interrupted: what is done stays done", next_steps=["run it again"]
        ) from None


def _settings(load: "Callable[[], _Settings]") -> "_Settings":
    """The settings, all their problems reported at once, and logs set up as they say."""
    from worker.settings.models import SettingsError
    from worker.telemetry import configure_logging

    try:
        settings = load()
    except SettingsError as error:
        raise CliError(
            Code.BAD_INPUT,
            "the settings cannot be used",
            lines=error.problems,
            next_steps=[
                "set them in MOORAGE_* or the file of MOORAGE_CONFIG; see docs/reference/settings.md"
            ],
        ) from None
    configure_logging(settings.log)
    return settings


if __name__ == "__main__":
    # `python -m moorage` names itself as the command does.
    sys.argv[0] = "moorage"
    main()
